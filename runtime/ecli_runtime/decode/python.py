"""The reference decoder: a plan becomes one function from a sample to plain Python values.

struct → dict, array → list, ``char`` array → str (up to the first NUL, invalid UTF-8 replaced), enum → name or, if the value
has none, names of its flags joined by ``|``, else int; pointer → ``0x…``; bool, int and float as they are.

Of the meanings only those change a value whose bytes are in network order: ``ipv4``, ``ipv6`` and ``mac`` are text, ``port_be``
is a number. The others are for people; a program that reads JSON or uses the API gets the exact number.
"""

from __future__ import annotations

import struct

from ecli_runtime.decode.addresses import ipv4_text, ipv6_text, mac_text
from ecli_runtime.decode.plan import flag_names
from ecli_runtime.errors import DecodeError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, TypeAlias

    from ecli_runtime.decode.plan import Op, Plan

    # Reads the value whose enclosing sample or array element starts at a byte offset.
    Reader: TypeAlias = Callable[[bytes, int], Any]

_INT_FORMATS = {8: "b", 16: "h", 32: "i", 64: "q"}
_FLOAT_FORMATS = {32: "f", 64: "d"}
_ADDRESSES = {"ipv4": (4, ipv4_text), "ipv6": (16, ipv6_text), "mac": (6, mac_text)}


def make_decoder(plan: Plan) -> Callable[[bytes], Any]:
    """Return the function that decodes samples of a plan's type.

    The function takes the bytes of a sample and raises :class:`~ecli_runtime.errors.DecodeError` when they are too few.
    """
    readers = _Compiler(plan).readers(plan.ops)
    size_bytes, min_size_bytes, type_name = plan.size_bytes, plan.min_size_bytes, plan.type_name or "value"
    is_value = len(readers) == 1 and not readers[0][0]
    value_reader = readers[0][1] if is_value else _object(readers)

    def decode(sample: bytes) -> Any:
        if len(sample) < size_bytes:
            if len(sample) < min_size_bytes:
                raise DecodeError(type_name, 0, min_size_bytes, len(sample))
            sample = sample.ljust(size_bytes, b"\0")
        return value_reader(sample, 0)

    return decode


class _Compiler:
    def __init__(self, plan: Plan) -> None:
        self.byteorder = plan.byteorder
        self.prefix = "<" if plan.byteorder == "little" else ">"

    def readers(self, ops: Sequence[Op]) -> list[tuple[str, Reader]]:
        """Return (name, reader) of each operation at the top level of a list of operations."""
        found = []
        at = 0
        while at < len(ops):
            op = ops[at]
            found.append((op.name, self.reader(op, ops[at + 1 : at + 1 + op.body])))
            at += 1 + op.body
        return found

    def reader(self, op: Op, body: Sequence[Op]) -> Reader:
        if op.code == "struct":
            return _object(self.readers(body))
        if op.meaning in _ADDRESSES:
            return _address(op)
        if op.code == "array":
            return _array(op, self.readers(body)[0][1])
        if op.code == "string":
            return _string(op)
        if op.code == "float":
            return self._packed(op, _FLOAT_FORMATS[op.bit_size])
        integer = self._integer(op)
        if op.code == "pointer":
            return lambda data, base: hex(integer(data, base))
        if op.code == "bool":
            return lambda data, base: integer(data, base) != 0
        if op.code == "enum":
            return _enum(op, integer)
        return integer

    def _integer(self, op: Op) -> Reader:
        if op.meaning == "port_be":
            unpack, offset = struct.Struct(">H").unpack_from, op.bit_offset // 8
            return lambda data, base: unpack(data, base + offset)[0]
        letter = _INT_FORMATS.get(op.bit_size)
        if letter and op.bit_offset % 8 == 0:
            return self._packed(op, letter if op.signed else letter.upper())
        return self._bits(op)

    def _packed(self, op: Op, letter: str) -> Reader:
        unpack = struct.Struct(self.prefix + letter).unpack_from
        offset = op.bit_offset // 8
        return lambda data, base: unpack(data, base + offset)[0]

    def _bits(self, op: Op) -> Reader:
        """Read a bitfield, or an integer of 16 bytes."""
        start, skipped = divmod(op.bit_offset, 8)
        size_bytes = (skipped + op.bit_size + 7) // 8
        shift = skipped if self.byteorder == "little" else size_bytes * 8 - skipped - op.bit_size
        mask, sign, byteorder = (1 << op.bit_size) - 1, 1 << op.bit_size - 1, self.byteorder

        def read(data: bytes, base: int) -> int:
            value = int.from_bytes(data[base + start : base + start + size_bytes], byteorder) >> shift & mask
            return value - (mask + 1) if op.signed and value & sign else value

        return read


def _object(readers: list[tuple[str, Reader]]) -> Reader:
    return lambda data, base: {name: read(data, base) for name, read in readers}


def _enum(op: Op, integer: Reader) -> Reader:
    names: dict[int, str] = {}
    for value, label in op.names:
        names.setdefault(value, label)
    flags = flag_names(op)
    every = sum(bit for bit, _name in flags)
    width = (1 << op.bit_size) - 1

    def read(data: bytes, base: int) -> int | str:
        value: int = integer(data, base)
        if value in names:
            return names[value]
        bits = value & width  # of a signed enum the top bit is a flag, too
        return "|".join([name for bit, name in flags if bits & bit]) if bits and not bits & ~every else value

    return read


def _address(op: Op) -> Reader:
    start = op.bit_offset // 8
    size_bytes, text = _ADDRESSES[op.meaning]
    return lambda data, base: text(data[base + start : base + start + size_bytes])


def _array(op: Op, element: Reader) -> Reader:
    start, stride, count = op.bit_offset // 8, op.stride_bits // 8, op.count

    def read(data: bytes, base: int) -> list[Any]:
        first = base + start
        length = count if count is not None else (len(data) - first) // stride if stride else 0
        return [element(data, first + i * stride) for i in range(length)]

    return read


def _string(op: Op) -> Reader:
    start, size_bytes = op.bit_offset // 8, op.bit_size // 8

    def read(data: bytes, base: int) -> str:
        first = base + start
        raw = bytes(data[first : first + size_bytes] if size_bytes else data[first:])
        return raw.partition(b"\0")[0].decode("utf-8", "replace")

    return read
