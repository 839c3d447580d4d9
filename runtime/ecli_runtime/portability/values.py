"""Values of registers as far as they are known before a program runs, and what instructions make of them (RFC 9669)."""

from __future__ import annotations

from ecli_schemas.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeAlias

    # A number is what the register holds, as an unsigned one of 64 bits; ``None``: anything.
    Value: TypeAlias = "int | Data | Frame | Pointer | None"

MASK64, MASK32 = (1 << 64) - 1, (1 << 32) - 1


class Data(Record):
    """A pointer into data whose bytes never change.

    Attributes:
        bytes: The data.
        offset: Where it points to.
    """

    bytes: bytes
    offset: int


class Frame(Record):
    """A pointer into the frame of the function; where, is not known if the offset is ``None``."""

    offset: int | None


class Pointer(Record):
    """Any other pointer, which is not zero."""


def join(one: Value, other: Value) -> Value:
    """Return what is known of a value that is one or the other."""
    if one == other:
        return one
    if isinstance(one, Frame) and isinstance(other, Frame):
        return Frame(None)
    if isinstance(one, (Data, Pointer)) and isinstance(other, (Data, Pointer)):
        return Pointer()
    return None


def compute(opcode: int, left: Value, right: Value, offset: int) -> Value:
    """Return what an instruction for arithmetic leaves in its destination; ``right`` may be its immediate, extended.

    Args:
        opcode: Its code, of class ALU or ALU64.
        left: The destination before.
        right: The source.
        offset: Its offset: of a move the bits whose sign it extends; of a division that it is signed.
    """
    operation, is_wide = opcode & 0xF0, opcode & 7 == 7
    if operation == 0xB0 and not offset and is_wide:
        return right
    if isinstance(left, (Data, Frame)) and isinstance(right, int) and is_wide and operation in (0x00, 0x10):
        change = _signed(right, 64) if operation == 0x00 else -_signed(right, 64)
        if left.offset is None:
            return left
        return left.replace(offset=left.offset + change)
    if is_wide and operation in (0x00, 0x10) and isinstance(left, (Pointer, Data)):
        return Pointer()
    if is_wide and operation in (0x00, 0x10) and isinstance(left, Frame):
        return Frame(None)
    if not isinstance(right, int) or (operation != 0xB0 and not isinstance(left, int)) or operation == 0xD0:
        return None
    bits = 64 if is_wide else 32
    mask = MASK64 if is_wide else MASK32
    number = left & mask if isinstance(left, int) else 0
    return _number(operation, number, right & mask, bits, offset)


def _number(operation: int, left: int, right: int, bits: int, offset: int) -> int | None:
    mask, shift = (1 << bits) - 1, right & (bits - 1)
    if operation == 0xB0:
        return (_signed(right & ((1 << offset) - 1), offset) if offset else right) & mask
    if operation in (0x30, 0x90):
        if offset:
            return None
        if right == 0:  # RFC 9669, 4.1: division by zero gives zero, its remainder the dividend
            return 0 if operation == 0x30 else left
        return left // right if operation == 0x30 else left % right
    results = {
        0x00: left + right,
        0x10: left - right,
        0x20: left * right,
        0x40: left | right,
        0x50: left & right,
        0x60: left << shift,
        0x70: left >> shift,
        0x80: -left,
        0xA0: left ^ right,
        0xC0: _signed(left, bits) >> shift,
    }
    return results[operation] & mask if operation in results else None


def jumps(opcode: int, left: Value, right: Value) -> bool | None:
    """Tell whether a conditional jump is taken; ``None``: it may be or not.

    Args:
        opcode: Its code, of class JMP or JMP32.
        left: The destination.
        right: The source, or the immediate, extended.
    """
    operation, bits = opcode & 0xF0, 64 if opcode & 7 == 5 else 32
    if isinstance(left, (Data, Frame, Pointer)) and right == 0 and bits == 64:
        return {0x10: False, 0x50: True}.get(operation)
    if not isinstance(left, int) or not isinstance(right, int):
        return None
    mask = (1 << bits) - 1
    left, right = left & mask, right & mask
    one, other = _signed(left, bits), _signed(right, bits)
    return {
        0x10: left == right,
        0x20: left > right,
        0x30: left >= right,
        0x40: bool(left & right),
        0x50: left != right,
        0x60: one > other,
        0x70: one >= other,
        0xA0: left < right,
        0xB0: left <= right,
        0xC0: one < other,
        0xD0: one <= other,
    }.get(operation)


def load(base: Data, offset: int, size_bytes: int, byteorder: str, signed: bool) -> int | None:
    """Return what a load reads of constant data."""
    at = base.offset + offset
    if at < 0 or at + size_bytes > len(base.bytes):
        return None
    number = int.from_bytes(base.bytes[at : at + size_bytes], "little" if byteorder == "<" else "big", signed=signed)
    return number & MASK64


def _signed(number: int, bits: int) -> int:
    return number - (1 << bits) if number >> (bits - 1) & 1 else number
