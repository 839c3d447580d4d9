"""The stack traces that the keys of a map refer to, out of the map that holds them."""

from __future__ import annotations

import sys
from array import array

from ecli_runtime.decode.entries import find
from ecli_runtime.decode.python import make_decoder
from ecli_runtime.libbpf.object import MAP_TYPE_STACK_TRACE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any

    from ecli_runtime.libbpf.object import LoadedMap
    from ecli_runtime.stream import Source, StackPair


class StackReader:
    """Looks up the stack traces of a profile.

    Args:
        source: The map of counts.
        maps: All maps of its object.
        clears: Stacks that no entry has referred to for a whole reading are removed.
    """

    def __init__(self, source: Source, maps: Iterable[LoadedMap], clears: bool) -> None:
        traces = [each for each in maps if each.type == MAP_TYPE_STACK_TRACE]
        self._clears = clears
        # Member of the key, the map it refers to, and what was found there in this reading and the one before.
        self._kernel = _Stacks.of(source, "kstack", traces)
        self._user = _Stacks.of(source, "ustack", traces)

    def read(self, entries: Sequence[tuple[bytes, bytes]]) -> dict[bytes, StackPair]:
        """Return the stacks of each entry, by its key."""
        found = {key: (self._kernel.read(key), self._user.read(key)) for key, _value in entries}
        for stacks in (self._kernel, self._user):
            stacks.end(self._clears)
        return found


class _Stacks:
    def __init__(self, member: Callable[[bytes], Any] | None, trace: LoadedMap | None) -> None:
        self._member, self._map = member, trace
        self._now: dict[int, tuple[int, ...] | None] = {}
        self._before: dict[int, tuple[int, ...] | None] = {}

    @classmethod
    def of(cls, source: Source, which: str, traces: list[LoadedMap]) -> _Stacks:
        name: str = getattr(source.stacks, which)
        plan = find(source.plans[0], name) if source.plans else None
        if plan is None or plan.ops[0].code != "int" or not traces:
            return cls(None, None)
        # Of several maps, the one that is called after the same side.
        alike = [each for each in traces if each.name.startswith(which[0]) or name.startswith(each.name)]
        return cls(make_decoder(plan), (alike or traces)[0])

    def read(self, key: bytes) -> tuple[int, ...] | None:
        """Return the addresses of a key's stack, the innermost first; ``None`` if the kernel could not keep it."""
        if self._member is None or self._map is None:
            return ()
        number = self._member(key)
        signed = number - (1 << 32) if number >= 1 << 31 else number
        if signed < 0:
            return () if signed in (-14, -22) else None  # EFAULT: there is none on this side; EEXIST: its place was taken
        if number not in self._now:
            data = self._map.lookup(number.to_bytes(4, sys.byteorder))
            # Removed since: it was the same before, for it is found by its hash.
            self._now[number] = _addresses(data) if data is not None else self._before.get(number)
        return self._now[number]

    def end(self, clears: bool) -> None:
        """End a reading."""
        if clears and self._map is not None:
            for number in self._before.keys() - self._now.keys():
                self._map.delete(number.to_bytes(4, sys.byteorder))
        self._before, self._now = self._now, {}


def _addresses(data: bytes) -> tuple[int, ...]:
    addresses = array("Q", data[: len(data) // 8 * 8]).tolist()
    return tuple(addresses[: addresses.index(0)] if 0 in addresses else addresses)
