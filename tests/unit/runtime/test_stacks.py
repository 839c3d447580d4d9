"""Stack traces in events: what tells one from another, and how they are written."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from ecli_runtime.btf import Btf
from ecli_runtime.decode.meaning import STACK_KINDS
from ecli_runtime.decode.stacks import StackMember, stack_members
from ecli_runtime.read.event_stacks import EventStackReader
from ecli_runtime.read.run import Run
from ecli_runtime.stream import TypeRef, make_source
from ecli_runtime.symbols.resolver import Resolver
from tests.btf_builder import BtfBuilder
from tests.recordings import make_stack_info


def make_member(size_name: str) -> StackMember:
    """Return the stack trace of struct { int pid; int …; long kstack[4]; }."""
    builder = BtfBuilder()
    number, addresses = builder.integer("int", 4, signed=True), builder.array(builder.integer("long", 8), 4)
    event = builder.struct("event", 40, ("pid", number, 0), (size_name, number, 32), ("kstack", addresses, 64))
    source = make_source(Btf(builder.section()), "events", (TypeRef(event),), stack_kinds=STACK_KINDS)
    (found,) = stack_members(source.plans[0])
    return found


@pytest.mark.parametrize(
    ("size_name", "size", "count"),
    [
        ("kstack_sz", 16, 2),
        ("kstack_size", 100, 3),
        ("kstack_sz", 0, 0),
        ("kstack_sz", -14, 0),
        ("kstack_len", 3, 3),  # bytes, or addresses: only what is none counts
        ("kstack_len", -1, 0),
        ("other", 0, 3),
    ],
)
def test_addresses_end_where_the_event_says_it_or_with_the_first_zero(size_name: str, size: int, count: int) -> None:
    member = make_member(size_name)
    key = member.key(b"before" + struct.pack("<ii4Q", 7, size, 11, 12, 13, 0), len(b"before"))
    assert member.addresses_of(key) == (11, 12, 13)[:count]
    assert member.pid_of(key) == 7


def test_the_process_is_that_of_the_struct_around() -> None:
    info = make_stack_info()
    events, _busy = info.sources
    kernel, user = stack_members(events.plans[0])
    sample = struct.pack("<IiqQQ", 9, -14, 8, 1, 2)
    assert (kernel.is_user, kernel.is_id, kernel.id_of(kernel.key(sample))) == (False, True, -14)
    assert (user.is_user, user.addresses_of(user.key(sample)), user.pid_of(user.key(sample))) == (True, (1,), 9)


class Trace:
    """A map of stack traces, and how often it was asked."""

    type = 7  # BPF_MAP_TYPE_STACK_TRACE
    name = "stacks"

    def __init__(self, stacks: dict[int, tuple[int, ...]]) -> None:
        self.stacks = stacks
        self.asked = 0

    def lookup(self, key: bytes) -> bytes | None:
        self.asked += 1
        found = self.stacks.get(int.from_bytes(key, "little"))
        return None if found is None else struct.pack(f"<{len(found)}Q", *found)


def test_each_id_is_looked_up_once_for_a_run_and_again_for_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Resolver, "kernel", lambda self, addresses: [(f"k{address & 0xFF}", "kernel") for address in addresses])
    monkeypatch.setattr(Resolver, "user", lambda self, pid, addresses: [(f"u{address}", "prog") for address in addresses])
    source = make_stack_info().sources[0]
    high = 1 << 63
    trace = Trace({5: (high + 1, high + 2, 0, 0), 6: (3, 0)})
    maps: Any = [trace]
    reader = EventStackReader(source.plans[0], maps, Resolver())

    def named(*ids: int) -> list[Any]:
        payloads = [struct.pack("<IiqQQ", 1, number, 0, 0, 0) for number in ids]
        stacks = reader.read(Run.of(payloads))
        kernel = stack_members(source.plans[0])[0]
        return [stacks.frames(0, kernel.key(payload)) for payload in payloads]

    # 6: whatever the member is called, its addresses are those of a process. -17 is EEXIST, -14 EFAULT.
    found = named(5, 6, 5, -17, -14, 99)
    assert found == [[("k1", "kernel"), ("k2", "kernel")], [("u3", "prog")], [("k1", "kernel"), ("k2", "kernel")], None, (), None]
    assert trace.asked == 3
    trace.stacks[5] = (high + 9,)
    assert named(5) == [[("k9", "kernel")]]
