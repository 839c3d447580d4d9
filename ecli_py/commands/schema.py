"""``ecli-py schema``: what a package's events are, as JSON Schema or as a C header."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from ecli_py.marks import hook_mark_schema, loss_mark_schema, usage_mark_schema
from ecli_py.output import tags_of
from ecli_py.parser import Parser, add_fetch_options
from ecli_py.report import write_out
from ecli_py.source import any_object, find_source, parse_package
from ecli_runtime.decode.schema import plan_schema
from ecli_runtime.opening import OpenSession

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ecli_runtime.decode.plan import Plan
    from ecli_runtime.stream import Source
    from ecli_schemas.model import Package

_TEXT = {"type": "string"}
DIALECT = "https://json-schema.org/draft/2020-12/schema"


def main(words: list[str]) -> int:
    """Print the schema; returns the exit status."""
    parser = Parser("ecli-py schema", "Print what a package's events are: the JSON Schema of what `ecli-py run --json` writes.")
    parser.add_argument(
        "package", metavar="PACKAGE", help="file, - for standard input, URL, HOST/REPO:TAG, or name in a catalogue"
    )
    parser.add_argument("--raw", action="store_true", help="of what `run --json --raw` writes")
    add_fetch_options(parser)
    parser.add_argument("--object", metavar="FILE", help="ELF object, for upstream's metadata files")
    parser.add_argument(
        "--as",
        metavar="FORMAT",
        dest="form",
        choices=("json", "c"),
        default="json",
        help="json (default): JSON Schema; c: header for event handlers in C, ecli_events.h",
    )
    arguments = parser.parse_args(words)
    source = find_source(arguments.package, offline=arguments.offline, insecure=arguments.insecure)
    package = parse_package(source.data, arguments.object)
    if arguments.form == "c":
        write_out(_header(package, arguments.raw))
        return 0
    document = event_schema(package, raw=arguments.raw)
    write_out(json.dumps(document, indent=2, ensure_ascii=False) + "\n")
    return 0


def event_schema(package: Package, *, raw: bool = False) -> dict[str, Any]:
    """Return the JSON Schema of a package's events, those of this machine if there is an object for it.

    Args:
        package: The package.
        raw: As they are with ``--raw``.

    Raises:
        EcliError: Its object is broken, or of the other byte order.
    """
    _arch, elf = any_object(package)
    with OpenSession(package.replace(object=elf, objects={}, arches=())) as opened:
        opened.raw = raw
        sources = opened.sources()
        events = [_tagged(schema, sources, source, plan) for source in sources for schema, plan in _events(source)]
        events += [_object(f"of iterator {name}", {"program": {"const": name}, "line": _TEXT}) for name in opened.iterators()]
    events += [
        _object(f"lines of handler {each.name}", {"handler": {"const": each.name}, "line": _TEXT}) for each in package.wasm
    ]
    may_be_missing = [source.name for source in sources]  # what is read, too, where an event handler fails
    if may_be_missing:
        events.append(loss_mark_schema(may_be_missing))
    if package.hooks:
        events.append(hook_mark_schema(package.hooks))
    return {"$schema": DIALECT, "title": package.name, "anyOf": [*events, usage_mark_schema()]}


def _header(package: Package, raw: bool) -> str:
    from ecli_packager.handler.header import events_header

    _arch, elf = any_object(package)
    with OpenSession(package.replace(object=elf, objects={}, arches=())) as opened:
        opened.raw = raw
        return events_header(package.name, opened.btf, opened.sources())


def _events(source: Source) -> list[tuple[dict[str, Any], Plan | None]]:
    """Return the schema of each type of event of a map, and its plan where there is one."""
    if source.sample is not None:
        key, value = [plan_schema(plan) for plan in source.plans] if source.plans else [_TEXT] * 2
        if source.per_cpu:
            value = {"type": "array", "items": value}
        stacks = {}
        if source.stacks is not None:
            names = {"type": ["array", "null"], "items": {"type": "string"}}
            stacks = {"kernel_stack": names, "user_stack": names}
        members = {"value": value, **stacks} if source.keyless else {"key": key, "value": value, **stacks}
        return [(_object(f"{'of' if source.region else 'through map'} {source.name}", members), None)]
    if not source.plans:
        return [(_object(f"through map {source.name}", {"data": {"type": "string", "pattern": "^([0-9a-f]{2})*$"}}), None)]
    return [
        ({"description": f"{plan.type_name or 'event'}, through map {source.name}", **plan_schema(plan)}, plan)
        for plan in source.plans
    ]


def _tagged(schema: dict[str, Any], sources: Sequence[Source], source: Source, plan: Plan | None) -> dict[str, Any]:
    """Return a schema with the members that tell the events of several maps and types apart."""
    tags = dict(tags_of(sources, source, plan))
    properties = {**{name: {"const": text} for name, text in tags.items()}, **schema["properties"]}
    return {**schema, "properties": properties, "required": [*tags, *schema["required"]]}


def _object(description: str, properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "description": description,
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }
