"""What tells types of events apart that have one size and go through one map: a member that holds another constant in each."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from ecli_packager.errors import ExportError
from ecli_packager.values import ByteOrder, Contents
from ecli_schemas.model import EventType, Tag

if TYPE_CHECKING:
    from ecli_schemas.model import Json

_MAX_VALUES = 16
_SAID = re.compile(r"(.+?)\s+when\s+([\w.]+)\s*=\s*([\w|\s-]+)")


class Said(NamedTuple):
    """A type that the user named, ``struct exec when kind = EXEC|FORK``.

    Attributes:
        c_name: The type.
        member: The member that tells it from others; empty if none was named.
        values: What that holds: numbers, names of enumerators.
        where: Where it is said, for errors: file, line, column and annotation; or the option.
    """

    c_name: str
    member: str = ""
    values: tuple[str, ...] = ()
    where: str = ""

    @classmethod
    def parse(cls, text: str, where: str) -> Said:
        """Read what stands in ``@export`` between commas, or in ``--export`` behind the equals sign."""
        found = _SAID.fullmatch(text.strip())
        if found is None:
            return cls(text.strip(), where=where)
        return cls(found[1], found[2], tuple(value.strip() for value in found[3].split("|")), where)


class _Integer(NamedTuple):
    """An integer or enum of a type: names of the members that lead to it, joined by dots, and what its layout says."""

    path: str
    byte_offset: int
    size_bytes: int
    signed: bool
    enumerators: Mapping[str, int]


def said_tag(event_type: EventType, said: Said, enumerators: Mapping[str, int]) -> Tag | None:
    """Return the tag that the user named, ``None`` if it was none.

    Args:
        event_type: The type.
        said: What was said of it.
        enumerators: All that are known, for members that are integers.

    Raises:
        ExportError: There is no such member, or no such value.
    """
    if not said.member:
        return None
    members = {each.path: each for each in _integers(event_type.layout)}
    if said.member not in members:
        known = ", ".join(members) or "none"
        raise ExportError(f"{said.where}: {said.c_name} has no integer or enum {said.member!r}", f"it has: {known}")
    known_values = {**enumerators, **members[said.member].enumerators}
    values = []
    for text in said.values:
        if text not in known_values and not re.fullmatch(r"-?(0[xX][0-9a-fA-F]+|\d+)", text):
            raise ExportError(
                f"{said.where}: {said.member}={text}: there is no enumerator of that name", "give the number instead"
            )
        values.append(known_values[text] if text in known_values else int(text, 0 if "x" in text.lower() else 10))
    return Tag(said.member, tuple(values))


def same_sizes(types: Sequence[EventType]) -> list[list[int]]:
    """Return the indexes of types that have one size, a list for each size that several have."""
    groups: dict[int | None, list[int]] = {}
    for index, each in enumerate(types):
        groups.setdefault(each.size_bytes, []).append(index)
    return [group for group in groups.values() if len(group) > 1]


def infer_tags(types: Sequence[EventType], held: Sequence[Sequence[Contents]], byteorder: ByteOrder) -> list[Tag]:
    """Return tags of types of one size; none: nothing that the code says tells them apart.

    Args:
        types: At least two.
        held: Of each type what its events hold, as far as that is constant.
        byteorder: Of the object.
    """
    if not all(held):
        return []
    places = [{(each.path, each.byte_offset, each.size_bytes): each for each in _integers(each.layout)} for each in types]
    shared = [each for place, each in places[0].items() if all(place in others for others in places[1:])]
    for member in sorted(shared, key=lambda each: not each.enumerators):
        values = [_values(member, each, byteorder) for each in held]
        if all(values) and sum(map(len, values)) == len(set().union(*values)):
            return [Tag(member.path, tuple(sorted(each))) for each in values]
    return []


def _values(member: _Integer, held: Iterable[Contents], byteorder: ByteOrder) -> set[int]:
    """Return what a member holds in some events; nothing if that is not known of all of them."""
    found: set[int] = set()
    for contents in held:
        known = contents[member.byte_offset : member.byte_offset + member.size_bytes]
        columns = [each for each in known if each]
        if len(columns) < member.size_bytes:
            return set()
        for each in itertools.islice(itertools.product(*columns), _MAX_VALUES + 1):
            found.add(int.from_bytes(bytes(each), byteorder, signed=member.signed))
    return found if len(found) <= _MAX_VALUES else set()


def _integers(layout: Mapping[str, Json] | None, before: str = "", byte_offset: int = 0) -> Iterator[_Integer]:
    """Walk the integers and enums of a layout outside of arrays and bitfields."""
    members: Any = layout.get("members", []) if layout else []
    for member in members:
        inner, offset = member["layout"], byte_offset + member["bit_offset"] // 8
        path = before + member["name"]
        if inner["kind"] in ("struct", "union"):
            yield from _integers(inner, f"{path}." if member["name"] else before, offset)
        elif inner["kind"] in ("int", "enum") and "bit_size" not in member:
            enumerators = {name: int(value) for name, value in inner.get("enumerators", {}).items()}
            yield _Integer(path, offset, inner["size"], inner["signed"], enumerators)
