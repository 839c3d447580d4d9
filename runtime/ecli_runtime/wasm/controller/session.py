"""One run of a controller: it is instantiated, runs on a thread of its own, and nothing of it is left when it has ended."""

from __future__ import annotations

import os
import threading

from ecli_runtime.errors import EcliError, WasmError
from ecli_runtime.wasm.controller.host import Host
from ecli_runtime.wasm.controller.objects import Loading, Objects
from ecli_runtime.wasm.kinds import CALLBACK_WRAPPER, WASI, Kind, kind_of
from ecli_runtime.wasm.limits import CONTROLLER_LIMITS, compile_module, make_engine, make_store, one_line
from ecli_runtime.wasm.memory import GuestMemory
from ecli_runtime.wasm.raw import Pending, RaisedInImportError, export, import_
from ecli_runtime.wasm.sections import FUNCTION, read_interface
from ecli_runtime.wasm.stopping import KilledError, Stop
from ecli_runtime.wasm.traps import explain_trap, is_interrupt
from ecli_runtime.wasm.wasi import ExitError, Wasi

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType
    from typing import Any

    from typing_extensions import Self

    from ecli_runtime.wasm.controller.legacy import LegacyHost
    from ecli_runtime.wasm.limits import Limits

GRACE_S = 1.0
# Names that prebuilt modules of TinyGo are given.
CALLBACK = "go-callback"
# Of the thread: that of Wasm is a part of it, and what a C library gives by itself may be less.
_STACK_BYTES = 8 << 20


class Surroundings:
    """What a module is given of the world.

    Args:
        arguments: The command line, with the program's name.
        write: Gets a descriptor, 1 or 2, and bytes to write to it. What it raises ends the module.
        report: Gets errors that calls of the module end with.
        on_wait: Called, once, when the module first waits with a program attached.
        stdin: Descriptor of standard input; -1: it is empty.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        write: Callable[[int, bytes], None],
        report: Callable[[EcliError], None],
        on_wait: Callable[[], None] = lambda: None,
        stdin: int = -1,
    ) -> None:
        self.arguments, self.write, self.report, self.on_wait, self.stdin = arguments, write, report, on_wait, stdin


class Controller:
    """A controller at work. A context manager; closing it detaches and unloads all that it has loaded.

    Args:
        data: The module.
        surroundings: What it is given.
        loading: How its objects are loaded, and their programs attached.
        limits: What it may use.
        raw: Whether to use wasmtime's raw calls; ``None``: if they work.
        objects: What loads its objects, owned by this object from now on; ``None``: what loads them into the kernel.

    Attributes:
        was_killed: It did not end by itself when it was asked to.

    Raises:
        WasmError: It is no such module.
        UnsupportedFeatureError: There is no wasmtime.
    """

    def __init__(
        self,
        data: bytes,
        surroundings: Surroundings,
        loading: Loading | None = None,
        limits: Limits = CONTROLLER_LIMITS,
        raw: bool | None = None,
        objects: Objects | None = None,
    ) -> None:
        self._engine = make_engine(limits)
        self._module = compile_module(self._engine, data, limits)
        self._interface = read_interface(data)  # only when it was found valid
        self._kind = kind_of(self._interface)
        if self._kind is Kind.HANDLER:
            raise WasmError(
                "the module handles events of a package and loads nothing itself", "`ecli-py run --handler FILE.wasm PACKAGE`"
            )
        start = self._interface.exports.get("_start")
        if start is not None and (start.kind, start.signature) != (FUNCTION, ((), ())):
            raise WasmError('the module\'s export "_start" is no function without parameters and results')
        self._limits, self._raw = limits, raw
        self._surroundings = surroundings
        self._stop = Stop(self._engine)
        self._waited = self.was_killed = False
        name = os.path.basename(surroundings.arguments[0]).partition(".")[0] if surroundings.arguments else ""
        self._objects = objects or Objects(name, loading or Loading())
        self._legacy: LegacyHost | None = None
        if self._kind is Kind.LEGACY:
            from ecli_runtime.wasm.controller.legacy import LegacyHost

            self._legacy = LegacyHost(
                self._stop, surroundings.report, self._on_wait, surroundings.write, loading or Loading(), self._interface, raw
            )

    def run(self, grace_s: float = GRACE_S) -> int:
        """Run it until it ends, on a thread of its own, and return its exit status, 0 to 255; once.

        Args:
            grace_s: Seconds that it has to end by itself when it is asked to.

        Raises:
            WasmTrapError: It trapped.
            WasmError: It cannot be instantiated.
            Exception: What writing its output raised.
        """
        return run_in_thread(self._run, self._stop, grace_s)

    def stop(self) -> None:
        """Ask it to end, and kill it if it does not within its grace. For any thread, and for signal handlers."""
        self._stop.ask()

    def kill(self) -> None:
        """End it at once. For any thread, and for signal handlers."""
        self._stop.kill()

    def lost(self) -> list[tuple[str, int]]:
        """Return the maps that have lost samples, as far as the kernel counts them, with how many."""
        return list(self._objects.lost() if self._legacy is None else self._legacy.lost())

    def _run(self) -> int:
        try:
            return self._start()
        except ExitError as exit_:
            return exit_.status
        except KilledError:
            self.was_killed = True
        return 0

    def _start(self) -> int:
        from wasmtime import Instance

        store, pending = make_store(self._engine, self._limits), Pending()
        wasi = Wasi(self._surroundings.arguments, self._surroundings.write, self._sleep, self._surroundings.stdin)
        host = self._legacy or Host(
            self._objects, self._stop, self._surroundings.report, self._on_wait, CALLBACK_WRAPPER, CALLBACK, self._raw
        )
        imports = []
        for (module, name, item), each in zip(self._interface.imports, self._module.imports, strict=True):
            function = wasi.function(name, item.signature) if module == WASI else host.function(module, name, item.signature)
            imports.append(import_(store, each.type, function, pending, self._raw))
        self._stop.check()
        with Guarded(self._stop, pending):
            exports: Any = Instance(store, self._module, imports).exports(store)
            wasi.memory = memory = GuestMemory(store, exports["memory"])
            host.connect(store, exports, memory, pending)
            if self._legacy is not None:
                return self._legacy.start(self._surroundings.arguments) & 0xFF
            export(store, exports["_start"], pending, self._raw)()
        return 0

    def _on_wait(self) -> None:
        if not self._waited and (self._objects.attached or (self._legacy is not None and self._legacy.attached)):
            self._waited = True
            self._surroundings.on_wait()

    def _sleep(self, seconds: float, fds: Sequence[int]) -> bool:
        self._on_wait()
        return self._stop.sleep(seconds, fds)

    def close(self) -> None:
        """Detach and unload all that it has loaded; a second call does nothing. Only when it has ended."""
        try:
            if self._legacy is not None:
                self._legacy.close()
        finally:
            self._objects.close()
            self._stop.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


class Guarded:
    """A context in which Wasm runs: what it raises becomes what it means.

    Args:
        stop: What ends the module.
        pending: Errors of the host's functions.
    """

    def __init__(self, stop: Stop, pending: Pending) -> None:
        self._stop, self._pending = stop, pending

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        from wasmtime import Trap, WasmtimeError

        # Of a callback that trapped it is the error of the function of the host that called it.
        raised = self._pending.take() or error
        if isinstance(raised, Trap):
            if self._stop.killed and is_interrupt(raised):
                raise KilledError from None
            raise explain_trap(raised) from raised
        if isinstance(raised, RaisedInImportError):
            raise WasmError("the module trapped") from None
        if isinstance(raised, WasmtimeError):
            raise WasmError(f"the module cannot be run: {one_line(raised)}") from raised
        if raised is not None and raised is not error:
            raise raised from None


def run_in_thread(body: Callable[[], int], stop: Stop, grace_s: float) -> int:
    """Run something on a thread of its own, and return what it returns: Wasm lets no signal handler of Python run.

    Args:
        body: What to run; what it raises is raised here.
        stop: What ends it: when it was asked to end and does not, it is killed.
        grace_s: Seconds until then.
    """
    results: list[int] = []
    errors: list[BaseException] = []
    # Not threading.Event: waiting for one goes on when a signal handler has asked for the end.
    done_fd = os.eventfd(0, os.EFD_CLOEXEC)

    def work() -> None:
        try:
            results.append(body())
        except BaseException as error:  # noqa: BLE001  raised again by the thread that waits
            errors.append(error)
        finally:
            os.eventfd_write(done_fd, 1)

    thread = threading.Thread(target=work, name="module", daemon=True)
    before = threading.stack_size(_STACK_BYTES)
    thread.start()
    threading.stack_size(before)
    try:
        if not stop.wait_for_end(done_fd, grace_s):
            stop.kill()
    finally:
        stop.wait_for_end(done_fd, None)
        os.close(done_fd)
    thread.join()
    if errors:
        raise errors[0]
    return results[0]
