"""What differs between two packages, as text for people. All of it may be hostile: only what prints leaves this module."""

from __future__ import annotations

import json

from ecli_py.render.inspection import FACT_WORDS
from ecli_py.render.plain import one_line, size_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import Any

_VERDICTS = {
    "compatible": "compatible: a reader that was made for the old ones takes the new ones, too",
    "breaking": "breaking: a reader that was made for the old ones may fail",
    "unknown": "not known: an object is for machines of the other byte order",
}


def render(document: dict[str, Any]) -> str:
    """Return the text of a comparison (:func:`ecli_py.differences.compare`)."""
    old, new = document["old"], document["new"]
    lines = [f"{_title(old)} → {_title(new)}"]
    if old["digest"] == new["digest"]:
        return f"{_title(new)}: the same bytes\n"
    lines.append(f"{old['digest']} → {new['digest']}")
    if document["same"]:
        lines += ["", "Nothing differs in what it does and shows."]
    for heading, found in (
        ("What it can do", _names(document["facts"], lambda name: FACT_WORDS.get(name, name))),
        ("Programs", _records(document["programs"], lambda each: f"{each['type']} at {each['section']}")),
        ("Helpers and kernel functions", [*_names(document["helpers"]), *_names(document["kfuncs"])]),
        ("Maps", [*_records(document["maps"], lambda each: f"{each['type']}, {_memory(each)}"), *_memories(old, new)]),
        ("Options", _records(document["options"], lambda each: f"{each['type']}, default {_value(each['default'])}")),
    ):
        shown = [*found]
        if shown:
            lines += ["", heading, *shown]
    lines += _events(document["events"])
    return "".join(one_line(line) + "\n" if not line.startswith("  ") else f"  {one_line(line)}\n" for line in lines)


def _title(head: Mapping[str, Any]) -> str:
    return one_line(f"{head['name']} {head['version']}".strip())


def _names(part: Mapping[str, list[str]], text: Callable[[str], str] = str) -> Iterator[str]:
    for sign, names in (("-", part["removed"]), ("+", part["added"])):
        for name in names:
            yield f"  {sign} {text(name)}"


def _records(part: Mapping[str, list[dict[str, Any]]], text: Callable[[dict[str, Any]], str]) -> Iterator[str]:
    for sign, records in (("-", part["removed"]), ("+", part["added"])):
        for each in records:
            yield f"  {sign} {each['name']}: {text(each)}"
    for each in part["changed"]:
        changes = (f"{name} {_value(old)} → {_value(new)}" for name, (old, new) in each["changes"].items())
        yield f"  ~ {each['name']}: {', '.join(changes)}"


def _value(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _memory(each: Mapping[str, Any]) -> str:
    per_cpu = f" and {size_text(each['memory_per_cpu'])} per CPU" if each["memory_per_cpu"] else ""
    return ("memory without bound" if each["memory"] is None else size_text(each["memory"])) + per_cpu


def _memories(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    if _memory(old) != _memory(new):
        yield f"  all maps: {_memory(old)} → {_memory(new)}"


def _events(events: Mapping[str, Any]) -> Iterator[str]:
    if events["verdict"] in _VERDICTS:
        yield ""
        yield f"Events: {_VERDICTS[events['verdict']]}"
    for each in events["changes"]:
        yield f"  {'!' if each['breaking'] else '~'} {each['path']} {each['text']}"
