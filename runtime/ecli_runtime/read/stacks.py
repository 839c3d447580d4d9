"""The stack traces that keys of maps and events refer to, out of the map that holds them."""

from __future__ import annotations

import errno
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
    from ecli_runtime.stream import Source
    from ecli_runtime.symbols.profile import Addresses, StackPair


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
        self._now: dict[int, Addresses] = {}
        self._before: dict[int, Addresses] = {}

    @classmethod
    def of(cls, source: Source, which: str, traces: list[LoadedMap]) -> _Stacks:
        name: str = getattr(source.stacks, which)
        plan = find(source.plans[0], name) if source.plans else None
        if plan is None or plan.ops[0].code != "int" or not traces:
            return cls(None, None)
        return cls(make_decoder(plan), choose_map(traces, which[0], name))

    def read(self, key: bytes) -> Addresses:
        """Return the addresses of a key's stack, the innermost first; ``None`` if the kernel could not keep it."""
        if self._member is None or self._map is None:
            return ()
        number = self._member(key)
        signed = number - (1 << 32) if number >= 1 << 31 else number
        if signed < 0:
            return without_id(signed)
        if number not in self._now:
            data = self._map.lookup(number.to_bytes(4, sys.byteorder))
            # Removed since: it was the same before, for it is found by its hash.
            self._now[number] = addresses(data) if data is not None else self._before.get(number)
        return self._now[number]

    def end(self, clears: bool) -> None:
        """End a reading."""
        if clears and self._map is not None:
            for number in self._before.keys() - self._now.keys():
                self._map.delete(number.to_bytes(4, sys.byteorder))
        self._before, self._now = self._now, {}


def choose_map(traces: Sequence[LoadedMap], side: str, member: str) -> LoadedMap:
    """Return the map that a member's ids refer to: of several the one that is called after the same side.

    Args:
        traces: Maps of stack traces, at least one.
        side: ``k`` or ``u``.
        member: Name of the member.
    """
    alike = [each for each in traces if each.name.startswith(side) or member.startswith(each.name)]
    return (alike or traces)[0]


def without_id(error: int) -> Addresses:
    """Return the stack where ``bpf_get_stackid()`` returned an error: none, or one that was lost."""
    return () if error in (-errno.EFAULT, -errno.EINVAL) else None  # there is none on this side; EEXIST: its place was taken


def addresses(data: bytes) -> tuple[int, ...]:
    """Return the addresses of a stack, as its map holds them."""
    found = array("Q", data[: len(data) // 8 * 8]).tolist()
    return tuple(found[: found.index(0)] if 0 in found else found)
