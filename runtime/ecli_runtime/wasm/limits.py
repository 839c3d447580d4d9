"""What a Wasm module may use: memory, stack, time and fuel; and engines, modules and stores that hold it to that.

wasmtime is imported when the first engine is made.
"""

from __future__ import annotations

import threading

from ecli_runtime.errors import UnsupportedFeatureError, WasmError
from ecli_schemas.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any

    from typing_extensions import Self

MAGIC = b"\0asm"
_CORE_MODULE, _COMPONENT = b"\1\0\0\0", b"\r\0\1\0"
_MEMORY_SECTION = 5
_FOREVER = 1 << 62  # ticks

# Besides its own there are the adapter modules that call it, whose memories are of a fixed size.
_INSTANCES, _MEMORIES, _TABLES = 16, 16, 16
_TABLE_ELEMENTS = 1 << 20


class Limits(Record):
    """What a module may use.

    Attributes:
        memory_bytes: Its memory; ``memory.grow`` fails beyond that, and a module that begins with more is refused.
        stack_bytes: Stack of its functions; more traps.
        batch_ms: Time of one call into it, in milliseconds, rounded up to the ticks of an :class:`EpochTicker`; ``None``: any,
            until somebody calls :func:`interrupt`.
        fuel: Instructions, roughly, until it traps; ``None``: any number. Set anew by :func:`refuel`.
        module_bytes: Size of the module's file.
    """

    memory_bytes: int = 64 << 20
    stack_bytes: int = 512 << 10
    batch_ms: int | None = None
    fuel: int | None = None
    module_bytes: int = 32 << 20


CONTROLLER_LIMITS = Limits()
# A default build of zig asks for 16 MiB of stack within its memory.
HANDLER_LIMITS = Limits(memory_bytes=32 << 20, stack_bytes=256 << 10, batch_ms=1000)

TICK_MS = 100


def make_engine(limits: Limits, threads: bool = True) -> Any:
    """Return a ``wasmtime.Engine`` for one module: epochs, by which it is interrupted, are those of its engine.

    Args:
        limits: What the module may use.
        threads: Large modules are compiled by several threads, which stay, with the capabilities of this one.

    Raises:
        UnsupportedFeatureError: There is no wasmtime.
    """
    try:
        import wasmtime
    except ImportError as error:
        raise UnsupportedFeatureError("running Wasm", "the package wasmtime: pip install 'ecli-py[fast]'") from error
    config = wasmtime.Config()
    config.epoch_interruption = True
    config.consume_fuel = limits.fuel is not None
    config.max_wasm_stack = limits.stack_bytes
    config.wasm_multi_memory = True  # of the adapters
    config.wasm_threads = False  # memory that is shared could change while the host looks at it
    config.wasm_memory64 = False
    config.parallel_compilation = threads
    config.memory_may_move = False  # a view of a memory stays valid when it grows
    return wasmtime.Engine(config)


def is_wasm(data: bytes) -> bool:
    """Tell whether a file is Wasm by how it begins."""
    return data[:4] == MAGIC


def compile_module(engine: Any, data: bytes, limits: Limits) -> Any:
    """Return the ``wasmtime.Module`` of a file.

    Raises:
        WasmError: It is none, is too large, or has more than one memory.
    """
    from wasmtime import Module, WasmtimeError

    if not is_wasm(data):
        raise WasmError("this is no Wasm module", "a module begins with the bytes 00 61 73 6d")
    if data[4:8] == _COMPONENT:
        raise WasmError(
            "this is a Wasm component, and a core module is needed", "build for wasm32-wasi (preview 1) without componentizing it"
        )
    if data[4:8] != _CORE_MODULE:
        raise WasmError(f"this Wasm has version {int.from_bytes(data[4:8], 'little')}, and 1 is known")
    if len(data) > limits.module_bytes:
        raise WasmError(f"the module has {len(data)} bytes; at most {limits.module_bytes} are taken")
    try:
        module = Module(engine, data)
    except WasmtimeError as error:
        raise WasmError(f"the module is not valid: {one_line(error)}", "build it again for wasm32-wasi") from error
    if _memories(data) > 1:  # none may be imported
        raise WasmError("the module has several memories, and one can be limited", "build it with one memory")
    return module


def _memories(data: bytes) -> int:
    """Return how many memories a module defines, which was found valid."""
    at = 8
    while at < len(data):
        section = data[at]
        size, at = _leb128(data, at + 1)
        if section == _MEMORY_SECTION:
            return _leb128(data, at)[0]
        at += size
    return 0


def _leb128(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def make_store(engine: Any, limits: Limits) -> Any:
    """Return a ``wasmtime.Store`` whose instances are held to the limits. Before each call comes :func:`rearm`."""
    from wasmtime import Store

    store = Store(engine)
    limit(store, limits)
    rearm(store, limits)
    refuel(store, limits)
    return store


def limit(store: Any, limits: Limits) -> None:
    """Hold what is instantiated in a store from now on, and memories that grow, to the limits."""
    store.set_limits(
        memory_size=limits.memory_bytes,
        table_elements=_TABLE_ELEMENTS,
        instances=_INSTANCES,
        tables=_TABLES,
        memories=_MEMORIES,
    )


def rearm(store: Any, limits: Limits) -> None:
    """Give the calls that follow the time of one batch from now on.

    With no such time one tick ends them, which only :func:`interrupt` makes where no ticker runs.
    """
    store.set_epoch_deadline(1 if limits.batch_ms is None else -(-limits.batch_ms // TICK_MS) + 1)


def disarm(store: Any) -> None:
    """Let no tick interrupt what follows."""
    store.set_epoch_deadline(_FOREVER)


def refuel(store: Any, limits: Limits) -> None:
    """Fill up the fuel."""
    if limits.fuel is not None:
        store.set_fuel(limits.fuel)


def interrupt(engine: Any) -> None:
    """Make what runs in an engine trap soon, where no ticker runs. For any thread."""
    engine.increment_epoch()


class EpochTicker:
    """Ticks for the modules of an engine, so that what takes longer than its time traps. A context manager.

    Args:
        engine: ``wasmtime.Engine``; nobody else ticks for it.
        period_ms: Milliseconds from one tick to the next.
    """

    def __init__(self, engine: Any, period_ms: int = TICK_MS) -> None:
        self._engine, self._period_s = engine, period_ms / 1000
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._tick, name="epochs", daemon=True)
        self._thread.start()

    def _tick(self) -> None:
        while not self._stop.wait(self._period_s):
            self._engine.increment_epoch()

    def close(self) -> None:
        """End it; a second call does nothing."""
        self._stop.set()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def one_line(error: BaseException) -> str:
    """Return what wasmtime says of an error on one line: the last of its causes, which says what happened."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if "Caused by:" not in lines:
        return (lines or [type(error).__name__])[0][:400]
    number, colon, text = lines[-1].partition(": ")
    return (text if colon and number.isdigit() else lines[-1])[:400]
