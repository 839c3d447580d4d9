"""A handler's module: compiled, its functions checked, and what it asks for told from what it imports."""

from __future__ import annotations

from ecli_runtime.errors import WasmError
from ecli_runtime.wasm.handler import adapter
from ecli_runtime.wasm.handler.imports import WASI_FUNCTIONS
from ecli_runtime.wasm.kinds import MAP_READS, MAP_WRITES, WASI, Kind, kind_of
from ecli_runtime.wasm.limits import HANDLER_LIMITS, Limits, compile_module, make_engine
from ecli_runtime.wasm.sections import FUNCTION, MEMORY, Interface, Item, read_interface
from ecli_schemas.model import WasmLimits
from ecli_schemas.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from ecli_runtime.wasm.sections import Signature

ABI_VERSION = 1
DEFAULT_EMITTED_SIZE_BYTES = 4 << 20

_I32, _I64 = ("i32",), ("i64",)
# Parameters and results of what a handler exports.
_EXPORTS = {
    "ecli_abi": ((), _I32),
    "ecli_buffer": (_I32, _I32),
    "ecli_event": (_I32 * 3, _I32),
    "ecli_init": (_I32 * 2, _I32),
    "ecli_tick": (_I64, _I32),
    "ecli_finish": ((), _I32),
    "_initialize": ((), ()),
}
# And of what it imports.
_IMPORTS = {
    ("ecli", "emit"): (_I32 * 3, _I32),
    ("ecli", "log"): (_I32 * 3, ()),
    ("ecli", "now"): (_I32, _I64),
    ("ecli", "option"): (_I32 * 4, _I32),
    ("ecli", "type"): (_I32 * 2, _I32),
}
_MAP_IMPORTS = {
    "ecli.lookup": (_I32 * 4, _I32),
    "ecli.next": (_I32 * 4, _I32),
    "ecli.update": ((*_I32 * 4, "i64"), _I32),
    "ecli.delete": (_I32 * 2, _I32),
}
_HINT = "ecli_handler.h declares what a handler exports and may import; docs/handlers.md describes it"


class Asks(Record):
    """What a module asks for.

    Attributes:
        reads: Names of the maps that it looks into.
        writes: Names of the maps that it changes.
        wasi: Names of the functions of WASI that it imports.
        initial_memory_bytes: Its memory at the start.
    """

    reads: tuple[str, ...]
    writes: tuple[str, ...]
    wasi: tuple[str, ...]
    initial_memory_bytes: int


class HandlerModule:
    """A module that is compiled, and has what a handler must have.

    Args:
        name: For people.
        code: The module.
        limits: What it may use.

    Attributes:
        asks: What it asks for.
        exports: Names of the functions of the ABI that it has.

    Raises:
        WasmError: It is no handler, or not valid.
        UnsupportedFeatureError: There is no wasmtime.
    """

    def __init__(self, name: str, code: bytes, limits: WasmLimits | None = None) -> None:
        from wasmtime import Module

        said = limits or WasmLimits()
        self.name = name
        self.emitted_bytes = DEFAULT_EMITTED_SIZE_BYTES if said.emitted_bytes is None else said.emitted_bytes
        chosen = {
            part: getattr(said, part) for part in ("memory_bytes", "stack_bytes", "batch_ms", "fuel") if getattr(said, part)
        }
        self.limits: Limits = HANDLER_LIMITS.replace(**chosen)
        self.engine = make_engine(self.limits, threads=False)
        try:
            self.compiled = compile_module(self.engine, code, self.limits)
            interface = read_interface(code)
            kind = kind_of(interface)
            if kind is not Kind.HANDLER:
                raise WasmError(f"this is a {kind.value}, not an event handler", _HINT)  # noqa: TRY301  named like the others
            exports = interface.exports
            _check_exports(exports)
            self.asks = _check_imports(interface)
        except WasmError as error:
            raise WasmError(f"handler {name}: {error}", error.hint) from error
        if self.asks.initial_memory_bytes > self.limits.memory_bytes:
            raise WasmError(
                f"handler {name}: it begins with {self.asks.initial_memory_bytes >> 10} KiB of memory, and may have "
                f"{self.limits.memory_bytes >> 10}",
                f"give it more with --handler-limit memory={(self.asks.initial_memory_bytes >> 20) + 1}M, or build it with a "
                "smaller stack: -Wl,-z,stack-size=65536",
            )
        self.exports = frozenset(exports) & frozenset(_EXPORTS)
        self.relay = Module(self.engine, adapter.relay(self.emitted_bytes))
        self.walker = Module(self.engine, adapter.WALKER)


def _text(signature: Signature) -> str:
    return f"({', '.join(signature[0])}) -> ({', '.join(signature[1])})"


def _check_exports(exports: Mapping[str, Item]) -> None:
    for name, wanted in _EXPORTS.items():
        found = exports.get(name)
        if found is not None and (found.kind, found.signature) != (FUNCTION, wanted):
            what = _text(found.signature) if found.kind == FUNCTION else "no function"
            raise WasmError(f"{name} is {what}; it must be {_text(wanted)}", _HINT)
    if exports["memory"].kind != MEMORY:
        raise WasmError("what it exports as memory is none", _HINT)


def _check_imports(interface: Interface) -> Asks:
    reads: dict[str, None] = {}
    writes: dict[str, None] = {}
    wasi: dict[str, None] = {}
    for module, name, item in interface.imports:
        found = item.signature
        if module == WASI:
            given = WASI_FUNCTIONS.get(name)
            fits = _is_numeric(found) if given is None else found == (given, () if name == "proc_exit" else _I32)
            if not fits:
                raise WasmError(f"it imports {WASI}.{name} as {_text(found)}, which is not that of WASI", _HINT)
            wasi[name] = None
            continue
        wanted = _MAP_IMPORTS.get(module) or _IMPORTS[module, name]
        if found != wanted:
            raise WasmError(f"it imports {module}.{name} as {_text(found)}, not {_text(wanted)}", _HINT)
        if module in MAP_READS:
            reads[name] = None
        elif module in MAP_WRITES:
            writes[name] = None
    memory = interface.exports["memory"].page_count * adapter.PAGE_SIZE_BYTES
    return Asks(tuple(reads), tuple(writes), tuple(wasi), memory)


def _is_numeric(signature: Signature) -> bool:
    parameters, results = signature
    return len(results) <= 1 and {*parameters, *results} <= {"i32", "i64"}
