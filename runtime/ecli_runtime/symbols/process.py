"""Processes: what is mapped where, and the functions in it. Looked at when they are met first, since they may end any moment."""

from __future__ import annotations

import os
import time
from bisect import bisect_right

from ecli_runtime.symbols.elf import ElfFunctions, open_regular

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeAlias

    FileId: TypeAlias = tuple[str, int]  # device as the maps write it, inode

UNKNOWN = "[unknown]"
_MAX_PROCESSES = 4096
_MAX_HELD_FILES = 256
_MAX_TABLES_SIZE_BYTES = 1 << 28
_MAX_MAPPINGS = 1 << 16
_MAX_PERF_MAP_SIZE_BYTES = 1 << 26
# Mappings change: libraries are loaded, programs start others in their place.
_MAX_AGE_S = 5.0
_MISSED_AGE_S = 0.5


class _Mapping:
    """An executable part of a process."""

    __slots__ = ("end", "file", "offset", "path", "start")

    def __init__(self, start: int, end: int, offset: int, file: FileId | None, path: str) -> None:
        self.start, self.end, self.offset, self.file, self.path = start, end, offset, file, path


class _PerfMap:
    """What a JIT compiler says of its code: ``/tmp/perf-PID.map``, lines of start, size and name, the first two hexadecimal."""

    def __init__(self, pid: int) -> None:
        self._stamp = (0, 0)
        self._functions: list[tuple[int, int, str]] = []
        self._root = f"/proc/{pid}/root"
        self._uid = os.stat(f"/proc/{pid}").st_uid
        with open(f"/proc/{pid}/status", "rb") as file:
            inner = next((line.split()[-1] for line in file if line.startswith(b"NSpid:")), b"%d" % pid)
        self._path = f"{self._root}/tmp/perf-{int(inner)}.map"

    def read(self) -> None:
        """Read it, if it has changed."""
        try:
            fd = open_regular(self._path, follow=False)
        except OSError:
            return
        with open(fd, "rb") as file:
            status = os.fstat(fd)
            stamp = (status.st_mtime_ns, status.st_size)
            # Anybody may write to /tmp; perf asks the same.
            if stamp == self._stamp or status.st_uid not in (0, self._uid):
                return
            self._stamp = stamp
            functions = []
            for line in file.read(_MAX_PERF_MAP_SIZE_BYTES).decode("utf-8", "replace").split("\n"):
                parts = line.split(None, 2)
                try:
                    functions.append((int(parts[0], 16), int(parts[1], 16), parts[2]))
                except (ValueError, IndexError):
                    continue  # being written
        self._functions = sorted(functions)

    def name(self, address: int) -> str:
        at = bisect_right(self._functions, (address, 1 << 64, "")) - 1
        if at < 0:
            return ""
        start, size, name = self._functions[at]
        return name if address < start + size else ""


class _Process:
    def __init__(self, pid: int, files: _Files) -> None:
        self.pid = pid
        self.comm = ""
        self._files = files
        self._mappings: list[_Mapping] = []
        self._starts: list[int] = []
        self._perf_map: _PerfMap | None = None
        self._read_at = -_MAX_AGE_S
        self.refresh(0)

    def refresh(self, age_s: float) -> bool:
        """Look at it again, if that was longer ago; return whether it was there."""
        now = time.monotonic()
        if now - self._read_at < age_s:
            return False
        self._read_at = now
        try:
            with open(f"/proc/{self.pid}/comm", "rb") as file:
                self.comm = file.read(64).rstrip(b"\n").decode("utf-8", "replace")
            with open(f"/proc/{self.pid}/maps", "rb") as file:
                mappings = [mapping for line, _ in zip(file, range(_MAX_MAPPINGS), strict=False) if (mapping := _parse(line))]
            if not mappings:  # a zombie: it keeps what it had
                return False
            self._mappings = mappings
            self._starts = [each.start for each in mappings]
            for each in mappings:
                if each.file is not None:
                    self._files.hold(self.pid, each)
            self._perf_map = self._perf_map or _PerfMap(self.pid)
            self._perf_map.read()
        except (OSError, ValueError):  # it has ended
            return False
        return True

    def _mapping(self, address: int) -> _Mapping | None:
        at = bisect_right(self._starts, address) - 1
        return self._mappings[at] if at >= 0 and address < self._mappings[at].end else None

    def frame(self, address: int) -> tuple[str, str]:
        """Return the function at an address and the file that it is in."""
        found = self._frame(address)
        if found[0] == UNKNOWN and self.refresh(_MISSED_AGE_S):
            found = self._frame(address)
        return found

    def _frame(self, address: int) -> tuple[str, str]:
        mapping = self._mapping(address)
        if mapping is not None and mapping.file is not None:
            functions = self._files.functions(mapping.file)
            place = functions.address(address - mapping.start + mapping.offset) if functions is not None else None
            name = functions.name(place) if functions is not None and place is not None else ""
            if name:
                return name, os.path.basename(mapping.path)
        name = self._perf_map.name(address) if self._perf_map is not None else ""
        if name:
            return name, "JIT"
        return UNKNOWN, os.path.basename(mapping.path) if mapping is not None else ""


def _parse(line: bytes) -> _Mapping | None:
    """Return an executable mapping of a line of ``/proc/PID/maps``, ``None`` for any other."""
    fields = line.rstrip(b"\n").split(None, 5)
    if len(fields) < 5 or fields[1][2:3] != b"x":
        return None
    start, _, end = fields[0].partition(b"-")
    path = fields[5].decode("utf-8", "replace") if len(fields) > 5 else ""
    inode = int(fields[4])
    file = (fields[3].decode(), inode) if inode and path.startswith("/") and not path.startswith("/memfd:") else None
    return _Mapping(int(start, 16), int(end, 16), int(fields[2], 16), file, path)


class _Files:
    """Files that processes have mapped: held open from the first on, and read when a name is asked for."""

    def __init__(self) -> None:
        self._held: dict[FileId, int] = {}
        self._functions: dict[FileId, ElfFunctions] = {}
        self._size_bytes = 0

    def hold(self, pid: int, mapping: _Mapping) -> None:
        """Open the file behind a mapping, if that is not done: with its last process it may be gone, or be another."""
        if mapping.file is None or mapping.file in self._held or mapping.file in self._functions:
            return
        if len(self._held) >= _MAX_HELD_FILES:
            os.close(self._held.pop(next(iter(self._held))))
        # The first is the very file; only root may open it. The second is what has its name now.
        for path in (
            f"/proc/{pid}/map_files/{mapping.start:x}-{mapping.end:x}",
            f"/proc/{pid}/root{mapping.path.removesuffix(' (deleted)')}",
        ):
            try:
                self._held[mapping.file] = open_regular(path)
            except OSError:
                continue
            return

    def functions(self, file: FileId) -> ElfFunctions | None:
        found = self._functions.get(file)
        if found is None:
            fd = self._held.pop(file, None)
            if fd is None:
                return None
            try:
                found = ElfFunctions(fd)
            finally:
                os.close(fd)
            self._size_bytes += found.size_bytes
            while self._functions and self._size_bytes > _MAX_TABLES_SIZE_BYTES:  # those of the oldest are read again if need be
                self._size_bytes -= self._functions.pop(next(iter(self._functions))).size_bytes
            self._functions[file] = found
        return found

    def close(self) -> None:
        while self._held:
            os.close(self._held.popitem()[1])


class Processes:
    """The processes of this machine, by their numbers. Close it to give back the files that it holds open."""

    def __init__(self) -> None:
        self._files = _Files()
        self._known: dict[int, _Process] = {}

    def meet(self, pid: int) -> None:
        """Look at a process, since it may have ended when its addresses are to have names."""
        known = self._known.get(pid)
        if known is not None:
            known.refresh(_MAX_AGE_S)
            return
        if len(self._known) >= _MAX_PROCESSES:
            self._known.pop(next(iter(self._known)))
        self._known[pid] = _Process(pid, self._files)

    def comm(self, pid: int) -> str:
        """Return what a process is called, empty if it has not been met in time."""
        known = self._known.get(pid)
        return known.comm if known is not None else ""

    def frame(self, pid: int, address: int) -> tuple[str, str]:
        """Return the function at an address of a process, ``[unknown]`` if it has no name, and the file it is in, or nothing."""
        known = self._known.get(pid)
        return known.frame(address) if known is not None else (UNKNOWN, "")

    def close(self) -> None:
        """Close the files; names that are known stay so."""
        self._files.close()
