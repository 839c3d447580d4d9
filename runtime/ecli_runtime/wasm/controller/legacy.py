"""Upstream's older modules: a package inside of a module, which the host loads, runs and polls by three functions of ``env``.

The guest is given its arguments as JSON, and each event in ``process_event``, if it exports that, as a JSON text too; what is not
dropped by a negative result is written to standard output, one event a line.
"""

from __future__ import annotations

import os

from ecli_runtime.errors import EcliError, WasmError
from ecli_runtime.opening import OpenSession
from ecli_runtime.wasm.errnos import EFAULT, EINVAL
from ecli_runtime.wasm.memory import FaultError, NoMemory
from ecli_runtime.wasm.raw import export
from ecli_runtime.wasm.sections import FUNCTION
from ecli_schemas.read import read_package

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from ecli_runtime.session import Session
    from ecli_runtime.wasm.controller.objects import Loading
    from ecli_runtime.wasm.memory import GuestMemory
    from ecli_runtime.wasm.raw import Pending
    from ecli_runtime.wasm.sections import Interface, Signature
    from ecli_runtime.wasm.stopping import Stop

_PACKAGE_LIMIT_BYTES = 32 << 20
_ARGUMENTS_LIMIT_BYTES = 1 << 20  # as much as upstream gave them
_EVENT_LIMIT_BYTES = 1 << 16
_PACKAGES_LIMIT = 16
_PAGE = 1 << 16
_LOOK_MS = 100


class LegacyHost:
    """The functions for one instance, which is connected once it is there.

    Args:
        stop: What ends the module.
        report: Gets errors that the guest's calls end with.
        on_wait: Called before the guest waits.
        write: Gets a descriptor and bytes to write to it.
        loading: How packages are loaded, and their programs attached.
        interface: What the module imports and exports.
        raw: Whether to use the raw calls; ``None``: if they work.
    """

    def __init__(
        self,
        stop: Stop,
        report: Callable[[EcliError], None],
        on_wait: Callable[[], None],
        write: Callable[[int, bytes], None],
        loading: Loading,
        interface: Interface,
        raw: bool | None = None,
    ) -> None:
        self._interface = interface
        self._stop, self._report, self._on_wait, self._write = stop, report, on_wait, write
        self._loading, self._raw = loading, raw
        self._memory: GuestMemory = NoMemory()
        self._exports: Any = {}
        self._opened: list[OpenSession] = []
        self._sessions: dict[int, Session] = {}  # by number of the package, from 1 on
        self._functions: dict[str, tuple[int, Callable[..., int]]] = {
            "create_bpf": (2, self._create),
            "run_bpf": (1, self._run),
            "wait_and_poll_bpf": (1, self._wait_and_poll),
        }

    def connect(self, store: Any, exports: Any, memory: GuestMemory, pending: Pending) -> None:
        """Say which instance it is for, and what it exports."""
        self._store, self._exports, self._memory, self._pending = store, exports, memory, pending

    def function(self, module: str, name: str, signature: Signature) -> Callable[..., int | None]:
        """Return the function for an import.

        Raises:
            WasmError: It is imported with another type than it has.
        """
        count, function = self._functions[name]
        if signature != (("i32",) * count, ("i32",)):
            raise WasmError(f"the module imports {module}.{name} with another type than it has")

        def checked(*arguments: int) -> int:
            self._stop.check()
            try:
                return function(*arguments)
            except FaultError:
                return -EFAULT
            except EcliError as error:
                self._report(error)
                return -EINVAL

        return checked

    def start(self, arguments: Sequence[str]) -> int:
        """Call the guest's main function, and return what it returns.

        Raises:
            WasmError: It has none, or no room for the arguments.
        """
        import json

        text = json.dumps(list(arguments)).encode()
        if len(text) > _ARGUMENTS_LIMIT_BYTES:
            raise WasmError("the module's arguments are too long")
        main = self._callable("bpf_main", 2)
        if main is None:
            raise WasmError('the module\'s export "bpf_main" is no function (i32, i32) -> i32')
        address = self._allocate(len(text) + 1)
        self._memory.write(address, text + b"\0")
        return main(address, len(text)) or 0

    def _callable(self, name: str, count: int) -> Callable[..., int | None] | None:
        found = self._interface.exports.get(name)
        if found is None or (found.kind, found.signature) != (FUNCTION, (("i32",) * count, ("i32",))):
            return None
        return export(self._store, self._exports[name], self._pending, self._raw)

    def _allocate(self, size: int) -> int:
        """Return the address of memory that nobody else uses: what the guest's malloc gives, or pages of their own."""
        from wasmtime import WasmtimeError

        malloc = self._callable("malloc", 1)
        if malloc is not None:
            address = malloc(size) or 0
            self._memory.view(address, size)
            return address
        memory = self._exports["memory"]
        try:
            return int(memory.grow(self._store, -(-size // _PAGE))) * _PAGE
        except WasmtimeError as error:
            raise WasmError("the module's memory has no room for its arguments and events") from error

    def _create(self, address: int, size: int) -> int:
        if not 0 < size <= _PACKAGE_LIMIT_BYTES or len(self._opened) >= _PACKAGES_LIMIT:
            raise WasmError(f"the module's package has {size} bytes; {_PACKAGES_LIMIT} of 1 to {_PACKAGE_LIMIT_BYTES} are taken")
        package = read_package(self._memory.read(address, size).rstrip(b"\0"))
        if self._loading.admit is not None:
            self._loading.admit(package.object_for(os.uname().machine), package.object_name)
        self._opened.append(OpenSession(package, self._loading.kernel_btf, self._loading.token))
        return len(self._opened)

    def _run(self, number: int) -> int:
        if not 0 < number <= len(self._opened) or number in self._sessions:
            return -EINVAL
        self._sessions[number] = self._opened[number - 1].load(self._loading.attach).start()
        return 0

    def _wait_and_poll(self, number: int) -> int:
        """Deliver events until the module is asked to end."""
        import json

        from ecli_runtime.decode.events import EventDecoder

        session = self._sessions.get(number)
        if session is None:
            return -EINVAL
        process = self._callable("process_event", 3)
        room = self._allocate(_EVENT_LIMIT_BYTES) if process is not None else 0
        decoder = EventDecoder()
        self._on_wait()
        while not (self._stop.asked or session.stopping):
            for chunk in session.read(_LOOK_MS):
                for event in decoder.events(chunk):
                    text = json.dumps(event).encode()
                    if process is not None and len(text) < _EVENT_LIMIT_BYTES:
                        self._memory.write(room, text + b"\0")
                        if (process(0, room, len(text)) or 0) < 0:
                            continue
                    self._write(1, text + b"\n")
            self._stop.check()
        return 0

    @property
    def attached(self) -> bool:
        """Whether programs are attached."""
        return bool(self._sessions)

    def lost(self) -> list[tuple[str, int]]:
        """Return the maps that have lost samples, with how many."""
        stats = [each for session in self._sessions.values() for each in session.stats().maps]
        return [(each.name, each.lost) for each in stats if each.lost]

    def close(self) -> None:
        """Detach and unload all; a second call does nothing."""
        for session in self._sessions.values():
            session.close()
        while self._opened:
            self._opened.pop().close()
