"""The stack traces of events: looked up as soon as the events are there, and named when somebody asks for it."""

from __future__ import annotations

import os
import sys

from ecli_runtime.decode.stacks import stack_members
from ecli_runtime.libbpf.object import MAP_TYPE_STACK_TRACE
from ecli_runtime.read.stacks import addresses, choose_map, without_id
from ecli_runtime.symbols.resolver import Resolver

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ecli_runtime.decode.plan import Plan
    from ecli_runtime.decode.stacks import Frame, StackMember
    from ecli_runtime.libbpf.object import LoadedMap
    from ecli_runtime.read.run import Run
    from ecli_runtime.symbols.profile import Addresses

_KERNEL_HALF = 1 << 63  # of the address space, but on s390x, which has one for each


class EventStackReader:
    """Looks up the stack traces of the events of one type.

    Args:
        plan: Of the events.
        maps: All maps of the object.
        resolver: Names addresses; stays the caller's.
    """

    def __init__(self, plan: Plan, maps: Iterable[LoadedMap], resolver: Resolver) -> None:
        self._resolver = resolver
        self._members = stack_members(plan)
        traces = [each for each in maps if each.type == MAP_TYPE_STACK_TRACE]
        self._maps = [self._map(traces, member) for member in self._members]

    @staticmethod
    def _map(traces: Sequence[LoadedMap], member: StackMember) -> LoadedMap | None:
        name = member.path.rpartition(".")[2]
        return choose_map(traces, "u" if member.is_user else "k", name) if member.is_id and traces else None

    def read(self, run: Run) -> EventStacks:
        """Look up the stacks of some events, and look at their processes, which may end any moment.

        Raises:
            LibbpfError: The kernel refused to read the map.
        """
        found: dict[tuple[int, bytes], Addresses] = {}
        ids: dict[tuple[int, int], Addresses] = {}
        numbered = list(enumerate(self._members))
        for payload in run.payloads():
            for number, member in numbered:
                key = member.key(payload)
                if (number, key) not in found:
                    found[number, key] = self._addresses(number, member, key, ids)
        return EventStacks(self._members, found, self._resolver)

    def _addresses(self, number: int, member: StackMember, key: bytes, ids: dict[tuple[int, int], Addresses]) -> Addresses:
        stack: Addresses = None
        if not member.is_id:
            stack = member.addresses_of(key)
        elif (trace := self._maps[number]) is not None:
            stack_id = member.id_of(key)
            if stack_id < 0:
                return without_id(stack_id)
            if (number, stack_id) not in ids:
                data = trace.lookup(stack_id.to_bytes(4, sys.byteorder))
                ids[number, stack_id] = None if data is None else addresses(data)
            stack = ids[number, stack_id]
        if stack and _is_user(member, stack) and (pid := member.pid_of(key)):
            self._resolver.processes.meet(pid)
        return stack


class EventStacks:
    """What the stacks of some events are called, as :class:`~ecli_runtime.decode.stacks.Stacks`.

    Args:
        members: Of the events.
        found: Addresses of each stack, the innermost first; ``None``: it was lost.
        resolver: Names them.
    """

    def __init__(self, members: Sequence[StackMember], found: Mapping[tuple[int, bytes], Addresses], resolver: Resolver) -> None:
        self._members, self._found, self._resolver = members, found, resolver
        self._named: dict[tuple[int, bytes], Sequence[Frame] | None] = {}

    def keys(self) -> Iterable[tuple[int, bytes]]:
        """Return what the stacks are known by."""
        return self._found.keys()

    def frames(self, member: int, key: bytes) -> Sequence[Frame] | None:
        """Return the frames of a stack, the innermost first; ``None``: it was lost."""
        known_by = member, key
        if known_by not in self._named:
            self._named[known_by] = self._name(self._members[member], key, self._found.get(known_by))
        return self._named[known_by]

    def _name(self, member: StackMember, key: bytes, stack: Addresses) -> Sequence[Frame] | None:
        if not stack:
            return None if stack is None else ()
        return self._resolver.user(member.pid_of(key), stack) if _is_user(member, stack) else self._resolver.kernel(stack)

    def comm(self, _key: bytes) -> str:
        """Return nothing: an event says itself what its process is called."""
        return ""


def _is_user(member: StackMember, stack: Sequence[int]) -> bool:
    """Tell whether a stack is that of a process: the addresses do, where a name may have misled."""
    return member.is_user if os.uname().machine == "s390x" else stack[0] < _KERNEL_HALF
