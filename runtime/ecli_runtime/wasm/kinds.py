"""What a Wasm module is: told by what it imports and exports, never by the name of its file."""

from __future__ import annotations

from enum import Enum

from ecli_runtime.errors import WasmError
from ecli_runtime.wasm.sections import FUNCTION, Interface, read_interface

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

WASI = "wasi_snapshot_preview1"
WASM_BPF, CALLBACK_WRAPPER, LEGACY_ENV, HANDLER = "wasm_bpf", "callback-wrapper", "env", "ecli"

CONTROLLER_IMPORTS = frozenset(
    (
        "wasm_load_bpf_object",
        "wasm_close_bpf_object",
        "wasm_attach_bpf_program",
        "wasm_attach_bpf_program_fd",
        "wasm_bpf_map_fd_by_name",
        "wasm_bpf_map_operate",
        "wasm_bpf_buffer_poll",
    )
)
WRAPPER_IMPORTS = frozenset(("wasm_bpf_buffer_poll",))
LEGACY_IMPORTS = frozenset(("create_bpf", "run_bpf", "wait_and_poll_bpf"))
HANDLER_IMPORTS = frozenset(("emit", "log", "now", "option", "type"))
# Access to maps: a module for each operation, and the names of its functions are those of the maps.
MAP_READS, MAP_WRITES = ("ecli.lookup", "ecli.next"), ("ecli.update", "ecli.delete")
HANDLER_ABI = "ecli_abi"

_NAMES_SHOWN = 8


class Kind(Enum):
    """Kinds of modules."""

    CONTROLLER = "controller"
    """Loads, attaches and polls eBPF programs itself, by the functions of wasm-bpf."""
    HANDLER = "handler"
    """Sees events on their way: it exports ``ecli_abi``, ``ecli_event`` and ``ecli_buffer``."""
    LEGACY = "legacy"
    """Upstream's older form: a package inside of a module, run by ``env.create_bpf`` and so on."""


# Functions by the module that they are imported from; ``None``: any.
_KNOWN: dict[Kind, dict[str, frozenset[str] | None]] = {
    Kind.CONTROLLER: {WASM_BPF: CONTROLLER_IMPORTS, CALLBACK_WRAPPER: WRAPPER_IMPORTS},
    Kind.HANDLER: {HANDLER: HANDLER_IMPORTS, **dict.fromkeys((*MAP_READS, *MAP_WRITES))},
    Kind.LEGACY: {LEGACY_ENV: LEGACY_IMPORTS},
}
_EXPORTS = {
    Kind.CONTROLLER: ("memory", "_start"),
    Kind.HANDLER: ("memory", HANDLER_ABI, "ecli_event", "ecli_buffer"),
    Kind.LEGACY: ("memory", "bpf_main"),
}


def kind_of(module: Any, wrapper: str = CALLBACK_WRAPPER) -> Kind:
    """Return the kind of a module.

    Args:
        module: What a module imports and exports, its ``wasmtime.Module``, or its bytes.
        wrapper: Name of the module that the callback form of TinyGo's guests is imported from.

    Raises:
        WasmError: It is of none, or imports what that kind is not given, or lacks what it must export.
    """
    if isinstance(module, (bytes, bytearray, memoryview)):
        from ecli_runtime.wasm.limits import CONTROLLER_LIMITS, compile_module, make_engine

        compile_module(make_engine(CONTROLLER_LIMITS), bytes(module), CONTROLLER_LIMITS)
        module = read_interface(bytes(module))
    if isinstance(module, Interface):
        imports = [(each, name, item.kind) for each, name, item in module.imports]
        exports = set(module.exports)
    else:
        words = {"FuncType": FUNCTION}
        names = [(each.module, each.name or "", type(each.type).__name__) for each in module.imports]
        imports = [(each, name, words.get(what, what.removesuffix("Type").lower())) for each, name, what in names]
        exports = {each.name for each in module.exports}
    kind = _claimed({name for name, *_ in imports}, {name for _, name, _ in imports}, exports, wrapper)
    known = {} if kind is None else dict(_KNOWN[kind])
    if kind is Kind.CONTROLLER:
        known[wrapper] = WRAPPER_IMPORTS
    unknown = [
        f"{name}.{each}" + ("" if what == FUNCTION else f" ({what})")
        for name, each, what in imports
        if what != FUNCTION or (name != WASI and not _is_given(known, name, each))
    ]
    if unknown:
        listed = ", ".join(unknown[:_NAMES_SHOWN]) + (
            f" and {len(unknown) - _NAMES_SHOWN} more" if unknown[_NAMES_SHOWN:] else ""
        )
        what = "the module" if kind is None else f"the module is a {kind.value} and"
        raise WasmError(f"{what} imports what nobody provides: {listed}", _hint(kind))
    if kind is None:
        raise WasmError("the module neither drives eBPF programs nor handles events", _hint(None))
    missing = [name for name in _EXPORTS[kind] if name not in exports]
    if missing:
        raise WasmError(f"the module is a {kind.value} and does not export {' and '.join(missing)}", _hint(kind))
    return kind


def _is_given(known: dict[str, frozenset[str] | None], module: str, name: str) -> bool:
    functions = known.get(module, frozenset())
    return functions is None or name in functions


def _claimed(modules: set[str], names: set[str], exports: set[str], wrapper: str) -> Kind | None:
    if HANDLER_ABI in exports:
        return Kind.HANDLER
    if modules & {WASM_BPF, wrapper}:
        return Kind.CONTROLLER
    if LEGACY_ENV in modules and names & LEGACY_IMPORTS:
        return Kind.LEGACY
    return None


def _hint(kind: Kind | None) -> str:
    if kind is None:
        return (
            f"a controller imports from {WASM_BPF}, an event handler exports {HANDLER_ABI}, "
            f"upstream's older modules import {LEGACY_ENV}.create_bpf; beside that there is {WASI}"
        )
    modules = ", ".join(f"{name} ({', '.join(sorted(each or ('any map',)))})" for name, each in _KNOWN[kind].items())
    return f"a {kind.value} may import functions of {WASI} and {modules}, and exports {', '.join(_EXPORTS[kind])}"
