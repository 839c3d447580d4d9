"""The least of WASI (preview 1) that a command needs: arguments, standard streams, clocks, sleep, randomness and an exit.

There are no files, no directories and no environment: whatever asks for them is told that there is no such descriptor. Nothing
of wasmtime's own WASI is used: that could neither be woken up from a sleep nor pass on every exit status.
"""

from __future__ import annotations

import os
import struct
import time

from ecli_runtime.errors import WasmError
from ecli_runtime.wasm.errnos import EBADF, EFAULT, EINVAL, ENOSYS, ESPIPE
from ecli_runtime.wasm.memory import FaultError, NoMemory
from ecli_runtime.wasm.raw import is_numeric

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ecli_runtime.wasm.memory import GuestMemory
    from ecli_runtime.wasm.sections import Signature

_STDIN, _STDOUT, _STDERR = 0, 1, 2
_IOVECS_LIMIT = 1024
_SUBSCRIPTIONS_LIMIT = 64
_RANDOM_LIMIT_BYTES = 1 << 20
_CLOCKS = {0: time.CLOCK_REALTIME, 1: time.CLOCK_MONOTONIC, 2: time.CLOCK_PROCESS_CPUTIME_ID, 3: time.CLOCK_THREAD_CPUTIME_ID}
_CHARACTER_DEVICE = 2
_RIGHT_FD_READ, _RIGHT_FD_WRITE, _RIGHT_POLL = 1 << 1, 1 << 6, 1 << 27
# struct subscription and struct event
_SUBSCRIPTION = struct.Struct("<QB7xI4xQQH6x")
_EVENT = struct.Struct("<QHB5xQH6x")
_CLOCK, _FD_READ, _FD_WRITE = 0, 1, 2
_ABSOLUTE = 1


class ExitError(Exception):
    """The guest has ended itself.

    Attributes:
        status: 0 to 255.
    """

    def __init__(self, status: int) -> None:
        super().__init__(f"exit status {status}")
        self.status = status


class Wasi:
    """WASI for one instance.

    Args:
        arguments: The command line, with the program's name.
        write: Gets a descriptor, 1 or 2, and bytes to write to it. What it raises ends the guest.
        sleep: Sleeps for so many seconds (negative: for ever), or until one of some descriptors can be read; returns whether
            one can. What it raises ends the guest.
        stdin: Descriptor that standard input is read from; -1: it is empty.

    Attributes:
        memory: The guest's, to be set once the instance is there.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        write: Callable[[int, bytes], None],
        sleep: Callable[[float, Sequence[int]], bool],
        stdin: int = -1,
    ) -> None:
        self.memory: GuestMemory = NoMemory()
        self._arguments = [os.fsencode(each).replace(b"\0", b"") + b"\0" for each in arguments]
        self._write, self._sleep, self._stdin = write, sleep, stdin
        # Name → parameters (i: i32, I: i64) and function, each of which returns an error number.
        self._functions: dict[str, tuple[str, Callable[..., int]]] = {
            "args_get": ("ii", self._args_get),
            "args_sizes_get": ("ii", self._args_sizes_get),
            "environ_get": ("ii", lambda _environ, _buffer: 0),
            "environ_sizes_get": ("ii", self._environ_sizes_get),
            "clock_res_get": ("ii", self._clock_res_get),
            "clock_time_get": ("iIi", self._clock_time_get),
            "fd_close": ("i", lambda fd: 0 if fd in (_STDIN, _STDOUT, _STDERR) else EBADF),
            "fd_fdstat_get": ("ii", self._fd_fdstat_get),
            "fd_read": ("iiii", self._fd_read),
            "fd_seek": ("iIii", lambda fd, *_rest: ESPIPE if fd in (_STDIN, _STDOUT, _STDERR) else EBADF),
            "fd_write": ("iiii", self._fd_write),
            "poll_oneoff": ("iiii", self._poll_oneoff),
            "proc_exit": ("i", self._proc_exit),
            "random_get": ("ii", self._random_get),
            "sched_yield": ("", lambda: 0),
        }

    def function(self, name: str, signature: Signature) -> Callable[..., int | None]:
        """Return the function for an import.

        Args:
            name: Name of the import.
            signature: Its parameters and results, as the module declares it.

        Raises:
            WasmError: That is not the type that it has.
        """
        parameters = "".join({"i32": "i", "i64": "I"}.get(each, "?") for each in signature[0])
        if name not in self._functions:
            refusal = EBADF if name.startswith(("fd_", "path_", "sock_")) else ENOSYS
            if not is_numeric(signature):
                raise WasmError(f"the module imports {name} of WASI with another type than it has")
            return lambda *_arguments: refusal
        expected, function = self._functions[name]
        if parameters != expected or signature[1] != (() if name == "proc_exit" else ("i32",)):
            raise WasmError(f"the module imports {name} of WASI with another type than it has", "build it for wasi preview 1")

        def checked(*arguments: int) -> int:
            try:
                return function(*arguments)
            except FaultError:
                return EFAULT

        return checked

    def _args_get(self, pointers: int, buffer: int) -> int:
        for index, each in enumerate(self._arguments):
            self.memory.set_u32(pointers + 4 * index, buffer)
            self.memory.write(buffer, each)
            buffer += len(each)
        return 0

    def _args_sizes_get(self, count: int, size: int) -> int:
        self.memory.set_u32(count, len(self._arguments))
        self.memory.set_u32(size, sum(map(len, self._arguments)))
        return 0

    def _environ_sizes_get(self, count: int, size: int) -> int:
        self.memory.set_u32(count, 0)
        self.memory.set_u32(size, 0)
        return 0

    def _clock_res_get(self, clock: int, result: int) -> int:
        if clock not in _CLOCKS:
            return EINVAL
        self.memory.set_u64(result, max(int(time.clock_getres(_CLOCKS[clock]) * 1e9), 1))
        return 0

    def _clock_time_get(self, clock: int, _precision: int, result: int) -> int:
        if clock not in _CLOCKS:
            return EINVAL
        self.memory.set_u64(result, time.clock_gettime_ns(_CLOCKS[clock]))
        return 0

    def _fd_fdstat_get(self, fd: int, result: int) -> int:
        rights = {_STDIN: _RIGHT_FD_READ | _RIGHT_POLL, _STDOUT: _RIGHT_FD_WRITE, _STDERR: _RIGHT_FD_WRITE}
        if fd not in rights:
            return EBADF
        # A terminal, to a C library: it writes line by line, so that nothing is lost when the guest is killed.
        self.memory.write(result, struct.pack("<BxH4xQQ", _CHARACTER_DEVICE, 0, rights[fd], 0))
        return 0

    def _iovecs(self, vectors: int, count: int) -> list[tuple[int, int]]:
        if not 0 <= count <= _IOVECS_LIMIT:
            raise FaultError
        return [(self.memory.u32(vectors + 8 * index), self.memory.u32(vectors + 8 * index + 4)) for index in range(count)]

    def _fd_write(self, fd: int, vectors: int, count: int, result: int) -> int:
        if fd not in (_STDOUT, _STDERR):
            return EBADF
        self.memory.view(result, 4)  # before anything is written
        data = b"".join([self.memory.read(address, size) for address, size in self._iovecs(vectors, count)])
        self._write(fd, data)
        self.memory.set_u32(result, len(data))
        return 0

    def _fd_read(self, fd: int, vectors: int, count: int, result: int) -> int:
        if fd != _STDIN:
            return EBADF
        read = 0
        for address, size in self._iovecs(vectors, count):
            if size == 0:
                continue
            view = self.memory.view(address, size)
            if self._stdin >= 0 and self._sleep(-1, [self._stdin]):
                read = os.readv(self._stdin, [view])
            break  # a short read is one
        self.memory.set_u32(result, read)
        return 0

    def _poll_oneoff(self, subscriptions: int, events: int, count: int, result: int) -> int:
        if not 0 < count <= _SUBSCRIPTIONS_LIMIT:
            return EINVAL
        wanted = [
            _SUBSCRIPTION.unpack(self.memory.view(subscriptions + _SUBSCRIPTION.size * index, _SUBSCRIPTION.size))
            for index in range(count)
        ]
        self.memory.view(events, _EVENT.size * count)
        waits = {index: _seconds(*each[2:]) for index, each in enumerate(wanted) if each[1] == _CLOCK}
        # Writing never waits here, nor does reading what is empty.
        ready = [
            index
            for index, (_, kind, fd, *_rest) in enumerate(wanted)
            if kind != _CLOCK and not (kind == _FD_READ and fd == _STDIN and self._stdin >= 0)
        ]
        reading = [index for index, each in enumerate(wanted) if each[1] != _CLOCK and index not in ready]
        seconds = 0.0 if ready else min(waits.values(), default=-1.0)
        if self._sleep(seconds, [self._stdin] if reading else []):
            ready += reading
        if not ready:  # the shortest is over, or cut short: some guests cannot stand a sleep that fails
            ready = [index for index, each in waits.items() if each == seconds] or reading
        for position, index in enumerate(ready):
            user_data, kind, fd, *_rest = wanted[index]
            known = kind == _CLOCK or (kind in (_FD_READ, _FD_WRITE) and fd <= _STDERR)
            self.memory.write(
                events + _EVENT.size * position, _EVENT.pack(user_data, 0 if known else EBADF, kind, int(kind != _CLOCK), 0)
            )
        self.memory.set_u32(result, len(ready))
        return 0

    def _proc_exit(self, status: int) -> int:
        raise ExitError(status & 0xFF)

    def _random_get(self, buffer: int, size: int) -> int:
        view = self.memory.view(buffer, size & 0xFFFF_FFFF)
        for start in range(0, len(view), _RANDOM_LIMIT_BYTES):
            piece = view[start : start + _RANDOM_LIMIT_BYTES]
            piece[:] = os.urandom(len(piece))
        return 0


def _seconds(clock: int, timeout_ns: int, _precision: int, flags: int) -> float:
    """Return how long a subscription to a clock waits."""
    if flags & _ABSOLUTE:
        timeout_ns = max(timeout_ns - time.clock_gettime_ns(_CLOCKS.get(clock, time.CLOCK_MONOTONIC)), 0)
    return timeout_ns / 1e9
