"""Which C type travels through which map."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from typing import NamedTuple

from ecli_packager.bytecode import EventCall
from ecli_packager.dwarf import Declarations, Local
from ecli_packager.errors import ExportError
from ecli_packager.names import canonical
from ecli_packager.tags import Said
from ecli_packager.values import Frame, MapAddress, MapValue

# What may be a type of events that the author did not declare: of the kernel, a number, an array.
_C_NAME = re.compile(r"[A-Za-z_][\w ]*(\[\d+\])*")

# A variable takes over the result of a call within this many bytes of code behind it: two instructions.
_TAKEN_WITHIN_BYTES = 16


def header_structs(header: str) -> list[str]:
    """Return the names of the structs that a header defines, in order; comments do not count."""
    text = re.sub(r"/\*.*?\*/|//[^\n]*", " ", header, flags=re.DOTALL)
    return re.findall(r"\bstruct\s+(\w+)\s*\{", text)


def check_header(name: str, structs: list[str], declared: Declarations) -> None:
    """Check that a header that the user named has to do with the source.

    Raises:
        ExportError: The source uses none of its structs.
    """
    known = {struct.c_name for struct in declared.structs}
    if not any(f"struct {each}" in known for each in structs):
        what = f"uses none of its structs ({', '.join(structs)})" if structs else "can use none of its structs: it defines none"
        raise ExportError(f"{name}: the source {what}", "include it in the source, or leave it out of the command line")


class _Source(NamedTuple):
    """A type that the bytes of an event may be of."""

    c_name: str
    size_bytes: int
    plain: bool = False

    def filling(self, size_bytes: int) -> str:
        """Return the array of this plain type that has this size, or empty text."""
        whole = self.size_bytes and size_bytes % self.size_bytes == 0 and not self.c_name.endswith("]")
        return f"{self.c_name}[{size_bytes // self.size_bytes}]" if whole else ""


class TypeFinder:
    """Finds the types of events: by what was said, else by the size at the call, else by what the event's bytes are from.

    Args:
        declared: What the author's files declare.
        map_value: Takes a map, a byte offset in its values, and whether of an array the whole is meant; returns C name and size
            of the type there, if it has a name.
        header: Structs of the header that the user named; they alone count if there are any.
        kept: C names of the types of keys and values of maps: less likely events than others.
        declares: Tells whether a source can use a type that the author did not declare: ``struct iphdr``, ``u64``, ``char[16]``.
    """

    def __init__(
        self,
        declared: Declarations,
        map_value: Callable[[str, int, bool], tuple[str, int] | None],
        header: Iterable[str] = (),
        kept: Collection[str] = (),
        declares: Callable[[str], bool] = lambda _c_name: False,
    ) -> None:
        self._declared = declared
        self._kept = kept
        self._declares = declares
        self._map_value = map_value
        self._known = {struct.c_name: struct for struct in declared.structs}
        self._pool = [self._known[f"struct {name}"] for name in header if f"struct {name}" in self._known] or declared.structs

    def choose(self, maps: Iterable[str], calls: Iterable[EventCall], named: Mapping[str, list[Said]]) -> dict[str, list[str]]:
        """Return the C names of the types of each event map; a map that no event is sent through has none.

        Args:
            maps: Names of the ring buffers and perf event arrays.
            calls: The calls that make events.
            named: Map → types that the user named (``struct event``, ``event`` or a typedef's name); they win.

        Raises:
            ExportError: A type or map that was named does not exist, or nothing tells which of several types is meant.
        """
        maps, calls = list(maps), list(calls)
        for name in named:
            if name not in maps:
                raise ExportError(f"--export {name}: there is no such event map", _nearest(name, maps, "event maps"))
        return {
            name: [self._named(each) for each in named[name]] if name in named else self._infer(name, calls_of(name, calls))
            for name in maps
        }

    def _named(self, said: Said) -> str:
        name = canonical(said.c_name)
        for candidate in (name, f"struct {name}", f"union {name}"):
            if candidate in self._known:
                return candidate
        if _C_NAME.fullmatch(name) and self._declares(name):
            return name
        raise ExportError(f"{said.where}: the source declares no type {name!r}", _nearest(name, list(self._known), "declared"))

    def _infer(self, map_name: str, calls: list[EventCall]) -> list[str]:
        found: dict[str, None] = {}
        questions = []
        for call in calls:
            try:
                found.update(dict.fromkeys(self._types(map_name, call)))
            except ExportError as error:
                questions.append((call, error))
        for call, question in questions:
            if not self._may_be_one_of(found, call):
                raise question
        return sorted(found)

    def _may_be_one_of(self, found: Collection[str], call: EventCall) -> bool:
        """Tell whether a call of which nothing tells the type makes events like the map's others, or of the first part of one."""
        if any(not each.plain for each in self._sources(call)):
            return False
        if any(struct.size_bytes in call.sizes_bytes for struct in self._pool):
            return False
        largest = max((self._known[name].size_bytes for name in found if name in self._known), default=0)
        return all(size < largest for size in call.sizes_bytes) if call.sizes_bytes else bool(found)

    def types_of(self, map_name: str, call: EventCall) -> list[str]:
        """Return the C names of the types of events that a call makes, as :meth:`choose` finds them; empty: it cannot tell."""
        try:
            return self._types(map_name, call)
        except ExportError:
            return []

    def _types(self, map_name: str, call: EventCall) -> list[str]:
        if len(call.origins) > 1:  # calls that the compiler made one of
            try:
                alone = [self._types(map_name, replace(call, origins=frozenset({origin}))) for origin in call.origins]
                return list(dict.fromkeys(name for names in alone for name in names))
            except ExportError:  # together they may tell more
                pass
        sources = self._sources(call)
        if not call.sizes_bytes:  # a variable length: only where the bytes are from can tell
            named = [each.c_name for each in sources if not each.plain]
            if len(named) == 1:
                return named
            raise self._question(map_name, "events of varying length", named)
        found = []
        for size in sorted(call.sizes_bytes):
            fitting = [each.c_name for each in sources if each.size_bytes == size]
            candidates = [struct.c_name for struct in self._pool if struct.size_bytes == size]
            agreed = [name for name in fitting if name in candidates] or candidates or fitting
            # A union of events is room for any of them, and the struct of its size is the one that is meant.
            structs = [name for name in candidates if not name.startswith("union ")]
            structs = [name for name in structs if name in fitting] or structs
            others = [name for name in agreed if name not in self._kept]
            # Without a type of that size it is one with room behind it, or the head of one; else an array of numbers or text.
            parts = [] if agreed else [each.c_name for each in sources if not each.plain]
            arrays = [] if agreed or parts else [filling for each in sources if each.plain and (filling := each.filling(size))]
            unique = next((group for group in (structs, agreed, others, parts, arrays) if len(group) == 1), None)
            if unique is None:
                raise self._question(map_name, f"events of {size} bytes", agreed)
            found += unique
        return found

    def _sources(self, call: EventCall) -> list[_Source]:
        """Return each type that the bytes of an event may be of, judging by where they are from."""
        found: dict[_Source, None] = {}
        for origin in call.origins:
            if isinstance(origin, MapValue):
                # As many bytes as are there of an array are a part of it, not one of its elements.
                value = self._map_value(origin.map, origin.byte_offset, not call.sizes_bytes)
                found.update({_Source(*value): None} if value else {})
            elif isinstance(origin, MapAddress) and (known := self._declared.globals.get(origin.name)):
                found[_Source(*known)] = None
            elif isinstance(origin, Frame):
                found.update(dict.fromkeys(map(_source, self._on_stack(origin))))
        if not found:
            variables = [each for each in self._declared.locals.get(call.function, []) if each.pointer]
            # Of a pointer the compiler may forget where it is, so at the call it may be known no more.
            for tells in (_holds_address, _held_address) if call.holders else (_takes_result,):
                found = found or dict.fromkeys(_source(each) for each in variables if tells(each, call))
        return list(found)

    def _on_stack(self, frame: Frame) -> list[Local]:
        """Return the variables at an address on the stack; if there is none, all that are on the stack then."""
        at = frame.call_offset - 8
        alive = [
            (each, place.stack_offset)
            for each in self._declared.locals.get(frame.function, [])
            for place in each.places
            if not each.pointer and place.stack_offset is not None and place.begin <= at < place.end
        ]
        return [each for each, place in alive if place == frame.byte_offset] or [each for each, _place in alive]

    def _question(self, map_name: str, what: str, candidates: list[str]) -> ExportError:
        if candidates:
            return ExportError(
                f"map {map_name}: {what} may be {' or '.join(candidates)}",
                f"say which: --export '{map_name}={candidates[0]}'",
            )
        declared = [struct.c_name for struct in self._pool]
        message = f"map {map_name}: cannot tell the type of {what}"
        if declared:
            message += f"; the source declares {', '.join(declared)}"
        hint = f"say which: --export '{map_name}=struct NAME', also one of the kernel, or a number or array: 'char[64]'"
        return ExportError(message, f"{hint}; a struct needs a name, and a declaration outside of functions")


def _source(variable: Local) -> _Source:
    return _Source(variable.c_name, variable.size_bytes, variable.plain)


def calls_of(map_name: str, calls: list[EventCall]) -> list[EventCall]:
    """Return the calls that make events through a map."""
    # A call whose map is not known (it was looked up in a map of maps) is of those maps that no call names.
    return [call for call in calls if map_name in call.maps] or [call for call in calls if not call.maps]


def _holds_address(variable: Local, call: EventCall) -> bool:
    at = call.byte_offset - 8
    return any(place.begin <= at < place.end and place.register in call.holders for place in variable.places)


def _held_address(variable: Local, call: EventCall) -> bool:
    return any(
        place.begin <= at < place.end and place.register == register for place in variable.places for at, register in call.copies
    )


def _takes_result(variable: Local, call: EventCall) -> bool:
    return any(
        0 <= place.begin - call.byte_offset <= _TAKEN_WITHIN_BYTES and place.register is not None for place in variable.places
    )


def _nearest(name: str, names: list[str], what: str) -> str:
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.4) or names[:8]
    return f"{what}: {', '.join(near)}" if near else f"{what}: none"
