"""What differs between two packages: what they do, what that takes, and what their events look like."""

from __future__ import annotations

import hashlib
import json

from ecli_py.commands.schema import event_schema
from ecli_py.inspection import Inspection
from ecli_py.source import any_object
from ecli_runtime.errors import ObjectError
from ecli_schemas.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    from ecli_schemas.model import Package


class SchemaChange(Record):
    """A difference between the schemas of two packages' events.

    Attributes:
        path: Type and member: ``event.comm``.
        text: What is different.
        is_breaking: A reader that was made for the first package, and ignores members that it does not know, may fail.
    """

    path: str
    text: str
    is_breaking: bool


def schema_digest(package: Package) -> str:
    """Return ``sha256:…`` of the schema of a package's events; empty if its object cannot be opened on this machine."""
    events = _events(package)
    if events is None:
        return ""
    return "sha256:" + hashlib.sha256(json.dumps(events, sort_keys=True).encode()).hexdigest()


def _events(package: Package) -> list[dict[str, Any]] | None:
    """Return the schemas of a package's events, without those of the marks between them."""
    try:
        schemas: list[dict[str, Any]] = event_schema(package)["anyOf"]
    except ObjectError:  # of the other byte order
        return None
    return [each for each in schemas if not each["description"].startswith("a mark:")]


# --- events ---


def compare_events(old: list[dict[str, Any]], new: list[dict[str, Any]]) -> list[SchemaChange]:
    """Return what differs between the events of two packages.

    It breaks a reader when an event may come that the old schema does not allow, members that are new left aside.

    Args:
        old: Schema of each type of event of the first package.
        new: Of the second.
    """
    before, after = ({each["description"]: each for each in schemas} for schemas in (old, new))
    gone, came = ([name for name in one if name not in other] for one, other in ((before, after), (after, before)))
    pairs = [(name, name) for name in before if name in after]
    if len(gone) == len(came) == 1:  # the name of a type is not in its events
        pairs.append((gone.pop(), came.pop()))
    changes = [SchemaChange(_type_name(name), "is gone", True) for name in gone]
    changes += [SchemaChange(_type_name(name), "is new", False) for name in came]
    for first, second in pairs:
        changes += _compare(before[first], after[second], _type_name(second))
    return changes


def _type_name(description: str) -> str:
    return description.partition(", through map ")[0].removeprefix("through map ")


def _compare(old: Mapping[str, Any], new: Mapping[str, Any], path: str) -> Iterator[SchemaChange]:
    kinds = [_kind(each) for each in (old, new)]
    if kinds[0] != kinds[1]:
        yield SchemaChange(path, f"was {kinds[0]} and is {kinds[1]}", True)
        return
    if kinds[0] == "an object":
        yield from _compare_members(old["properties"], new["properties"], path)
        return
    if old.get("description") != new.get("description"):
        yield SchemaChange(path, f"was {old.get('description', 'a number')} and is {new.get('description', 'a number')}", True)
    if kinds[0] == "a list":
        yield from _bounds(old, new, path, ("minItems", "maxItems"), "elements")
        yield from _compare(old["items"], new["items"], f"{path}[]")
    elif kinds[0] == "an enum":
        names = [each["anyOf"][0]["enum"] for each in (old, new)]
        for name in names[1]:
            if name not in names[0]:
                yield SchemaChange(path, f"{name} is new", True)
        for name in names[0]:
            if name not in names[1]:
                yield SchemaChange(path, f"{name} is gone", False)
        if old["anyOf"][-1] != new["anyOf"][-1]:
            yield from _compare(old["anyOf"][-1], new["anyOf"][-1], path)
    elif kinds[0] == "an integer":
        yield from _bounds(old, new, path, ("minimum", "maximum"), "")
    elif kinds[0] == "text":
        yield from _bounds(old, new, path, ("", "maxLength"), "characters")
        for word in ("pattern", "format"):
            if old.get(word) != new.get(word):
                yield SchemaChange(path, f"{word} was {old.get(word, 'any')} and is {new.get(word, 'any')}", True)
    elif old.get("const") != new.get("const"):
        yield SchemaChange(path, f"was {old['const']} and is {new['const']}", True)


def _compare_members(old: Mapping[str, Any], new: Mapping[str, Any], path: str) -> Iterator[SchemaChange]:
    for name in old:
        if name not in new:
            yield SchemaChange(f"{path}.{name}", "is gone", True)
    for name, schema in new.items():
        if name not in old:
            yield SchemaChange(f"{path}.{name}", f"is new: {_kind(schema)}", False)
        else:
            yield from _compare(old[name], schema, f"{path}.{name}")


def _kind(schema: Mapping[str, Any]) -> str:
    if "const" in schema:
        return "a constant"
    if "anyOf" in schema:
        return "an enum"
    kind = schema.get("type")
    words = {"object": "an object", "array": "a list", "string": "text", "integer": "an integer", "boolean": "true or false"}
    return words.get(kind, "a number") if isinstance(kind, str) else "a list or null" if kind == ["array", "null"] else "a number"


def _bounds(
    old: Mapping[str, Any], new: Mapping[str, Any], path: str, names: tuple[str, str], unit: str
) -> Iterator[SchemaChange]:
    """Compare ranges; the new one breaks nothing if it lies within the old one."""
    ranges = [[each.get(name) for name in names] for each in (old, new)]
    if ranges[0] == ranges[1]:
        return
    (low, high), (new_low, new_high) = ranges
    is_within = (low is None or (new_low is not None and new_low >= low)) and (
        high is None or (new_high is not None and new_high <= high)
    )
    texts = [f"{_range(*each)} {unit}".rstrip() for each in ranges]
    yield SchemaChange(path, f"was {texts[0]} and is {texts[1]}", not is_within)


def _range(low: int | None, high: int | None) -> str:
    if high is None:
        return "any number of"
    return f"up to {high}" if low is None else str(low) if low == high else f"{low} to {high}"


# --- packages ---


def compare(packages: tuple[tuple[Package, bytes], tuple[Package, bytes]]) -> dict[str, Any]:
    """Return what differs between two packages, each with its file, as one JSON object.

    ==================  ============================================================================================
    key                 value
    ==================  ============================================================================================
    ``old``, ``new``    ``name``, ``version``, ``digest``, ``memory`` and ``memory_per_cpu`` (estimates in bytes)
    ``same``            nothing differs but maybe the bytes
    ``programs``, ``maps``, ``options``
                        ``added`` and ``removed`` (lists of objects), ``changed`` (list of ``name`` and ``changes``:
                        part → two values)
    ``helpers``, ``kfuncs``, ``facts``
                        ``added`` and ``removed`` (lists of names; of facts also what shows them)
    ``events``          ``verdict``: ``same``, ``compatible``, ``breaking`` or ``unknown``; ``changes``: list of ``path``,
                        ``text`` and ``breaking``
    ==================  ============================================================================================

    Raises:
        EcliError: An object is broken.
    """
    old, new = (Inspection(package, data, *any_object(package)).document for package, data in packages)
    for side in (old, new):
        for each in side["maps"]:  # those of data sections begin with the name of the package
            each["name"] = each["name"][max(each["name"].find("."), 0) :]
    events = [_events(package) for package, _data in packages]
    document: dict[str, Any] = {
        "old": _head(old),
        "new": _head(new),
        **{part: _compare_records(old[part], new[part]) for part in ("programs", "maps", "options")},
        **{part: _compare_names(old["behaviour"][part], new["behaviour"][part]) for part in ("facts", "helpers", "kfuncs")},
    }
    if events[0] is None or events[1] is None:
        document["events"] = {"verdict": "unknown", "changes": []}
    else:
        found = compare_events(events[0], events[1])
        verdict = "breaking" if any(each.is_breaking for each in found) else "compatible" if found else "same"
        changes = [{"path": each.path, "text": each.text, "breaking": each.is_breaking} for each in found]
        document["events"] = {"verdict": verdict, "changes": changes}
    parts = [document[part] for part in ("programs", "maps", "options", "facts", "helpers", "kfuncs")]
    document["same"] = not any(value for part in parts for value in part.values()) and document["events"]["verdict"] == "same"
    return document


def _head(document: Mapping[str, Any]) -> dict[str, Any]:
    maps = document["maps"]
    bounded = all(each["memory"] is not None for each in maps)
    return {
        "name": document["name"],
        "version": document["version"],
        "digest": document["file"]["digest"],
        "memory": sum(each["memory"] for each in maps) if bounded else None,
        "memory_per_cpu": sum(each["memory_per_cpu"] for each in maps),
    }


def _compare_records(old: list[dict[str, Any]], new: list[dict[str, Any]]) -> dict[str, list[Any]]:
    before, after = ({each["name"]: each for each in records} for records in (old, new))
    changed = []
    for name in before:
        if name in after and before[name] != after[name]:
            parts = {part: [value, after[name][part]] for part, value in before[name].items() if value != after[name][part]}
            changed.append({"name": name, "changes": parts})
    return {
        "added": [each for name, each in after.items() if name not in before],
        "removed": [each for name, each in before.items() if name not in after],
        "changed": changed,
    }


def _compare_names(old: Mapping[str, Any] | list[str], new: Mapping[str, Any] | list[str]) -> dict[str, Any]:
    return {
        "added": [name for name in new if name not in old],
        "removed": [name for name in old if name not in new],
    }
