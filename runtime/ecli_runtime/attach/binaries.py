"""Binaries and libraries that probes are put into: where they are, and what is in them."""

from __future__ import annotations

import os
import struct

from ecli_runtime.attach.target import listing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ecli_runtime.attach.target import Request

_SHT_SYMTAB, _SHT_NOTE, _SHT_DYNSYM = 2, 7, 11
_STT_FUNC = 2


def find_binary(request: Request, text: str, pid: int | None) -> str:
    """Return the path of a binary.

    Args:
        request: Whose target it is of.
        text: A path, a library (``libc``, ``libc.so.6``), or a program in PATH.
        pid: Process that uses it, which may see other files than we do (a container).

    Raises:
        TargetError: There is none.
    """
    if "/" in text:
        found = _seen_by(pid, text) or (text if os.path.exists(text) else None)
    else:
        found = _mapped_by(pid, text) or _library(text) or _program(text)
    if found is None:
        where = "in PATH or among the libraries" if "/" not in text else "there"
        hint = "a path, a library such as libc or libc.so.6, or a program in PATH; @PID finds what a process has mapped"
        raise request.wrong(f"there is no file {text!r} {where}", hint)
    if not _is_elf(found):
        raise request.wrong(f"{found} is no ELF file", "a script's code is in its interpreter's memory")
    return found


def _seen_by(pid: int | None, path: str) -> str | None:
    """Return the path by which we see the file that a process has under its path; ``None`` if that is the same."""
    if pid is None:
        return None
    inside = f"/proc/{pid}/root{os.path.abspath(path)}"
    try:
        theirs = os.stat(inside)
    except OSError:
        return None
    try:
        ours = os.stat(path)
    except OSError:
        return inside
    return None if (theirs.st_dev, theirs.st_ino) == (ours.st_dev, ours.st_ino) else inside


def _mapped_by(pid: int | None, name: str) -> str | None:
    """Return the path of a program or library that a process has mapped."""
    if pid is None:
        return None
    try:
        with open(f"/proc/{pid}/maps", encoding="utf-8", errors="surrogateescape") as file:
            paths = dict.fromkeys(line.rstrip("\n").split(None, 5)[5] for line in file if "/" in line)
    except OSError:
        return None
    for path in paths:
        if _is_called(os.path.basename(path), name):
            return _seen_by(pid, path) or path
    return None


def _is_called(file_name: str, name: str) -> bool:
    return file_name == name or file_name.startswith((f"{name}.so.", f"{name}-")) or file_name == f"{name}.so"


def _library(name: str) -> str | None:
    """Return the path of a library, where the dynamic loader looks (ld.so(8)), its cache left aside."""
    machine = os.uname().machine
    directories = os.environ.get("LD_LIBRARY_PATH", "").split(":")
    directories += [f"{root}/{machine}-linux-gnu" for root in ("/lib", "/usr/lib")]
    directories += ["/lib64", "/usr/lib64", "/lib", "/usr/lib", "/usr/local/lib"]
    for directory in filter(None, directories):
        try:
            names = os.listdir(directory)
        except OSError:
            continue
        # The shortest is what the others are links to or versions of; a linker's script may be among them (libc.so).
        for each in sorted(filter(lambda each: _is_library(each, name), names), key=lambda each: (len(each), each)):
            path = f"{directory}/{each}"
            if _is_elf(path):
                return path
    return None


def _is_library(file_name: str, name: str) -> bool:
    return file_name == name if ".so" in name else file_name == f"{name}.so" or file_name.startswith(f"{name}.so.")


def _program(name: str) -> str | None:
    for directory in os.get_exec_path():
        path = f"{directory}/{name}"
        if os.access(path, os.X_OK) and os.path.isfile(path):
            return path
    return None


def _is_elf(path: str) -> bool:
    try:
        with open(path, "rb") as file:
            return file.read(4) == b"\x7fELF"
    except OSError:
        return False


def hint_for_function(path: str, name: str) -> str:
    """Return what to try where a binary has no function of a name."""
    from difflib import get_close_matches

    known = sorted(set(functions(path)))
    if not known:
        return f"{path} has no symbols: say a place in the file, 0x1234, or get a binary with symbols"
    near = get_close_matches(name.partition("+")[0], known, n=3)
    return f"did you mean {' or '.join(near)}?" if near else f"`nm -D {path}` lists the functions; an inlined one is no function"


def hint_for_usdt(path: str) -> str:
    """Return what to try where a binary has no USDT probe of a name."""
    probes = sorted(set(usdt_probes(path)))
    return f"probes there: {listing(probes)}" if probes else f"{path} has no USDT probes"


class _Elf:
    """Sections of a 64-bit ELF file of this machine's byte order, all of it in memory."""

    def __init__(self, path: str) -> None:
        with open(path, "rb") as file:
            self.data = file.read()
        (at,) = struct.unpack_from("=Q", self.data, 40)
        size, count = struct.unpack_from("=HH", self.data, 58)
        self.headers = [struct.unpack_from("=IIQQQQIIQQ", self.data, at + index * size) for index in range(count)]

    def sections(self, *kinds: int) -> Iterator[tuple[bytes, int]]:
        """Yield the bytes of the sections of some types, each with the index of the section that it is linked to."""
        for _name, kind, _flags, _address, offset, size, link, *_rest in self.headers:
            if kind in kinds:
                yield self.data[offset : offset + size], link

    def linked(self, index: int) -> bytes:
        """Return the bytes of a section."""
        _name, _kind, _flags, _address, offset, size, *_rest = self.headers[index]
        return self.data[offset : offset + size]


def functions(path: str) -> Iterator[str]:
    """Yield the functions that the symbols of a binary name; none where it cannot be read."""
    try:
        elf = _Elf(path)
        for table, link in elf.sections(_SHT_SYMTAB, _SHT_DYNSYM):
            strings = elf.linked(link)
            for name_at, info, section, _value, _size in struct.iter_unpack("=IBxHQQ", table):
                if info & 0xF == _STT_FUNC and section:
                    yield strings[name_at : strings.index(b"\0", name_at)].decode("utf-8", "replace")
    except (OSError, struct.error, IndexError, ValueError, OverflowError):
        return


def usdt_probes(path: str) -> Iterator[str]:
    """Yield the USDT probes that the notes of a binary describe (``stapsdt``, type 3), as ``provider:name``."""
    try:
        for notes, _link in _Elf(path).sections(_SHT_NOTE):
            at = 0
            while at + 12 <= len(notes):
                name_size, size, kind = struct.unpack_from("=III", notes, at)
                described = at + 12 + (name_size + 3 & ~3)
                if kind == 3 and notes[at + 12 : at + 12 + name_size] == b"stapsdt\0":
                    provider, name, *_rest = notes[described + 24 : described + size].split(b"\0")
                    yield f"{provider.decode('utf-8', 'replace')}:{name.decode('utf-8', 'replace')}"
                at = described + (size + 3 & ~3)
    except (OSError, struct.error, IndexError, ValueError, OverflowError):
        return
