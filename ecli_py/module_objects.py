"""The eBPF objects in a Wasm module, and what they can do: read from it, with nothing run or loaded."""

from __future__ import annotations

import sys

from ecli_py.render.inspection import FACT_WORDS
from ecli_py.render.plain import columns, one_line, size_text
from ecli_runtime.behaviour import analyse_open
from ecli_runtime.elf import EM_BPF
from ecli_runtime.errors import EcliError
from ecli_runtime.libbpf.object import OpenObject

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

_ELF = b"\x7fELF\2"
_OBJECTS_LIMIT = 16


def find_objects(data: bytes) -> list[dict[str, Any]]:
    """Return the eBPF objects that lie in a file as they are.

    Each has ``size`` in bytes, ``programs`` (``name``, ``type``, ``section``), ``maps`` (``name``, ``type``), ``facts``: names of
    what it can do, and ``error`` instead where libbpf cannot make sense of it.
    """
    return list(_objects(data))


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
                yield {"size": len(elf), "programs": [], "maps": [], "facts": [], "error": str(error)}
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
        "size": len(elf),
        "programs": [{"name": each.name, "type": each.type_name, "section": each.section} for each in opened.programs],
        "maps": [{"name": each.name, "type": each.type_name} for each in opened.maps if not each.data_section],
        "facts": list(behaviour.facts),
    }


def objects_text(objects: list[dict[str, Any]]) -> Iterator[str]:
    """Yield the lines that show objects to people. Names in them may be anything, and are escaped."""
    for each in objects:
        yield from ("", f"eBPF object in it, {size_text(each['size'])}")
        if "error" in each:
            yield f"  {one_line(each['error'])}"
        rows = [(item["name"], item["type"], item.get("section", "")) for item in (*each["programs"], *each["maps"])]
        yield from columns([tuple(map(one_line, row)) for row in rows])
        yield from (f"  it {FACT_WORDS.get(fact, one_line(fact))}" for fact in each["facts"])
