"""What the abstract interpreter knows of the values in registers and memory."""

from __future__ import annotations

from typing import Literal, NamedTuple

ByteOrder = Literal["little", "big"]


class Const(NamedTuple):
    """A number."""

    value: int


class MapAddress(NamedTuple):
    """The address of a map, or somewhere in a global variable."""

    name: str


class MapValue(NamedTuple):
    """The address of a value in a map, plus some bytes.

    Attributes:
        map: The map.
        byte_offset: The bytes.
        call: Index of the call that looked it up, in its function.
    """

    map: str
    byte_offset: int
    call: int = 0


class Stack(NamedTuple):
    """An address on the stack of the function that runs, in bytes from the frame pointer (negative)."""

    byte_offset: int


class Frame(NamedTuple):
    """An address on the stack of a function that passes it to a call.

    Attributes:
        function: The function.
        call_offset: Byte offset of the instruction after that call, from the start of the function's section.
        byte_offset: From the lowest address of the function's frame, as DWARF counts.
    """

    function: str
    call_offset: int
    byte_offset: int


class Record(NamedTuple):
    """An address in the record that a call of ``bpf_ringbuf_reserve`` returned; only where contents are followed.

    Attributes:
        function: The function that calls.
        call: Index of that instruction in the function.
        byte_offset: From the start of the record.
    """

    function: str
    call: int
    byte_offset: int


class Argument(NamedTuple):
    """Whatever the function that runs was given in a register: nothing is known, but that copies of it are the same."""

    register: int


class Result(NamedTuple):
    """Whatever a helper returned: nothing is known, but that copies of it are the same.

    Attributes:
        call: Index of the call in its function.
    """

    call: int


Address = MapValue | Stack | Frame | Record
Known = Const | MapAddress | Address | Argument | Result
# What a register may hold; None: anything.
Values = frozenset[Known] | None

# Address of the first byte of a stack, record or map value, and a byte there → what it may be.
Memory = dict[tuple[Address, int], frozenset[int]]
# Of each byte what it may be; None: anything.
Contents = tuple[frozenset[int] | None, ...]


def store(memory: Memory, addresses: Values, value: Values, size_bytes: int, byteorder: ByteOrder) -> Memory:
    """Return memory after a value was stored at one of some addresses."""
    targets = [each for each in addresses or () if isinstance(each, Address)]
    if not targets:
        return memory
    changed = dict(memory)
    constants = [each.value for each in value or () if isinstance(each, Const)]
    known = len(targets) == 1 and value and len(constants) == len(value)
    mask = (1 << size_bytes * 8) - 1
    columns = zip(*((each & mask).to_bytes(size_bytes, byteorder) for each in constants), strict=True) if known else ()
    for target in targets:
        for at in range(size_bytes):
            changed.pop(_place(target, at), None)
    changed.update((_place(targets[0], at), frozenset(column)) for at, column in enumerate(columns))
    return changed


def forget(memory: Memory, addresses: Values, size_bytes: int | None = None) -> Memory:
    """Return memory after something unknown was written at some addresses; with no size, up to the end of what is there."""
    spans = [(_place(each, 0), each.byte_offset) for each in addresses or () if isinstance(each, Address)]
    if not spans:
        return memory
    return {
        (base, at): known
        for (base, at), known in memory.items()
        if not any(base == place[0] and first <= at and (size_bytes is None or at < first + size_bytes) for place, first in spans)
    }


def read(memory: Memory, addresses: Values, size_bytes: int) -> Contents:
    """Return the bytes at an address; nothing is known of them unless there is just one."""
    (target, *others) = addresses or (None,)
    if others or not isinstance(target, Address):
        return ()
    return tuple(memory.get(_place(target, at)) for at in range(size_bytes))


def _place(address: Address, at: int) -> tuple[Address, int]:
    return address._replace(byte_offset=0), address.byte_offset + at
