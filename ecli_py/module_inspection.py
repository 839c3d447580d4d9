"""What there is to know about a Wasm module that is no part of a package: what it is, and what it asks for."""

from __future__ import annotations

import hashlib

from ecli_py.module_objects import find_objects, objects_text
from ecli_py.render.inspection import signature_text
from ecli_py.render.plain import columns, one_line, size_text
from ecli_runtime.wasm.kinds import Kind, kind_of
from ecli_runtime.wasm.limits import CONTROLLER_LIMITS, compile_module, make_engine
from ecli_runtime.wasm.sections import read_interface

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_USES = {
    Kind.CONTROLLER: ("controller: it loads and attaches eBPF programs itself", "ecli-py run {}"),
    Kind.HANDLER: ("event handler: events of a package pass through it", "ecli-py run PACKAGE --handler {}"),
    Kind.LEGACY: ("module of upstream's older form, with a package inside", "ecli-py run {}"),
}


def inspect_module(data: bytes) -> dict[str, Any]:
    """Return what a module is, as one JSON object.

    ``file``: ``size`` and ``digest``; ``kind``: ``controller``, ``handler`` or ``legacy``; ``imports``: module → names of its
    functions; ``objects``: the eBPF objects in it (:func:`~ecli_py.module_objects.find_objects`); ``asks`` (of handlers, else
    ``null``): ``reads`` and ``writes`` (maps), ``wasi`` (functions), ``memory`` to begin with, in bytes.

    Raises:
        WasmError: It is no module of a kind that is known.
        UnsupportedFeatureError: There is no wasmtime.
    """
    compile_module(make_engine(CONTROLLER_LIMITS), data, CONTROLLER_LIMITS)
    interface = read_interface(data)
    kind = kind_of(interface)
    imports: dict[str, list[str]] = {}
    for module, function, _item in interface.imports:
        imports.setdefault(module, []).append(function)
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    return {
        "file": {"size": len(data), "digest": digest},
        "kind": kind.value,
        "imports": imports,
        "objects": find_objects(data),
        "asks": _asks(data) if kind is Kind.HANDLER else None,
    }


def _asks(data: bytes) -> dict[str, Any]:
    from ecli_runtime.wasm.handler.module import HandlerModule

    found = HandlerModule("module", data).asks
    return {
        "reads": list(found.reads),
        "writes": list(found.writes),
        "wasi": list(found.wasi),
        "memory": found.initial_memory_bytes,
    }


def module_text(document: dict[str, Any], path: str) -> str:
    """Return the same for people. Names in a module may be anything, and are escaped."""
    what, use = _USES[Kind(document["kind"])]
    rows = [
        ("module", f"WebAssembly, {size_text(document['file']['size'])}"),
        ("digest", document["file"]["digest"]),
        *([("signature", one_line(signature_text(document["signature"])))] if "signature" in document else []),
        ("use", one_line(use.format(path))),
    ]
    asks = document["asks"]
    if asks is not None:
        maps = (("reads maps", asks["reads"]), ("changes maps", asks["writes"]))
        rows += [(title, one_line(", ".join(names))) for title, names in maps if names]
        rows.append(("memory", f"{size_text(asks['memory'])} to begin with"))
    rows += [(one_line(module), one_line(", ".join(names))) for module, names in document["imports"].items()]
    return "\n".join([what, *columns(rows, ""), *objects_text(document["objects"])]) + "\n"
