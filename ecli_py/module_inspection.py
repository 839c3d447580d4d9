"""What a Wasm module asks for, and what the eBPF objects in it can do: read from it, with nothing run or loaded."""

from __future__ import annotations

import sys

from ecli_py.render.inspection import FACT_WORDS
from ecli_py.render.plain import columns, one_line, size_text
from ecli_runtime.behaviour import analyse_open
from ecli_runtime.elf import EM_BPF
from ecli_runtime.errors import EcliError
from ecli_runtime.libbpf.object import OpenObject
from ecli_runtime.wasm.kinds import WASI, Kind, kind_of
from ecli_runtime.wasm.limits import CONTROLLER_LIMITS, compile_module, make_engine
from ecli_runtime.wasm.sections import FUNCTION, MEMORY, read_interface

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

_ELF = b"\x7fELF\2"
_KINDS = {
    Kind.CONTROLLER: "a controller, which loads and drives eBPF programs itself",
    Kind.HANDLER: "an event handler, which the events of a package pass through",
    Kind.LEGACY: "one of upstream's older modules, which carries a package",
}
_OBJECTS_LIMIT = 16


def inspect_module(data: bytes) -> dict[str, Any]:
    """Return what a module is, as ``ecli-py inspect --json`` writes it.

    ``kind``: ``controller``, ``handler`` or ``legacy``; ``size_bytes``; ``memory_bytes``: what it begins with; ``wasi`` and
    ``functions``: names of what it imports; ``objects``: of each eBPF object that lies in it uncompressed ``size_bytes``,
    ``programs`` (``name``, ``type``, ``section``), ``maps`` (``name``, ``type``) and ``facts``: names of what it can do.

    Raises:
        WasmError: It is no module that can be run.
        UnsupportedFeatureError: There is no wasmtime.
    """
    compile_module(make_engine(CONTROLLER_LIMITS), data, CONTROLLER_LIMITS)
    interface = read_interface(data)
    kind = kind_of(interface)
    functions = [(module, name) for module, name, item in interface.imports if item.kind == FUNCTION]
    memory = interface.exports["memory"]
    return {
        "kind": kind.value,
        "size_bytes": len(data),
        "memory_bytes": memory.page_count << 16 if memory.kind == MEMORY else 0,
        "wasi": sorted({name for module, name in functions if module == WASI}),
        "functions": sorted({f"{module}.{name}" for module, name in functions if module != WASI}),
        "objects": list(_objects(data)),
    }


def _objects(data: bytes) -> Iterator[dict[str, Any]]:
    at, found = data.find(_ELF), 0
    while at >= 0 and found < _OBJECTS_LIMIT:
        elf = _elf(data[at:])
        following = at + 1
        if elf:
            following, found = at + len(elf), found + 1
            try:
                with OpenObject.open(elf, "module") as opened:
                    yield _describe(opened, elf)
            except EcliError as error:
                yield {"size_bytes": len(elf), "programs": [], "maps": [], "facts": [], "error": str(error)}
        at = data.find(_ELF, following)


def _elf(data: bytes) -> bytes:
    """Return the eBPF object that bytes begin with; it ends with its table of sections. Empty: they begin with none."""
    if len(data) < 64 or int.from_bytes(data[18:20], sys.byteorder) != EM_BPF:
        return b""
    table, entry, count = (int.from_bytes(data[start:end], sys.byteorder) for start, end in ((40, 48), (58, 60), (60, 62)))
    return data[: table + entry * count] if table + entry * count <= len(data) else b""


def _describe(opened: OpenObject, elf: bytes) -> dict[str, Any]:
    behaviour = analyse_open(opened, elf)
    return {
        "size_bytes": len(elf),
        "programs": [{"name": each.name, "type": each.type_name, "section": each.section} for each in opened.programs],
        "maps": [{"name": each.name, "type": each.type_name} for each in opened.maps if not each.data_section],
        "facts": list(behaviour.facts),
    }


def render_module(document: dict[str, Any]) -> str:
    """Return what :func:`inspect_module` found as text; nothing but printable characters is in it."""
    lines = [
        f"This is {_KINDS[Kind(document['kind'])]}.",
        "",
        f"size     {size_text(document['size_bytes'])}; it begins with {size_text(document['memory_bytes'])} of memory",
        f"imports  {one_line(', '.join(document['functions'])) or 'nothing'}",
        f"WASI     {one_line(', '.join(document['wasi'])) or 'nothing'}",
    ]
    for each in document["objects"]:
        lines += ["", f"An eBPF object of {size_text(each['size_bytes'])} is in it:"]
        if "error" in each:
            lines.append(f"  {one_line(each['error'])}")
        rows = [(item["name"], item["type"], item.get("section", "")) for item in (*each["programs"], *each["maps"])]
        lines += columns([tuple(map(one_line, row)) for row in rows])
        lines += [f"  it {FACT_WORDS.get(fact, one_line(fact))}" for fact in each["facts"]]
    if not document["objects"] and document["kind"] == Kind.CONTROLLER.value:
        lines += ["", "No eBPF object lies in it as it is: what it loads shows when it runs."]
    return "\n".join(lines) + "\n"
