"""What a handler may call: the few functions of the ABI, maps by name, and of WASI what cannot touch the machine."""

from __future__ import annotations

import os
import time

from ecli_runtime.wasm.handler.guest import ExitError
from ecli_runtime.wasm.kinds import WASI
from ecli_runtime.wasm.raw import import_

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from ecli_runtime.wasm.handler.maps import MapAccess
    from ecli_runtime.wasm.raw import Pending

LEVELS = ("error", "warning", "info", "debug")
_MAX_TEXT_SIZE_BYTES = 4096
_LOGS_PER_S = 20
_NONE = -1

# errno of wasi_snapshot_preview1
_WASI_OK, _WASI_BADF, _WASI_FAULT, _WASI_INVAL, _WASI_NOSYS = 0, 8, 21, 28, 52
_EFAULT = 14
_MAX_RANDOM_SIZE_BYTES = 65536


# Parameters of the functions of WASI that are given; others fail. All but proc_exit return an error number.
WASI_FUNCTIONS = {
    "args_sizes_get": ("i32", "i32"),
    "args_get": ("i32", "i32"),
    "environ_sizes_get": ("i32", "i32"),
    "environ_get": ("i32", "i32"),
    "clock_time_get": ("i32", "i64", "i32"),
    "random_get": ("i32", "i32"),
    "fd_write": ("i32", "i32", "i32", "i32"),
    "fd_fdstat_get": ("i32", "i32"),
    "fd_prestat_get": ("i32", "i32"),
    "fd_close": ("i32",),
    "sched_yield": (),
    "proc_exit": ("i32",),
}


class Imports:
    """The functions of one instance.

    Args:
        options: What the user gave the handler.
        type_numbers: Number of each type of events, by its name and by ``map/name``.
        maps: Maps that it may use, by name.
        say: Takes a level and a line that it logs.

    Attributes:
        memory: Returns its memory; ``None`` until it is instantiated.
    """

    def __init__(
        self,
        options: Mapping[str, str],
        type_numbers: Mapping[str, int],
        maps: Mapping[str, MapAccess],
        say: Callable[[str, str], object],
    ) -> None:
        self.memory: Callable[[], memoryview] | None = None
        self._options, self._type_numbers, self._maps, self._say = options, type_numbers, maps, say
        self._second, self._said = 0, 0
        self._line = b""

    def make(self, store: Any, module: Any, relay: Any, pending: Pending, raw: bool | None) -> list[Any]:
        """Return what a module imports, in its order."""
        return [self._make(store, each, relay, pending, raw) for each in module.imports]

    def _make(self, store: Any, wanted: Any, relay: Any, pending: Pending, raw: bool | None) -> Any:
        module, name = wanted.module, wanted.name or ""
        if module == "ecli" and name in ("emit", "now"):
            return relay[name]
        function: Any
        if module == "ecli":
            function = {"log": self._log, "option": self._option, "type": self._type}[name]
        elif module == WASI:
            function = getattr(self, f"_wasi_{name}") if name in WASI_FUNCTIONS else _not_given
        else:
            return import_(store, wanted.type, self._map_function(module, self._maps[name]), pending, raw)
        return import_(store, wanted.type, function, pending, raw)

    # --- its memory ---

    def _read(self, address: int, size: int) -> bytes | None:
        address, size = address & 0xFFFF_FFFF, size & 0xFFFF_FFFF
        view = self.memory() if self.memory is not None else memoryview(b"")
        return bytes(view[address : address + size]) if address + size <= len(view) else None

    def _write(self, address: int, data: bytes) -> bool:
        address &= 0xFFFF_FFFF
        view = self.memory() if self.memory is not None else memoryview(b"")
        if address + len(data) > len(view):
            return False
        view[address : address + len(data)] = data
        return True

    # --- the ABI ---

    def _log(self, level: int, address: int, size: int) -> None:
        text = self._read(address, min(size & 0xFFFF_FFFF, _MAX_TEXT_SIZE_BYTES))
        if text is not None:
            self._tell(LEVELS[level] if 0 <= level < len(LEVELS) else LEVELS[-1], text.decode("utf-8", "replace"))

    def _tell(self, level: str, text: str) -> None:
        second = int(time.monotonic())
        if second != self._second:
            if self._said > _LOGS_PER_S:
                self._say("warning", f"{self._said - _LOGS_PER_S} lines of its log are left out")
            self._second, self._said = second, 0
        self._said += 1
        if self._said <= _LOGS_PER_S:
            self._say(level, text)

    def _option(self, name: int, name_size: int, value: int, capacity: int) -> int:
        key = self._read(name, name_size)
        found = None if key is None else self._options.get(key.decode("utf-8", "replace"))
        if found is None:
            return _NONE
        data = found.encode("utf-8", "surrogateescape")
        return len(data) if self._write(value, data[: capacity & 0xFFFF_FFFF]) else _NONE

    def _type(self, name: int, name_size: int) -> int:
        key = self._read(name, name_size)
        return _NONE if key is None else self._type_numbers.get(key.decode("utf-8", "replace"), _NONE)

    # --- maps ---

    def _map_function(self, module: str, access: MapAccess) -> Callable[..., int]:
        def lookup(key: int, key_size: int, value: int, value_size: int) -> int:
            data = self._read(key, key_size)
            return -_EFAULT if data is None else self._answer(access.lookup(data), value, value_size)

        def next_key(key: int, key_size: int, following: int, following_size: int) -> int:
            data = None if not key else self._read(key, key_size)
            if key and data is None:
                return -_EFAULT
            return self._answer(access.next_key(data), following, following_size)

        def update(key: int, key_size: int, value: int, value_size: int, flags: int) -> int:
            data, new = self._read(key, key_size), self._read(value, value_size)
            return -_EFAULT if data is None or new is None else access.update(data, new, flags & 0xFFFF_FFFF_FFFF_FFFF)

        def delete(key: int, key_size: int) -> int:
            data = self._read(key, key_size)
            return -_EFAULT if data is None else access.delete(data)

        functions: dict[str, Callable[..., int]] = {
            "ecli.lookup": lookup,
            "ecli.next": next_key,
            "ecli.update": update,
            "ecli.delete": delete,
        }
        return functions[module]

    def _answer(self, found: bytes | int, address: int, capacity: int) -> int:
        """Write what a map gave; return its size, or a negative error number."""
        if isinstance(found, int):
            return found
        return len(found) if self._write(address, found[: capacity & 0xFFFF_FFFF]) else -_EFAULT

    # --- WASI: what languages need to start, and no more ---

    def _numbers(self, *pairs: tuple[int, int]) -> int:
        return _WASI_OK if all(self._write(at, number.to_bytes(4, "little")) for at, number in pairs) else _WASI_FAULT

    def _wasi_args_sizes_get(self, count: int, size: int) -> int:
        return self._numbers((count, 0), (size, 0))

    def _wasi_args_get(self, _addresses: int, _texts: int) -> int:
        return _WASI_OK

    _wasi_environ_sizes_get, _wasi_environ_get = _wasi_args_sizes_get, _wasi_args_get

    def _wasi_clock_time_get(self, clock: int, _precision: int, address: int) -> int:
        if clock not in (0, 1):
            return _WASI_INVAL
        now = time.time_ns() if clock == 0 else time.monotonic_ns()
        return _WASI_OK if self._write(address, now.to_bytes(8, "little")) else _WASI_FAULT

    def _wasi_random_get(self, address: int, size: int) -> int:
        size &= 0xFFFF_FFFF
        if size > _MAX_RANDOM_SIZE_BYTES:
            return _WASI_INVAL
        return _WASI_OK if self._write(address, os.urandom(size)) else _WASI_FAULT

    def _wasi_fd_write(self, fd: int, vectors: int, count: int, written: int) -> int:
        """Take lines that it writes to its standard output or error for its log."""
        if fd not in (1, 2):
            return _WASI_BADF
        total = 0
        for index in range(min(count & 0xFFFF_FFFF, 64)):
            vector = self._read(vectors + 8 * index, 8)
            if vector is None:
                return _WASI_FAULT
            size = int.from_bytes(vector[4:], "little")
            data = self._read(int.from_bytes(vector[:4], "little"), min(size, _MAX_TEXT_SIZE_BYTES))
            if data is None:
                return _WASI_FAULT
            total += size
            self._line = (self._line + data)[-_MAX_TEXT_SIZE_BYTES:]
        *lines, self._line = self._line.split(b"\n")
        for line in lines:
            self._tell("info", line.decode("utf-8", "replace"))
        return self._numbers((written, total))

    def _wasi_fd_fdstat_get(self, fd: int, address: int) -> int:
        if fd not in (0, 1, 2):
            return _WASI_BADF
        character_device = b"\2" + bytes(23)  # so that a C library writes line by line
        return _WASI_OK if self._write(address, character_device) else _WASI_FAULT

    def _wasi_fd_prestat_get(self, _fd: int, _address: int) -> int:
        return _WASI_BADF

    def _wasi_fd_close(self, _fd: int) -> int:
        return _WASI_OK

    def _wasi_sched_yield(self) -> int:
        return _WASI_OK

    def _wasi_proc_exit(self, status: int) -> int:
        raise ExitError(f"it ended its process with status {status}")


def _not_given(*_arguments: object) -> int:
    return _WASI_NOSYS
