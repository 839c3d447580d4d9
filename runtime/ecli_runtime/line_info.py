"""Where the instructions of programs come from: file, line and text, as the compiler wrote them into ``.BTF.ext``.

The verifier counts the instructions of a program as libbpf lays it out: the program itself, and behind it each function that it
calls, in the order in which libbpf comes across them. Imported only when a program was refused. The object is untrusted.
"""

from __future__ import annotations

import os
import struct
from bisect import bisect_right
from itertools import islice

from ecli_runtime.btf import Btf
from ecli_runtime.code import code_sections, instruction_layout, section_bytes
from ecli_runtime.errors import BtfError
from ecli_schemas.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import TypeAlias

    from ecli_runtime.code import CodeSection

    Place: TypeAlias = tuple[int, int]  # index of a section, byte offset in it

_MAGIC = 0xEB9F  # include/uapi/linux/btf.h
_CALL, _LOAD_ADDRESS, _PSEUDO_CALL = 0x85, 0x18, 1
_LINE_SHIFT = 10  # BPF_LINE_INFO_LINE_NUM, include/uapi/linux/bpf.h: below it is the column
_MAX_TEXT_LENGTH = 200
_MAX_INSTRUCTION_COUNT = 1 << 20  # the kernel takes a million (BPF_COMPLEXITY_LIMIT_INSNS)


class SourceLine(Record):
    """A line of C.

    Attributes:
        file: Its file, as the compiler was given it, without directories if they are absolute.
        number: Its number, from 1.
        text: What is in it, cut after 200 letters.
    """

    file: str
    number: int
    text: str

    def __str__(self) -> str:
        return f"{self.file}:{self.number}"


class SourceLines:
    """The source lines of an object's programs.

    Args:
        data: The object, for which :func:`ecli_runtime.elf.check_header` holds.

    Raises:
        ObjectError: Its section headers are damaged.
        BtfError: Its line information is.
    """

    def __init__(self, data: bytes) -> None:
        self._sections = code_sections(data)
        self._layout = instruction_layout(data)
        types = section_bytes(data, ".BTF")
        self._btf = None if types is None else Btf(types)
        self._lines: dict[str, list[tuple[int, int, int, int]]] = {}  # section → (byte offset, file, text, line and column)
        try:
            self._read(section_bytes(data, ".BTF.ext") or b"")
        except struct.error as error:
            raise BtfError("the line information of the package's object is damaged", "build the package again") from error

    def _read(self, raw: bytes) -> None:
        """Read ``struct btf_ext_header`` and the records of ``struct bpf_line_info`` (Documentation/bpf/btf.rst, 4.2)."""
        prefix = self._layout[0]
        if self._btf is None or len(raw) < 24:
            return
        magic, _version, _flags, header_size, _, _, at, size_bytes = struct.unpack_from(prefix + "HBBIIIII", raw)
        if magic != _MAGIC or not size_bytes:
            return
        at += header_size
        end = min(at + size_bytes, len(raw))
        (record_size,) = struct.unpack_from(prefix + "I", raw, at)
        at += 4
        record = struct.Struct(prefix + "IIII")
        if record_size < record.size:
            raise struct.error
        while at < end:
            name_at, count = struct.unpack_from(prefix + "II", raw, at)
            at += 8
            if count > (end - at) // record_size:
                raise struct.error
            found = sorted(record.unpack_from(raw, at + index * record_size) for index in range(count))
            self._lines.setdefault(self._btf.string(name_at), found)
            at += count * record_size

    def of_program(self, section: str, name: str) -> Lines | None:
        """Return the lines of a program; ``None`` if it is not to be found.

        Args:
            section: Its section, as libbpf names it.
            name: Its name.
        """
        for each in self._sections.values():
            if each.name.removeprefix("?") == section:
                for function in each.functions:
                    if function.name == name:
                        return Lines(self, _lay_out(self._sections, self._layout, (each.index, function.byte_offset)))
        return None

    def at(self, place: Place) -> SourceLine | None:
        """Return the line that an instruction comes from: that of the last record before it, in its section."""
        section, byte_offset = place
        lines = self._lines.get(self._sections[section].name, [])
        index = bisect_right(lines, byte_offset, key=lambda line: line[0]) - 1
        if index < 0 or self._btf is None:
            return None
        _, file_at, text_at, position = lines[index]
        try:
            file, text = self._btf.string(file_at), self._btf.string(text_at)
        except BtfError:
            return None
        short = os.path.basename(file) if file.startswith("/") else os.path.normpath(file)
        return SourceLine(short, position >> _LINE_SHIFT, text.strip()[:_MAX_TEXT_LENGTH])


class Lines:
    """The lines of one program, by the numbers that the verifier gives its instructions.

    Attributes:
        places: Section and byte offset of each instruction, those of functions that it calls included.
    """

    def __init__(self, lines: SourceLines, places: list[Place]) -> None:
        self._lines, self.places = lines, places

    def at(self, instruction: int) -> SourceLine | None:
        """Return the line that an instruction comes from, or ``None``."""
        return self._lines.at(self.places[instruction]) if 0 <= instruction < len(self.places) else None


def _lay_out(sections: Mapping[int, CodeSection], layout: str, program: Place) -> list[Place]:
    """Return the place of each instruction of a program, as libbpf puts it together (``bpf_object__reloc_code``).

    A function is appended when a call of it is met, and those that it calls behind it, before the caller is walked further.
    """
    starts = {index: sorted({each.byte_offset for each in section.functions}) for index, section in sections.items()}

    def end(function: Place) -> int:
        section, start = function
        following = bisect_right(starts[section], start)
        return starts[section][following] if following < len(starts[section]) else len(sections[section].code)

    order, placed = [program], {program}
    walked = [(program, program[1])]
    while walked:
        function, begin = walked.pop()
        for byte_offset in range(begin, end(function), 8):
            callee = _callee(sections, layout, (function[0], byte_offset))
            if callee is not None and callee not in placed:
                placed.add(callee)
                order.append(callee)
                walked += [(function, byte_offset + 8), (callee, callee[1])]
                break
    places = ((function[0], byte_offset) for function in order for byte_offset in range(function[1], end(function), 8))
    return list(islice(places, _MAX_INSTRUCTION_COUNT))


def _callee(sections: Mapping[int, CodeSection], layout: str, place: Place) -> Place | None:
    """Return the function that an instruction calls, or whose address it loads."""
    index, byte_offset = place
    section = sections[index]
    if byte_offset + 8 > len(section.code):
        return None
    opcode, registers, _offset, immediate = struct.unpack_from(layout, section.code, byte_offset)
    source = registers & 0xF if layout[0] == ">" else registers >> 4
    target = section.targets.get(byte_offset // 8)
    if opcode == _CALL and source == _PSEUDO_CALL:
        if target is None:
            return index, byte_offset + 8 * (immediate + 1)
        # The compiler leaves -1 there for a function by its name; behind the symbol of a section, where it is in that.
        return (target.section, target.byte_offset + 8 * (immediate + 1)) if target.section in sections else None
    if opcode == _LOAD_ADDRESS and target is not None and target.section in sections:
        return target.section, target.byte_offset + immediate
    return None
