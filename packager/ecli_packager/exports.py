"""Which C type travels through which map."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping

from ecli_packager.bytecode import EventCall
from ecli_packager.dwarf import Struct
from ecli_packager.errors import ExportError


def header_structs(header: str) -> list[str]:
    """Return the names of the structs that a header defines, in order; comments do not count."""
    text = re.sub(r"/\*.*?\*/|//[^\n]*", " ", header, flags=re.DOTALL)
    return re.findall(r"\bstruct\s+(\w+)\s*\{", text)


def choose_types(
    maps: Iterable[str], calls: Iterable[EventCall], structs: list[Struct], named: Mapping[str, list[str]], header: list[str]
) -> dict[str, list[str]]:
    """Return the C names of the types of each event map; a map that no event is sent through has none.

    Args:
        maps: Names of the ring buffers and perf event arrays.
        calls: The calls that make events.
        structs: What the author's files declare.
        named: Map → types that the user named (``struct event``, ``event`` or a typedef's name); they win.
        header: Structs of the header that the user named.

    Raises:
        ExportError: A type that was named does not exist, or several types fit and nothing tells which is meant.
    """
    calls = list(calls)
    known = {struct.c_name: struct for struct in structs}
    maps = list(maps)
    for name in named:
        if name not in maps:
            raise ExportError(f"--export {name}: there is no such event map", _nearest(name, maps, "event maps"))
    chosen = {}
    for name in maps:
        if name in named:
            chosen[name] = [_known_name(each, known) for each in named[name]]
            continue
        pool = [known[f"struct {each}"] for each in header if f"struct {each}" in known] or structs
        # A call whose map is not in sight may be any map's, which matters only when there are several.
        sizes = {call.size_bytes for call in calls if call.map == name or (call.map is None and len(maps) == 1)}
        chosen[name] = _types_of_sizes(name, sizes, pool)
    return chosen


def _types_of_sizes(map_name: str, sizes: set[int | None], structs: list[Struct]) -> list[str]:
    found = []
    for size in sorted(size for size in sizes if size is not None):
        candidates = [struct.c_name for struct in structs if struct.size_bytes == size]
        if len(candidates) > 1:
            raise ExportError(
                f"map {map_name}: events of {size} bytes may be {' or '.join(candidates)}",
                f"say which: --export '{map_name}={candidates[0]}'",
            )
        found += candidates
    if not found and sizes:
        candidates = [struct.c_name for struct in structs]
        example = candidates[0] if candidates else "struct NAME"
        raise ExportError(
            f"map {map_name}: cannot tell the type of its events"
            + (f"; the source declares {', '.join(candidates)}" if candidates else ""),
            f"say which: --export '{map_name}={example}'",
        )
    return found


def _known_name(name: str, known: Mapping[str, Struct]) -> str:
    for candidate in (name, f"struct {name}", f"union {name}"):
        if candidate in known:
            return candidate
    raise ExportError(f"the source declares no type {name!r}", _nearest(name, list(known), "declared"))


def _nearest(name: str, names: list[str], what: str) -> str:
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.4) or names[:8]
    return f"{what}: {', '.join(near)}" if near else f"{what}: none"
