"""Wasm modules that drive eBPF themselves, as ``ecli-py run`` runs them: their words are their own, and so is what they write."""

from __future__ import annotations

import gc
import os
import signal
import sys
from threading import Timer

from ecli_py.report import UsageError, report, warn, write_out
from ecli_runtime.errors import EcliError, WasmTrapError
from ecli_runtime.wasm.controller.session import Controller, Surroundings
from ecli_runtime.wasm.limits import CONTROLLER_LIMITS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType

    from ecli_runtime.wasm.controller.objects import Loading

_STATUS_TRAP = 70  # EX_SOFTWARE of sysexits.h


def run_module(data: bytes, words: list[str], loading: Loading, duration_s: float | None, memory_bytes: int | None) -> int:
    """Run a module and return its exit status; 70: it trapped.

    Args:
        data: The module.
        words: Its command line, with its own name.
        loading: How its objects are loaded, and their programs attached.
        duration_s: Seconds after which it is asked to end.
        memory_bytes: The most that it may have, if that is less than the default.

    Raises:
        EcliError: It is no module that can be run.
        BrokenPipeError: Nobody reads its output any more.
    """
    gc.enable()
    surroundings = Surroundings(words, _write, report, _say_attached, stdin=0)
    limits = CONTROLLER_LIMITS
    if memory_bytes is not None:
        limits = limits.replace(memory_bytes=min(memory_bytes, limits.memory_bytes))
    with Controller(data, surroundings, loading, limits) as module:
        _Signals(module)
        timer = None if duration_s is None else Timer(duration_s, module.stop)
        if timer is not None:
            timer.daemon = True
            timer.start()
        try:
            status = module.run()
        except WasmTrapError as error:
            report(error)
            status = _STATUS_TRAP
        finally:
            if timer is not None:
                timer.cancel()
                timer.join()
        for name, count in module.lost():
            warn(f"map {name}: {count} samples were lost: its buffer was full")
        if module.was_killed:
            sys.stderr.write("the module did not end by itself and was stopped\n")
    return status


def reject_options(given: list[str]) -> None:
    """Refuse options that say something about events, which a module shows as it likes.

    Raises:
        UsageError: There are some.
    """
    if given:
        raise UsageError(
            f"{given[0]} is for packages: a Wasm module decides itself what it shows", "options behind the module are its own"
        )


def _write(fd: int, data: bytes) -> None:
    if fd == 1:
        write_out(data)
        return
    while data:
        try:
            data = data[os.write(fd, data) :]
        except OSError as error:
            raise EcliError(f"cannot write to standard error: {error.strerror}") from error


def _say_attached() -> None:
    sys.stderr.write("attached; Ctrl-C ends\n" if sys.stderr.isatty() else "attached\n")
    sys.stderr.flush()


class _Signals:
    """The first signal asks a module to end, the second kills it, the third ends the process."""

    def __init__(self, module: Controller) -> None:
        self._module, self._count = module, 0
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # as nohup leaves it
                signal.signal(number, self._handle)

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        self._count += 1
        if self._count == 1:
            self._module.stop()
        else:
            self._module.kill()
            signal.signal(number, signal.SIG_DFL)
