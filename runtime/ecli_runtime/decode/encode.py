"""Line programs as the Wasm module reads them. The other half of this is ``native/program.h``: the same members, in order.

Addresses and numbers are little-endian on every machine: that is Wasm's byte order.
"""

from __future__ import annotations

from struct import Struct, pack

from ecli_runtime.decode.escapes import JSON, RAW, SHOWN_JSON, TEXT
from ecli_runtime.decode.lines import Cell, Loop, Text, Value, longest_value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from ecli_runtime.decode.lines import Instruction, LineProgram
    from ecli_runtime.decode.predicate import Instruction as Step

# The module reads and writes texts in pieces of 16 bytes.
SLACK_BYTES = 64

# fmt: off
_OPCODES = {name: number for number, name in enumerate((
    "END", "NOTHING", "U8", "U16", "U32", "U64", "S8", "S16", "S32", "S64", "INT", "WIDE_INT", "HEX", "WIDE_HEX", "BOOL",
    "WIDE_BOOL", "FLOAT", "NAMES", "FLAGS", "STRING_RAW", "STRING_JSON", "STRING_TEXT", "STRING_SHOWN_JSON", "DURATION", "TIME",
    "BYTES", "DEV", "PORT", "IPV4", "IPV6", "MAC", "LOOP", "LOOP_END", "CELL", "CELL_END",
))}
_PLACE = ("offset", "size", "up", "down", "shift", "bits", "is_signed")
_MEMBERS = (
    "opcode", "text_size", *_PLACE, "width", "cell", "in_cell", "limit", "right", "names", "name_count", "flags", "flag_count",
    "quote", "count", "stride", "target", "is_json", "wide", "unit_ns", "offset_ns",
)
_STEP_MEMBERS = ("condition", *_PLACE, "comparison", "bytes", "low", "high")
# fmt: on
_STRINGS = {RAW: "STRING_RAW", JSON: "STRING_JSON", TEXT: "STRING_TEXT", SHOWN_JSON: "STRING_SHOWN_JSON"}
_TEXT_BYTES = 16
_INSTRUCTION = Struct("<16s24I2Q")
_NAME = Struct("<Q4I")
_STEP = Struct("<10I2Q")
_PROGRAM = Struct("<8I")
_PADDED, _QUOTED = 1, 2
# Written with `width` by themselves; all others are padded when they have been written.
_NUMBERS = frozenset(("U8", "U16", "U32", "U64", "S8", "S16", "S32", "S64", "INT", "PORT"))

_COMPARISONS = ("==", "!=", "<", "<=", ">", ">=")
_CONDITIONS = {"cmp": 6, "glob": 7, "contains": 8, "and": 9, "or": 10, "not": 11, "bit_and": 13}
_RANGE = 12
_MASK = 0xFFFF_FFFF_FFFF_FFFF


class Encoder:
    """Writes a program to where it will lie in memory.

    Args:
        program: The program, a portable one.
        address: Of the first byte.

    Attributes:
        data: The bytes.
        program: Address of the program's structure.
    """

    def __init__(self, program: LineProgram, address: int) -> None:
        self._address = address
        self._order = program.byteorder
        self._texts: dict[bytes, int] = {}
        self._records: list[tuple[bytes, dict[str, int]]] = []
        self._pending = b""
        self._powers = 0
        self.data = bytearray()
        self._code(program.code, 0, len(program.code), 0)
        self._emit("END")
        code = self._place(
            b"".join([_INSTRUCTION.pack(text, *[each.get(name, 0) for name in _MEMBERS]) for text, each in self._records])
        )
        steps = list(self._steps(program.where.code)) if program.where is not None else []
        is_simple = bool(steps) and all(step["condition"] in (9, 10, 11, _RANGE) for step in steps)
        where = self._place(b"".join([_STEP.pack(*[step.get(name, 0) for name in _STEP_MEMBERS]) for step in steps]))
        has_cells = any(isinstance(instruction, Cell) for instruction in program.code)
        options = (program.byteorder == "big", program.stripped, has_cells, self._powers)
        self.program = self._place(_PROGRAM.pack(code, where, len(steps), is_simple, *options))
        self._place(bytes(SLACK_BYTES))

    def _place(self, data: bytes) -> int:
        """Append data at a multiple of 16 and return its address."""
        self.data += bytes(-(self._address + len(self.data)) % 16)
        address = self._address + len(self.data)
        self.data += data
        return address

    def _text(self, text: bytes) -> int:
        address = self._texts.get(text)
        if address is None:
            address = self._texts[text] = self._place(text)
        return address

    def _names(self, table: tuple[tuple[int, bytes], ...]) -> int:
        """Place a table, ordered as numbers without sign."""
        rows = sorted((value & _MASK, text) for value, text in table)
        return self._place(
            b"".join([_NAME.pack(value, self._text(text), len(text), len(text) - len(text.decode()), 0) for value, text in rows])
        )

    def _emit(self, opcode: str, **members: int) -> None:
        text = self._pending
        self._pending = b""
        while len(text) > _TEXT_BYTES:
            self._record(text[:_TEXT_BYTES], "NOTHING", {"in_cell": 1})
            text = text[_TEXT_BYTES:]
        self._record(text, opcode, members)

    def _record(self, text: bytes, opcode: str, members: dict[str, int]) -> None:
        members.update(opcode=_OPCODES[opcode], text_size=len(text), wide=sum(byte & 0xC0 == 0x80 for byte in text))
        self._records.append((text, members))

    def _code(self, code: tuple[Instruction, ...], first: int, last: int, in_cell: int) -> None:
        index = first
        while index < last:
            instruction = code[index]
            index += 1
            if isinstance(instruction, Text):
                self._pending += instruction.text
            elif isinstance(instruction, Value):
                self._value(instruction, in_cell, None)
            elif isinstance(instruction, Cell):
                self._cell(code, index, instruction)
                index += instruction.body
            else:
                self._loop(code, index, instruction, in_cell)
                index += instruction.body

    def _cell(self, code: tuple[Instruction, ...], first: int, cell: Cell) -> None:
        inner = code[first]
        if cell.body == 1 and isinstance(inner, Value):
            self._value(inner, 0, cell)
            return
        self._emit("CELL")
        self._code(code, first, first + cell.body, 1)
        self._emit("CELL_END", in_cell=1, **_cell_members(cell))

    def _loop(self, code: tuple[Instruction, ...], first: int, loop: Loop, in_cell: int) -> None:
        count = 0xFFFF_FFFF if loop.count is None else loop.count
        self._emit("LOOP", offset=loop.byte_offset, count=count, stride=loop.stride, in_cell=in_cell)
        begin = len(self._records)
        self._code(code, first, first + loop.body, in_cell)
        self._emit("LOOP_END", stride=loop.stride, target=begin, in_cell=in_cell)
        self._records[begin - 1][1]["target"] = len(self._records)

    def _value(self, value: Value, in_cell: int, cell: Cell | None) -> None:
        kind, bits = value.kind, value.bit_size
        members = {"in_cell": in_cell, **(_cell_members(cell) if cell else {})}
        opcode = kind.upper()
        if kind == "string":
            members.update(offset=value.bit_offset // 8, size=bits // 8)
            opcode = _STRINGS[value.escape]
        elif kind in ("ipv4", "ipv6", "mac", "port"):
            members["offset"] = value.bit_offset // 8
        elif kind == "float":
            self._powers = self._powers or self._place(_powers_of_ten())
            members.update(_place(value.bit_offset & ~7, bits, self._order), is_json=value.escape in (JSON, SHOWN_JSON))
        else:
            members.update(_place(value.bit_offset, bits, self._order), is_signed=value.signed)
            members.update(unit_ns=value.unit_ns, offset_ns=value.offset_ns)
            if kind in ("names", "flags"):
                members.update(names=self._names(value.table), name_count=len(value.table))
                members.update(flags=self._names(value.bits), flag_count=len(value.bits), quote=ord(value.quote or b"\0"))
            elif kind in ("int", "hex", "bool") and bits > 64:
                opcode = f"WIDE_{opcode}"
            elif kind == "int" and bits in (8, 16, 32, 64) and value.bit_offset % 8 == 0 and self._order == "little":
                opcode = f"{'S' if value.signed else 'U'}{bits}"
        if opcode in _NUMBERS:
            members["cell"] = 0
        self._emit(opcode, **members)

    def _steps(self, code: tuple[Step, ...]) -> Iterator[dict[str, int]]:
        """Yield the instructions of a predicate; a comparison of an integer with a constant is one of them."""
        index = 0
        while index < len(code):
            step = code[index]
            index += 1
            if step[0] == "int" and [each[0] for each in code[index : index + 2]] == ["const", "cmp"]:
                constant = code[index][1]
                if isinstance(constant, int):
                    found = self._range(step, constant, code[index + 1][1])
                    if found:
                        yield from found
                        index += 2
                        continue
            yield self._step(*step)

    def _range(self, step: Step, constant: int, operator: str) -> list[dict[str, int]]:
        """Return what tells whether an integer is on the right side of a constant; nothing if it touches too many bytes."""
        _name, bit_offset, bits, is_signed = step
        place = _place(bit_offset, bits, self._order)
        if place["size"] > 8:
            return []
        least, greatest = (-(1 << bits - 1), (1 << bits - 1) - 1) if is_signed else (0, (1 << bits) - 1)
        low = constant if operator in ("==", "!=", ">=", "<") else constant + 1
        high = constant if operator in ("==", "!=") else greatest
        is_not = operator in ("!=", "<", "<=")  # these are the others turned round
        low, high = max(low, least), min(high, greatest)
        if low > high:  # none is
            low, high, is_not = least, greatest, not is_not
        found = [{"condition": _RANGE, **place, "is_signed": bool(is_signed), "low": low & _MASK, "high": high - low}]
        return [*found, {"condition": _CONDITIONS["not"]}] if is_not else found

    def _step(self, name: str, *operands: Any) -> dict[str, int]:
        if name == "int":
            bit_offset, bits, is_signed = operands
            return {"condition": 0, **_place(bit_offset, bits, self._order), "is_signed": bool(is_signed)}
        if name == "float":
            bit_offset, bits = operands
            return {"condition": 1, **_place(bit_offset & ~7, bits, self._order)}
        if name == "string":
            return {"condition": 2, "offset": operands[0], "size": operands[1]}
        if name != "const":
            return {"condition": _CONDITIONS[name], "comparison": _COMPARISONS.index(operands[0]) if operands else 0}
        constant = operands[0]
        if isinstance(constant, bytes):
            return {"condition": 5, "size": len(constant), "bytes": self._text(constant)}
        if isinstance(constant, float):
            return {"condition": 4, "low": int.from_bytes(pack("<d", constant), "little")}
        return {"condition": 3, "low": constant & _MASK, "high": constant >> 64 & _MASK}


def _cell_members(cell: Cell) -> dict[str, int]:
    return {
        "cell": _QUOTED if cell.quoted else _PADDED,
        "width": cell.width,
        "limit": cell.limit,
        "right": cell.right,
    }


def _place(bit_offset: int, bits: int, byteorder: str) -> dict[str, int]:
    """Say which bytes hold a number and which bits of them are its own: ``struct place``."""
    start, skipped = divmod(bit_offset, 8)
    size = (skipped + bits + 7) // 8
    is_little = byteorder == "little"
    place = {"offset": start, "size": size, "bits": bits, "shift": skipped if is_little else size * 8 - skipped - bits}
    if size <= 8:
        place.update(up=64 - bits - skipped if is_little else skipped, down=64 - bits)
    return place


def longest_line(program: LineProgram, length: int) -> int:
    """Return a bound of the bytes of a line without prefix, for payloads of a length."""
    return _longest(program.code, 0, len(program.code), length) + SLACK_BYTES


def _longest(code: tuple[Instruction, ...], first: int, last: int, length: int) -> int:
    total = 0
    index = first
    while index < last:
        instruction = code[index]
        index += 1
        if isinstance(instruction, Text):
            total += len(instruction.text)
        elif isinstance(instruction, Value):
            total += longest_value(instruction, length)
        else:
            inner = _longest(code, index, index + instruction.body, length)
            index += instruction.body
            if isinstance(instruction, Cell):
                total += inner * 2 + 2 if instruction.quoted else inner + instruction.width + 3
            else:
                count = instruction.count if instruction.count is not None else length // instruction.stride
                total += count * (inner + 1)
    return total


_powers = b""


def _powers_of_ten() -> bytes:
    """Return 10^-292 to 10^324 as 128-bit numbers with the highest bit set, rounded up; the low half of each first."""
    global _powers
    if not _powers:
        found = []
        for exponent in range(-292, 325):
            power = 10 ** abs(exponent)
            if exponent >= 0:
                excess = power.bit_length() - 128
                number = -(-power >> excess) if excess > 0 else power << -excess
            else:
                number = -(-(1 << power.bit_length() + 127) // power)
            found.append(pack("<QQ", number & _MASK, number >> 64))
        _powers = b"".join(found)
    return _powers
