"""JSON Schema of the marks that stand between the events of ``run --json``."""

from __future__ import annotations

from ecli_runtime.stream import HANDLER_REASONS, REASONS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from ecli_schemas.model import Hook

_COUNT = {"type": "integer", "minimum": 0}


def loss_mark_schema(map_names: list[str]) -> dict[str, Any]:
    """Return the schema of what says that events of one of some maps are missing."""
    lost = _object(
        {"map": {"enum": map_names}, "count": {"type": "integer", "minimum": 1}, "why": {"enum": [*REASONS, *HANDLER_REASONS]}}
    )
    return {"description": "a mark: so many events are missing since the last such mark of the map", **_object({"@lost": lost})}


def hook_mark_schema(hooks: Sequence[Hook]) -> dict[str, Any]:
    """Return the schema of what says, at the end of a run, which alternative served one of some hooks."""
    text, maybe_text = {"type": "string"}, {"type": ["string", "null"]}
    refused = _object({"alternative": text, "program": maybe_text, "at": maybe_text, "why": text})
    said = {
        "hook": {"enum": [hook.name for hook in hooks]},
        "alternative": maybe_text,
        "programs": {"type": "array", "items": _object({"name": text, "at": text})},
        "refused": {"type": "array", "items": refused},
    }
    return {"description": "a mark: which alternative served a hook, null: none did", **_object({"@hook": _object(said)})}


def usage_mark_schema() -> dict[str, Any]:
    """Return the schema of what says, with ``--stats``, what the run costs."""
    program = _object({"name": {"type": "string"}, "runs": _COUNT, "time_ns": _COUNT, "missed": _COUNT})
    own = _object({"cpu_ns": _COUNT, "memory_bytes": _COUNT, "output_wait_ns": _COUNT})
    share = {"type": "number", "minimum": 0, "maximum": 1, "description": "greatest share that was found filled so far"}
    buffer = _object({"name": {"type": "string"}, "size_bytes": _COUNT, "occupancy": share})
    said = {
        "seconds": {"type": "number", "minimum": 0},
        "whole_run": {"type": "boolean"},
        "programs": {"type": "array", "items": program},
        "ecli_py": own,
        "buffers": {"type": "array", "items": buffer},
    }
    return {"description": "a mark: what --stats says", **_object({"@stats": _object(said)})}


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}
