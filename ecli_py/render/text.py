"""What has no columns as text for people: entries of maps and samples of types that are not known, and lines of iterators."""

from __future__ import annotations

import time

from ecli_py.render.jsonlines import to_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ecli_runtime.decode.events import Event


def event_text(event: Event, time_s: float) -> str:
    """Return an event as lines: the time, in seconds since the epoch, and its values; of an iterator its line."""
    if event.source.lines:  # as the program has laid it out
        return _text(event["line"].expandtabs()) + "\n"
    now = time.strftime("%H:%M:%S", time.localtime(time_s))
    return "  ".join([now, *(_text(value) for value in event.values())]) + "\n"


def _text(value: Any) -> str:
    if isinstance(value, str):
        # A control character from a sample must not reach the terminal.
        return value if value.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return str(value)
    return to_json(value)
