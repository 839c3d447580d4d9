"""The executable sections of an object: byte code, functions, and what the instructions refer to.

libbpf shows the programs of an object it has opened, but neither the functions that they share (``.text``) nor relocations.
Here are just those, read from the ELF file itself (System V ABI, chapters 4 and 5). The object is untrusted.
"""

from __future__ import annotations

import struct

from ecli_runtime.errors import ObjectError
from ecli_schemas.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Literal

_SHT_PROGBITS, _SHT_SYMTAB, _SHT_REL = 1, 2, 9
_SHF_EXECINSTR = 4
_STT_FUNC, _STB_WEAK = 2, 2
_MAX_NAME_LENGTH = 511  # KSYM_NAME_LEN - 1
# Functions and relocations of all code: real objects have some thousands.
_MAX_ENTRY_COUNT = 1 << 20


class Function(Record):
    """A program or subprogram: a symbol in an executable section."""

    name: str
    byte_offset: int


class Target(Record):
    """What the relocation of an instruction refers to.

    Attributes:
        name: Symbol; empty for that of a section.
        section: Index of the section that holds it; 0: it is extern, in the kernel.
        byte_offset: Where it is in its section.
    """

    name: str
    section: int
    byte_offset: int


class CodeSection(Record):
    """An executable section.

    Attributes:
        index: Of the section in the file.
        name: Its name; ``.text`` holds functions that are no programs.
        code: Instructions of 8 bytes each.
        functions: Functions in it.
        targets: Index of an instruction → what its relocation refers to.
    """

    index: int
    name: str
    code: bytes
    functions: tuple[Function, ...]
    targets: Mapping[int, Target]


def code_sections(data: bytes) -> dict[int, CodeSection]:
    """Return the executable sections of an object by their indices.

    Args:
        data: The object, for which :func:`ecli_runtime.elf.check_header` holds.

    Raises:
        ObjectError: The section headers are damaged.
    """
    try:
        return _Reader(data).code_sections()
    except struct.error as error:
        raise _damaged() from error


def section_bytes(data: bytes, name: str) -> bytes | None:
    """Return the bytes of the first section of that name, or ``None``; arguments and errors as :func:`code_sections`."""
    try:
        return _Reader(data).section_bytes(name)
    except struct.error as error:
        raise _damaged() from error


def extern_symbols(data: bytes) -> dict[str, bool]:
    """Return the names of symbols that are not in the object, and whether each may be missing (``__weak``); errors likewise."""
    try:
        return _Reader(data).extern_symbols()
    except struct.error as error:
        raise _damaged() from error


def section_names(data: bytes) -> list[str]:
    """Return the names of all sections by their indices; arguments and errors as :func:`code_sections`."""
    try:
        return _Reader(data).section_names()
    except struct.error as error:
        raise _damaged() from error


def functions_in_data(data: bytes, section: str) -> set[str]:
    """Return the names of the functions whose addresses a section of data holds; errors as :func:`code_sections`."""
    try:
        return _Reader(data).functions_in_data(section)
    except struct.error as error:
        raise _damaged() from error


def instruction_layout(data: bytes) -> str:
    """Return the format of an instruction for :mod:`struct`: code, registers, offset, immediate (RFC 9669, section 3.1)."""
    return _prefix(data) + "BBhi"


def _prefix(data: bytes) -> Literal["<", ">"]:
    return "<" if data[5] == 1 else ">"


def _damaged() -> ObjectError:
    return ObjectError("the section headers of the package's object are damaged", "build the package again")


class _Header:
    """A section header (``Elf64_Shdr``)."""

    def __init__(self, values: tuple[int, ...]) -> None:
        self.name_at, self.type, self.flags, _address, self.byte_offset, self.size_bytes, self.link, self.info, *_rest = values


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.prefix = _prefix(data)
        self.headers = list(self._headers())
        self.left = _MAX_ENTRY_COUNT

    def _headers(self) -> Iterator[_Header]:
        (at,) = struct.unpack_from(self.prefix + "Q", self.data, 40)
        size, count, self.names_index = struct.unpack_from(self.prefix + "HHH", self.data, 58)
        layout = struct.Struct(self.prefix + "IIQQQQIIQQ")
        if not 0 < at <= len(self.data) - layout.size or size != layout.size:
            raise _damaged()
        first = _Header(layout.unpack_from(self.data, at))
        if count == 0:  # more than the field can say
            count = first.size_bytes
        if self.names_index == 0xFFFF:
            self.names_index = first.link
        if not 0 < count <= (len(self.data) - at) // size:
            raise _damaged()
        for index in range(count):
            yield _Header(layout.unpack_from(self.data, at + index * size))

    def _bytes(self, index: int) -> bytes:
        if not 0 <= index < len(self.headers):
            raise _damaged()
        header = self.headers[index]
        end = header.byte_offset + header.size_bytes
        if end > len(self.data):
            raise _damaged()
        return self.data[header.byte_offset : end]

    def _string(self, table: bytes, at: int) -> str:
        end = table.find(b"\0", at, at + _MAX_NAME_LENGTH + 1)
        if end < 0:
            raise _damaged()
        return table[at:end].decode("utf-8", "replace")

    def _count(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise ObjectError(f"the package's object has more than {_MAX_ENTRY_COUNT} functions and relocations")

    def section_bytes(self, name: str) -> bytes | None:
        names = self._bytes(self.names_index)
        for index, header in enumerate(self.headers):
            if self._string(names, header.name_at) == name:
                return self._bytes(index)
        return None

    def extern_symbols(self) -> dict[str, bool]:
        symbol, found = self._read_symbols(), {}
        for at in range(symbol.size, len(self.symbols) - symbol.size + 1, symbol.size):
            name_at, info, section, _value = symbol.unpack_from(self.symbols, at)
            if not section and name_at:
                self._count()
                found[self._string(self.strings, name_at)] = info >> 4 == _STB_WEAK
        return found

    def section_names(self) -> list[str]:
        names = self._bytes(self.names_index)
        return [self._string(names, header.name_at) for header in self.headers]

    def functions_in_data(self, section: str) -> set[str]:
        names = self._bytes(self.names_index)
        wanted = {index for index, each in enumerate(self.headers) if self._string(names, each.name_at) == section}
        symbol = self._read_symbols()
        found: set[str] = set()
        for index, header in enumerate(self.headers):
            if header.type == _SHT_REL and header.info in wanted:
                found.update(target.name for _at, target in self._targets(self._bytes(index), symbol) if target.section)
        return found

    def _read_symbols(self) -> struct.Struct:
        """Read the table of symbols, and return the layout of an entry."""
        tables = [index for index, header in enumerate(self.headers) if header.type == _SHT_SYMTAB]
        self.symbols = self._bytes(tables[0]) if tables else b""
        self.strings = self._bytes(self.headers[tables[0]].link) if tables else b""
        return struct.Struct(self.prefix + "IBxHQ8x")

    def code_sections(self) -> dict[int, CodeSection]:
        names = self._bytes(self.names_index)
        found = [
            index
            for index, header in enumerate(self.headers)
            if header.type == _SHT_PROGBITS and header.flags & _SHF_EXECINSTR and header.size_bytes
        ]
        symbol = self._read_symbols()
        functions: dict[int, list[Function]] = {index: [] for index in found}
        targets: dict[int, dict[int, Target]] = {index: {} for index in found}
        for at in range(0, len(self.symbols) - symbol.size + 1, symbol.size):
            name_at, info, section, value = symbol.unpack_from(self.symbols, at)
            if info & 0xF == _STT_FUNC and section in functions:
                self._count()
                functions[section].append(Function(self._string(self.strings, name_at), value))
        for index, header in enumerate(self.headers):
            if header.type == _SHT_REL and header.info in targets:
                targets[header.info].update(self._targets(self._bytes(index), symbol))
        return {
            index: CodeSection(
                index,
                self._string(names, self.headers[index].name_at),
                self._bytes(index),
                tuple(functions[index]),
                targets[index],
            )
            for index in found
        }

    def _targets(self, relocations: bytes, symbol: struct.Struct) -> Iterator[tuple[int, Target]]:
        entry = struct.Struct(self.prefix + "QQ")
        for at in range(0, len(relocations) - entry.size + 1, entry.size):
            self._count()
            byte_offset, info = entry.unpack_from(relocations, at)
            name_at, _info, section, value = symbol.unpack_from(self.symbols, (info >> 32) * symbol.size)
            yield byte_offset // 8, Target(self._string(self.strings, name_at), section, value)
