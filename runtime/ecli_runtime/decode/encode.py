"""Line programs as the Wasm module reads them. The other half of this is ``native/program.h``: the same members, in order.

Addresses and numbers are little-endian on every machine: that is Wasm's byte order.
"""

from __future__ import annotations

from struct import Struct, pack

from ecli_runtime.decode.escapes import JSON, RAW, SHOWN_JSON, TEXT
from ecli_runtime.decode.lines import Cell, Loop, Text, Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ecli_runtime.decode.lines import Instruction, LineProgram

# The module reads and writes texts in pieces of 16 bytes.
SLACK_BYTES = 64

_OPCODES = {
    name: number
    for number, name in enumerate(
        (
            *("END", "U8", "U16", "U32", "U64", "S8", "S16", "S32", "S64", "INT", "HEX", "BOOL", "FLOAT", "NAMES", "FLAGS"),
            *("STRING_RAW", "STRING_JSON", "STRING_TEXT", "STRING_SHOWN_JSON", "DURATION", "TIME", "BYTES", "DEV", "PORT"),
            *("IPV4", "IPV6", "MAC", "LOOP", "LOOP_END", "CELL", "CELL_END", "QUOTE"),
        )
    )
}
_STRINGS = {RAW: "STRING_RAW", JSON: "STRING_JSON", TEXT: "STRING_TEXT", SHOWN_JSON: "STRING_SHOWN_JSON"}
# fmt: off
_MEMBERS = (
    "opcode", "offset", "size", "shift", "bits", "is_signed", "text", "text_size", "names", "name_count", "flags", "flag_count",
    "quote", "width", "limit", "right", "count", "stride", "target", "is_json", "unit_ns", "offset_ns",
)
# fmt: on
_INSTRUCTION = Struct("<20I2Q")
_NAME = Struct("<Q2I")
_STEP = Struct("<8I2Q")
_PROGRAM = Struct("<6I")

_CONDITIONS = {"glob": 7, "contains": 8, "and": 9, "or": 10, "not": 11}
_COMPARISONS = ("==", "!=", "<", "<=", ">", ">=")

# The most that a value takes whose text is not bounded by its own size: 128 bits in decimal, a double, an address.
_MAX_VALUE_BYTES = 48
_MAX_ESCAPE_BYTES = 6  # \u0000


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
        self._records: list[dict[str, int]] = []
        self._pending = b""
        self._powers = 0
        self.data = bytearray()
        self._code(program.code, 0, len(program.code))
        self._emit("END")
        code = self._place(b"".join([_INSTRUCTION.pack(*[each.get(name, 0) for name in _MEMBERS]) for each in self._records]))
        steps = [self._step(*each) for each in program.where.code] if program.where is not None else []
        where = self._place(b"".join(steps))
        is_big = program.byteorder == "big"
        self.program = self._place(_PROGRAM.pack(code, where, len(steps), is_big, program.stripped, self._powers))
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
        rows = sorted((value & 0xFFFF_FFFF_FFFF_FFFF, text) for value, text in table)
        return self._place(b"".join([_NAME.pack(value, self._text(text), len(text)) for value, text in rows]))

    def _emit(self, opcode: str, **members: int) -> None:
        members["opcode"] = _OPCODES[opcode]
        members["text"], members["text_size"] = self._text(self._pending), len(self._pending)
        self._pending = b""
        self._records.append(members)

    def _code(self, code: tuple[Instruction, ...], first: int, last: int) -> None:
        index = first
        while index < last:
            instruction = code[index]
            index += 1
            if isinstance(instruction, Text):
                self._pending += instruction.text
            elif isinstance(instruction, Value):
                self._value(instruction)
            elif isinstance(instruction, Cell):
                self._emit("CELL")
                self._code(code, index, index + instruction.body)
                if instruction.quoted:
                    self._emit("QUOTE")
                else:
                    self._emit("CELL_END", width=instruction.width, limit=instruction.limit, right=instruction.right)
                index += instruction.body
            else:
                self._loop(code, index, instruction)
                index += instruction.body

    def _loop(self, code: tuple[Instruction, ...], first: int, loop: Loop) -> None:
        count = 0xFFFF_FFFF if loop.count is None else loop.count
        self._emit("LOOP", offset=loop.byte_offset, count=count, stride=loop.stride)
        begin = len(self._records)
        self._code(code, first, first + loop.body)
        self._emit("LOOP_END", stride=loop.stride, target=begin)
        self._records[begin - 1]["target"] = len(self._records)

    def _value(self, value: Value) -> None:
        kind, bits = value.kind, value.bit_size
        if kind == "string":
            self._emit(_STRINGS[value.escape], offset=value.bit_offset // 8, size=bits // 8)
            return
        members = {**_place(value.bit_offset, bits, self._order), "bits": bits, "is_signed": value.signed}
        if kind == "int":
            is_plain = bits in (8, 16, 32, 64) and value.bit_offset % 8 == 0 and (bits == 8 or self._order == "little")
            self._emit(f"{'S' if value.signed else 'U'}{bits}" if is_plain else "INT", **members)
        elif kind == "float":
            self._powers = self._powers or self._place(_powers_of_ten())
            members.update(size=bits // 8, shift=0, is_json=value.escape in (JSON, SHOWN_JSON))
            self._emit("FLOAT", **members)
        elif kind in ("names", "flags"):
            members.update(names=self._names(value.table), name_count=len(value.table))
            members.update(flags=self._names(value.bits), flag_count=len(value.bits), quote=ord(value.quote or b"\0"))
            self._emit(kind.upper(), **members)
        else:
            members.update(unit_ns=value.unit_ns, offset_ns=value.offset_ns)
            self._emit(kind.upper(), **members)

    def _step(self, name: str, *operands: object) -> bytes:
        """Return one instruction of a predicate."""
        members = [0] * 7
        bytes_at = low = high = 0
        match name, operands:
            case "int", (int(bit_offset), int(bits), signed):
                place = _place(bit_offset, bits, self._order)
                members = [0, place["offset"], place["size"], place["shift"], bits, int(bool(signed)), 0]
            case "float", (int(bit_offset), int(bits)):
                members = [1, bit_offset // 8, bits // 8, 0, bits, 0, 0]
            case "string", (int(byte_offset), int(size)):
                members = [2, byte_offset, size, 0, 0, 0, 0]
            case "const", (bytes(text),):
                members[0], members[2] = 5, len(text)
                bytes_at = self._text(text)
            case "const", (float(number),):
                members[0] = 4
                (low,) = Struct("<Q").unpack(pack("<d", number))
            case "const", (int(number),):
                members[0] = 3
                low, high = number & 0xFFFF_FFFF_FFFF_FFFF, number >> 64 & 0xFFFF_FFFF_FFFF_FFFF
            case "cmp", (str(operator),):
                members[0], members[6] = 6, _COMPARISONS.index(operator)
            case _:
                members[0] = _CONDITIONS[name]
        return _STEP.pack(*members, bytes_at, low, high)


def _place(bit_offset: int, bits: int, byteorder: str) -> dict[str, int]:
    """Say which bytes hold a number and how far it is from their low end."""
    start, skipped = divmod(bit_offset, 8)
    size = (skipped + bits + 7) // 8
    return {"offset": start, "size": size, "shift": skipped if byteorder == "little" else size * 8 - skipped - bits}


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
            total += _longest_value(instruction, length)
        else:
            inner = _longest(code, index, index + instruction.body, length)
            index += instruction.body
            if isinstance(instruction, Cell):
                total += inner * 2 + 2 if instruction.quoted else inner + instruction.width + 3
            else:
                count = instruction.count if instruction.count is not None else length // instruction.stride
                total += count * (inner + 1)
    return total


def _longest_value(value: Value, length: int) -> int:
    if value.kind == "string":
        return (value.bit_size // 8 or length) * _MAX_ESCAPE_BYTES
    longest = max([len(text) for _value, text in value.table], default=0)
    return max(_MAX_VALUE_BYTES, longest, sum(len(text) + 1 for _bit, text in value.bits) + 2)


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
            found.append(pack("<QQ", number & 0xFFFF_FFFF_FFFF_FFFF, number >> 64))
        _powers = b"".join(found)
    return _powers
