"""The functions that wasm-bpf's guests import: load, attach, poll and so on.

What is wrong is told twice: the guest gets a negative number, wasi-libc's own, and the user the error with its hint at once,
since guests say little more than that it failed.
"""

from __future__ import annotations

from ecli_runtime.errors import AttachError, EcliError, LibbpfError, WasmError
from ecli_runtime.libbpf.object import MAP_TYPE_PERF_EVENT_ARRAY, MAP_TYPE_RINGBUF
from ecli_runtime.wasm.controller.adapter import Adapter
from ecli_runtime.wasm.controller.maps import operate
from ecli_runtime.wasm.controller.objects import OBJECT_SIZE_LIMIT_BYTES
from ecli_runtime.wasm.errnos import EBADF, EBUSY, EFAULT, EINTR, EINVAL, EIO, ENOENT, guest_errno
from ecli_runtime.wasm.kinds import WASM_BPF
from ecli_runtime.wasm.memory import FaultError, NoMemory
from ecli_runtime.wasm.raw import is_numeric

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from ecli_runtime.wasm.controller.objects import BpfObject, Objects
    from ecli_runtime.wasm.memory import GuestMemory
    from ecli_runtime.wasm.raw import Pending
    from ecli_runtime.wasm.sections import Signature
    from ecli_runtime.wasm.stopping import Stop

_HANDLE = 0xFFFF_FFFF_FFFF_FFFF


class Host:
    """The functions for one instance, which is connected once it is there.

    Args:
        objects: What the guest loads, owned by the caller.
        stop: What ends the module.
        report: Gets errors that the guest's calls end with.
        on_wait: Called before the guest waits.
        wrapper: Name of the module that guests of TinyGo import their form of polling from.
        callback: Name of what they export to be called back.
        raw: Whether to use the raw calls; ``None``: if they work.
    """

    def __init__(
        self,
        objects: Objects,
        stop: Stop,
        report: Callable[[EcliError], None],
        on_wait: Callable[[], None],
        wrapper: str,
        callback: str,
        raw: bool | None = None,
    ) -> None:
        self._objects, self._stop, self._report, self._on_wait = objects, stop, report, on_wait
        self._wrapper, self._callback, self._raw = wrapper, callback, raw
        self._polling = False
        self._exports: Any = {}
        self._memory: GuestMemory = NoMemory()
        self._adapters: dict[bool, Adapter] = {}  # whether it is for TinyGo's form → the adapter
        # Module and name → number of parameters and function, each of which returns a number.
        self._functions: dict[tuple[str, str], tuple[int, Callable[..., int]]] = {
            (WASM_BPF, "wasm_load_bpf_object"): (2, self._load),
            (WASM_BPF, "wasm_close_bpf_object"): (1, self._close),
            (WASM_BPF, "wasm_attach_bpf_program"): (3, self._attach),
            (WASM_BPF, "wasm_attach_bpf_program_fd"): (3, self._attach_fd),
            (WASM_BPF, "wasm_bpf_map_fd_by_name"): (2, self._map_fd),
            (WASM_BPF, "wasm_bpf_map_operate"): (6, self._map_operate),
            (WASM_BPF, "wasm_bpf_buffer_poll"): (7, self._poll),
            (wrapper, "wasm_bpf_buffer_poll"): (6, self._poll_wrapped),
        }

    def connect(self, store: Any, exports: Any, memory: GuestMemory, pending: Pending) -> None:
        """Say which instance it is for, and what it exports."""
        self._store, self._exports, self._memory, self._pending = store, exports, memory, pending

    def function(self, module: str, name: str, signature: Signature) -> Callable[..., int | None]:
        """Return the function for an import. Guests differ in the width of their pointers, so any whole numbers will do.

        Raises:
            WasmError: It is imported with another type than it has.
        """
        count, function = self._functions[module, name]
        if not is_numeric(signature) or len(signature[0]) != count or len(signature[1]) != 1:
            raise WasmError(
                f"the module imports {module}.{name} as {_describe(signature)}",
                f"it has {count} parameters and one result, all of them i32 or i64",
            )

        def checked(*arguments: int) -> int:
            try:
                return function(*arguments)
            except FaultError:
                return 0 if name == "wasm_load_bpf_object" else -EFAULT

        return checked

    def _object(self, handle: int) -> BpfObject | None:
        return self._objects.get(handle & _HANDLE)

    def _load(self, address: int, size: int) -> int:
        self._stop.check()
        try:
            if not 0 < size <= OBJECT_SIZE_LIMIT_BYTES:
                raise WasmError(f"the module's object has {size} bytes; 1 to {OBJECT_SIZE_LIMIT_BYTES} are taken")
            return self._objects.load(self._memory.read(address, size))
        except EcliError as error:
            self._report(error)
            return 0

    def _close(self, handle: int) -> int:
        if self._object(handle) is None:
            return -EINVAL
        if self._polling:  # it may be the one that this callback was called for
            return -EBUSY
        try:
            self._objects.close_one(handle & _HANDLE)
        except LibbpfError as error:
            self._report(error)
            return -guest_errno(error.errno)
        return 0

    def _attach(self, handle: int, name: int, target: int) -> int:
        if self._object(handle) is None:
            return -EINVAL
        self._stop.check()
        try:
            place = self._memory.text(target) if target else ""
            self._objects.attach(handle & _HANDLE, self._memory.text(name), place or None)
        except AttachError as error:
            self._report(error)
            return -guest_errno(error.errno)
        except EcliError as error:
            self._report(error)
            return -EINVAL
        return 0

    def _attach_fd(self, handle: int, name: int, target_fd: int) -> int:
        if target_fd < 0:
            return self._attach(handle, name, 0)
        # A descriptor would be that of a directory that the guest was given, and it is given none.
        return -EINVAL if self._object(handle) is None else -EBADF

    def _map_fd(self, handle: int, name: int) -> int:
        found = self._object(handle)
        if found is None:
            return -EINVAL
        fd = found.find_map(self._memory.text(name))
        return -ENOENT if fd is None else fd

    def _map_operate(self, fd: int, command: int, key: int, value: int, next_key: int, flags: int) -> int:
        loaded_map = self._objects.map(fd)
        if loaded_map is None:
            return -EBADF
        return operate(loaded_map, command, key, value, next_key, flags, self._memory, self._objects)

    def _poll(self, handle: int, fd: int, function: int, context: int, data: int, max_size: int, timeout_ms: int) -> int:
        return self._poll_with(False, handle, fd, function, context, data, max_size, timeout_ms)

    def _poll_wrapped(self, handle: int, fd: int, context: int, data: int, max_size: int, timeout_ms: int) -> int:
        return self._poll_with(True, handle, fd, 0, context, data, max_size, timeout_ms)

    def _poll_with(
        self, wrapped: bool, handle: int, fd: int, function: int, context: int, data: int, max_size: int, timeout_ms: int
    ) -> int:
        found = self._object(handle)
        if found is None:
            return -EINVAL
        if fd not in found.maps:
            return -ENOENT
        self._memory.view(data, max_size)
        self._stop.check()
        if self._stop.asked:
            return -EINTR
        if self._polling:  # what is polled now is in the one adapter
            return -EBUSY
        if found.maps[fd].type not in (MAP_TYPE_RINGBUF, MAP_TYPE_PERF_EVENT_ARRAY):
            return -EINVAL
        try:
            poller = found.poller(fd, self._stop)
            adapter = self._adapter(wrapped)  # for which the table is one of functions
            if not wrapped and not self._is_callback(function):
                return -EINVAL
        except LibbpfError as error:
            self._report(error)
            return -guest_errno(error.errno)
        except OSError as error:
            return -guest_errno(error.errno or EIO)
        except EcliError as error:
            self._report(error)
            return -EINVAL
        self._on_wait()
        self._polling = True
        try:
            result = poller.poll(adapter, function, context, data, max_size, timeout_ms)
        finally:
            self._polling = False
        return result

    def _table(self) -> Any:
        return self._exports.get("__indirect_function_table")

    def _is_callback(self, index: int) -> bool:
        """Tell whether the guest's table has a function there. Its type is for the call to check: asking may end the process."""
        from wasmtime import Func

        # A null slot is no None there.
        return isinstance(self._table().get(self._store, index & 0xFFFF_FFFF), Func)

    def _adapter(self, wrapped: bool) -> Adapter:
        if wrapped not in self._adapters:
            callbacks = self._exports.get(self._callback) if wrapped else self._table()
            if callbacks is None:
                name = self._callback if wrapped else "__indirect_function_table"
                raise WasmError(f"the module is called back by its export {name!r}, and has none")
            guest = self._exports["memory"]
            self._adapters[wrapped] = Adapter(self._store, guest, self._memory, callbacks, self._pending, self._raw)
        return self._adapters[wrapped]


def _describe(signature: Signature) -> str:
    return f"({', '.join(signature[0])}) -> ({', '.join(signature[1])})"
