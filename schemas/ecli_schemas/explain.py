"""What a JSON Schema has against a document, in words. Slow to import: only for documents known to be wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .wording import MISSING, expected, step

if TYPE_CHECKING:
    from jsonschema.exceptions import ValidationError

    from .model import Json


def explain(document: Json) -> list[str]:
    """Return all violations of the schema for this kind of document, as ``path: message``, in reading order.

    What a schema cannot say is not among them: base64, the size of the object, options of the same name.

    Raises:
        ImportError: jsonschema is not installed.
    """
    from jsonschema import Draft202012Validator
    from referencing import Registry
    from referencing.jsonschema import DRAFT202012

    names = ("upstream.schema.json", "package.schema.json")
    schemas = {name: json.loads(Path(__file__).with_name(name).read_text("utf-8")) for name in names}
    registry = Registry().with_resources((name, DRAFT202012.create_resource(schema)) for name, schema in schemas.items())
    validator = Draft202012Validator({"$ref": _schema_for(document)}, registry=registry)
    lines: dict[str, tuple[list[int], str]] = {}
    for error in validator.iter_errors(document):
        for path, message in _told(error):
            lines.setdefault("$" + "".join(map(step, path)), (_place(document, path), message))
    ordered = sorted(lines.items(), key=lambda line: line[1][0])
    return [f"{path}: {message}" for path, (_, message) in ordered]


def _schema_for(document: Json) -> str:
    if isinstance(document, dict) and "ecli" in document:
        return "package.schema.json"
    if isinstance(document, dict) and "bpf_skel" in document:
        return "upstream.schema.json#/$defs/metadata"
    return "upstream.schema.json"


def _told(error: ValidationError) -> list[tuple[list[str | int], str]]:
    """Return path and message of each thing that ``error`` reports; the titles in the schemas say what is expected."""
    path = list(error.absolute_path)
    schema: Any = error.schema
    instance: Any = error.instance
    if error.validator == "required":
        return [([*path, key], MISSING) for key in schema["required"] if key not in instance]
    return [(path, expected(schema["title"], instance))]


def _place(document: Json, path: list[str | int]) -> list[int]:
    """Return a sort key: the place of each step among its siblings; missing keys come last."""
    place = []
    for key in path:
        if isinstance(document, dict) and isinstance(key, str):
            siblings = list(document)
            place.append(siblings.index(key) if key in document else len(siblings))
            document = document.get(key)
        elif isinstance(document, list) and isinstance(key, int):
            place.append(key)
            document = document[key]
    return place
