"""Events as JSON lines."""

from __future__ import annotations

import json
import math

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ecli_runtime.session import Event

_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


class JsonLines:
    """One JSON object for each event, members in the order of the C struct. NaN and infinity, which JSON lacks, are null."""

    def render(self, event: Event) -> str:
        """Return the line of an event, newline included."""
        try:
            return _encode(event) + "\n"
        except ValueError:
            return _encode(_without_nan(event)) + "\n"


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_nan(member) for name, member in value.items()}
    if isinstance(value, list):
        return [_without_nan(element) for element in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
