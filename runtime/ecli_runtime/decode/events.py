"""Chunks of a stream as events: plain Python values, for the Python API and for whatever is not rendered in bulk."""

from __future__ import annotations

from ecli_runtime.decode.python import make_decoder
from ecli_runtime.decode.stacks import functions, put_names, stack_members
from ecli_runtime.stream import Samples, TextLines

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from ecli_runtime.decode.plan import Plan
    from ecli_runtime.stream import Chunk, Readings, Source

STACK_MEMBERS = ("kernel_stack", "user_stack")  # beside key and value


class Event(dict):  # type: ignore[type-arg]
    """A decoded event: member name → value.

    A reading of a map has the keys ``key`` and ``value``; where it counts stack traces also ``kernel_stack`` and ``user_stack``:
    names of functions, the innermost first, ``None`` for a stack that was lost. Members of events that are stack traces have
    these for values, too. A line of an iterator has ``program`` and ``line``, that of an event handler
    ``handler`` and ``line``.

    Attributes:
        source: The map it came through, or the iterator.
        type_name: C type, or empty.
    """

    __slots__ = ("source", "type_name")

    def __init__(self, values: dict[str, Any], source: Source, type_name: str) -> None:
        super().__init__(values)
        self.source, self.type_name = source, type_name


class EventDecoder:
    """Decodes chunks; keeps a decoder for each plan that it has met."""

    def __init__(self) -> None:
        self._decoders: dict[int, tuple[Plan, Callable[[bytes], Any]]] = {}  # by identity: a plan is long to compare

    def _decoder(self, plan: Plan) -> Callable[[bytes], Any]:
        found = self._decoders.get(id(plan))
        if found is None:
            found = self._decoders[id(plan)] = plan, make_decoder(plan)
        return found[1]

    def events(self, chunk: Chunk) -> Iterator[Event]:
        """Yield the events of a chunk."""
        if isinstance(chunk, TextLines):
            for line in chunk.lines:
                yield Event({chunk.role: chunk.source.name, "line": line}, chunk.source, "")
        elif not isinstance(chunk, Samples):
            yield from self._readings(chunk)
        elif chunk.plan is None:
            for payload in chunk.run.payloads():
                yield Event({"data": payload.hex()}, chunk.source, "")
        else:
            decode, source, type_name = self._decoder(chunk.plan), chunk.source, chunk.plan.type_name
            members = stack_members(chunk.plan) if source.stack_kinds else ()
            for payload in chunk.run.payloads():
                event = Event(decode(payload), source, type_name)
                if members:
                    put_names(event, members, chunk.stacks, payload)
                yield event

    def _readings(self, chunk: Readings) -> Iterator[Event]:
        source = chunk.source
        decode_key, decode_value = (self._decoder(plan) for plan in source.plans) if source.plans else (bytes.hex, bytes.hex)
        named = self._stacks(chunk)
        for key, value in chunk.entries:
            decoded: Any
            if source.per_cpu:
                stride = (source.value_size_bytes + 7) & ~7
                decoded = [decode_value(value[at : at + stride]) for at in range(0, len(value), stride)]
            else:
                decoded = decode_value(value)
            head = {} if source.keyless else {"key": decode_key(key)}
            yield Event({**head, "value": decoded, **named(key)}, source, "")

    def _stacks(self, chunk: Readings) -> Callable[[bytes], dict[str, Any]]:
        """Return the function from a key to the names of its stacks, if it has any."""
        stacks = chunk.stacks
        if stacks is None:
            return lambda _key: {}
        return lambda key: {name: functions(stacks.frames(member, key)) for member, name in enumerate(STACK_MEMBERS)}
