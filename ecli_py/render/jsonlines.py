"""Decoded values as JSON."""

from __future__ import annotations

# The C function that json.encoder uses; importing that would take a fifth of the time to the first event (`json_reader.py`).
try:
    from _json import encode_basestring as _quote
except ImportError:  # not CPython
    from json.encoder import encode_basestring as _quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def to_json(value: Any) -> str:
    """Return a decoded value as JSON without blanks; text is not reduced to ASCII, and NaN and infinity are null."""
    if isinstance(value, str):
        return _quote(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return int.__repr__(value)
    if isinstance(value, dict):
        return "{" + ",".join([f"{_quote(name)}:{to_json(member)}" for name, member in value.items()]) + "}"
    if isinstance(value, list):
        return "[" + ",".join([to_json(element) for element in value]) + "]"
    if isinstance(value, float) and value - value == 0:  # neither NaN nor infinite
        return float.__repr__(value)
    return "null"
