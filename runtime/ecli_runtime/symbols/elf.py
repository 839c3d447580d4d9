"""Functions in an ELF file. The file may be anybody's: it is read piece by piece, and whatever makes no sense is left out."""

from __future__ import annotations

import os
import stat
from array import array
from bisect import bisect_right
from struct import Struct
from struct import error as StructError  # noqa: N812  an exception, whatever it is called

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

# include/uapi/linux/elf.h
_SHT_SYMTAB, _SHT_DYNSYM, _PT_LOAD, _PT_NOTE, _NT_GNU_BUILD_ID = 2, 11, 1, 4, 3
_FUNCTIONS = frozenset((2, 10))  # STT_FUNC, STT_GNU_IFUNC
_MAX_TABLE_SIZE_BYTES = 1 << 26
_MAX_NOTES_SIZE_BYTES = 1 << 16
_MAX_NAME_SIZE_BYTES = 4096
_LOOK_BACK = 16  # functions that begin before an address, and may end behind it, that are looked at
_DEBUG = "/usr/lib/debug/.build-id"


def open_regular(path: str, *, follow: bool = True) -> int:
    """Open a file for reading that may be anything, and return its descriptor; a pipe or device is not waited for.

    Raises:
        OSError: It cannot be opened, or is no regular file.
    """
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | (0 if follow else os.O_NOFOLLOW))
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(f"{path} is no regular file")
    return fd


class _Layout:
    """Where an ELF file of some class and byte order has what."""

    def __init__(self, ident: bytes) -> None:
        order = {1: "<", 2: ">"}[ident[5]]
        self.is_64 = {1: False, 2: True}[ident[4]]
        word = "Q" if self.is_64 else "I"
        # After e_ident: type, machine, version, entry, phoff, shoff, flags, ehsize, phentsize, phnum, shentsize, shnum, shstrndx
        self.header = Struct(f"{order}16xHHI{word * 3}I6H")
        self.section = Struct(f"{order}II{word * 4}II{word * 2}")
        self.segment = Struct(f"{order}{'IIQQQQQQ' if self.is_64 else 'IIIIIIII'}")
        self.symbol = Struct(f"{order}{'IBBHQQ' if self.is_64 else 'IIIBBH'}")
        self.note = Struct(f"{order}III")


class ElfFunctions:
    """The functions of one file.

    Args:
        fd: Descriptor of the file; stays the caller's, and is not needed afterwards.
        debug_directory: Where files that have the symbols of others lie, by build id.

    Attributes:
        build_id: Hexadecimal; empty if it has none.
    """

    def __init__(self, fd: int, debug_directory: str = _DEBUG) -> None:
        self.build_id = ""
        self._segments: list[tuple[int, int, int]] = []  # offset in the file, size there, address
        self._starts, self._ends, self._names = array("Q"), array("Q"), array("Q")
        self._strings = bytearray()
        self._read(fd)
        if self.build_id and not self._has_symtab:
            self._read_debug(debug_directory)
        order = sorted(range(len(self._starts)), key=lambda at: (self._starts[at], -self._ends[at]))
        for name in ("_starts", "_ends", "_names"):
            table = getattr(self, name)
            setattr(self, name, array("Q", (table[at] for at in order)))

    def __len__(self) -> int:
        """Return the number of functions known."""
        return len(self._starts)

    @property
    def size_bytes(self) -> int:
        """About how much memory it takes."""
        return len(self._strings) + 24 * len(self._starts)

    def _read_debug(self, directory: str) -> None:
        try:
            fd = open_regular(f"{directory}/{self.build_id[:2]}/{self.build_id[2:]}.debug")
        except OSError:
            return
        try:
            segments, build_id = self._segments, self.build_id
            self._read(fd)  # its addresses are those of the file it was made of, its segments are empty
            self._segments, self.build_id = segments, build_id
        finally:
            os.close(fd)

    def _read(self, fd: int) -> None:
        self._has_symtab = False
        try:
            ident = os.pread(fd, 16, 0)
            if ident[:4] != b"\x7fELF":
                return
            layout = _Layout(ident)
            header = layout.header.unpack(os.pread(fd, layout.header.size, 0))
            phoff, shoff, phentsize, phnum, shentsize, shnum = header[4], header[5], *header[8:12]
            if phentsize == layout.segment.size:
                self._read_segments(fd, layout, os.pread(fd, phentsize * phnum, phoff))
            if shentsize == layout.section.size:
                self._read_sections(fd, layout, os.pread(fd, shentsize * shnum, shoff))
        except (OSError, StructError, LookupError, OverflowError, ValueError):  # truncated, or no ELF after all
            return

    def _read_segments(self, fd: int, layout: _Layout, table: bytes) -> None:
        for fields in layout.segment.iter_unpack(table):
            kind = fields[0]
            offset, address, size = (fields[2], fields[3], fields[5]) if layout.is_64 else (fields[1], fields[2], fields[4])
            if kind == _PT_LOAD:
                self._segments.append((offset, size, address))
            elif kind == _PT_NOTE and not self.build_id:
                self._read_notes(layout, os.pread(fd, min(size, _MAX_NOTES_SIZE_BYTES), offset))

    def _read_notes(self, layout: _Layout, notes: bytes) -> None:
        at = 0
        while at + 12 <= len(notes):
            name_size, size, kind = layout.note.unpack_from(notes, at)
            start = at + 12 + (name_size + 3 & ~3)
            if kind == _NT_GNU_BUILD_ID and notes[at + 12 : at + 16] == b"GNU\0" and 2 <= size <= 64:
                self.build_id = notes[start : start + size].hex()
            at = start + (size + 3 & ~3)

    def _read_sections(self, fd: int, layout: _Layout, table: bytes) -> None:
        sections = list(layout.section.iter_unpack(table))
        wanted = {_SHT_SYMTAB, _SHT_DYNSYM}  # of each the first: there are no more in a file that somebody has linked
        for _name, kind, _flags, _address, offset, size, link, _info, _align, entry_size in sections:
            if kind not in wanted or entry_size != layout.symbol.size or link >= len(sections):
                continue
            strings_offset, strings_size = sections[link][4], sections[link][5]
            if max(size, strings_size) > _MAX_TABLE_SIZE_BYTES:
                continue
            wanted.discard(kind)
            data = os.pread(fd, size, offset)
            before = len(self._strings)
            self._strings += os.pread(fd, strings_size, strings_offset)
            self._add(layout, data[: len(data) // entry_size * entry_size], before)
            self._has_symtab = self._has_symtab or kind == _SHT_SYMTAB

    def _add(self, layout: _Layout, data: bytes, strings_at: int) -> None:
        starts, ends, names = self._starts, self._ends, self._names
        limit = 1 << 64
        for fields in layout.symbol.iter_unpack(data):
            if layout.is_64:
                name, info, _other, section, value, size = fields
            else:
                name, value, size, info, _other, section = fields
            if section and info & 15 in _FUNCTIONS and value + size < limit:
                starts.append(value)
                ends.append(value + size)
                names.append(strings_at + name)

    def address(self, file_offset: int) -> int | None:
        """Return the address in the file's own terms of what lies at an offset in it, ``None`` if that is not loaded."""
        for offset, size, address in self._segments:
            if offset <= file_offset < offset + size:
                return file_offset - offset + address
        return None

    def name(self, address: int) -> str:
        """Return the function at an address, empty if there is none."""
        last = bisect_right(self._starts, address) - 1
        for at in range(last, max(last - _LOOK_BACK, -1), -1):
            # What is written in assembler may have no size: it lasts until the next begins.
            if address < self._ends[at] or (at == last and self._ends[at] == self._starts[at]):
                start = self._names[at]
                end = self._strings.find(b"\0", start, start + _MAX_NAME_SIZE_BYTES)
                return self._strings[start : end if end >= 0 else start + _MAX_NAME_SIZE_BYTES].decode("utf-8", "replace")
        return ""

    def names(self) -> Iterator[str]:
        """Yield the names of all functions."""
        return (self.name(start) for start in self._starts)
