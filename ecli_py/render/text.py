"""What has no columns as text for people: readings of maps, and samples of a type that is not known."""

from __future__ import annotations

import time

from ecli_py.render.histogram import log2_histogram
from ecli_py.render.jsonlines import to_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ecli_runtime.decode.events import Event


def event_text(event: Event, time_s: float) -> str:
    """Return an event as lines: the time, in seconds since the epoch, and its values, or a histogram; of an iterator its line."""
    if event.source.lines:  # as the program has laid it out
        return _text(event["line"].expandtabs()) + "\n"
    now = time.strftime("%H:%M:%S", time.localtime(time_s))
    sample, value = event.source.sample, event.get("value")
    if sample is not None and sample.kind == "log2_hist" and isinstance(value, dict) and _are_counts(value.get("slots")):
        others = [f"{name} = {_text(member)}" for name, member in value.items() if name != "slots"]
        key = f"[{_text(event['key'])}]" if "key" in event else ""
        title = "  ".join([now, event.source.name + key, *others])
        return "\n".join([title, *log2_histogram(value["slots"], sample.unit or "value"), "", ""])
    return "  ".join([now, *(_text(value) for value in event.values())]) + "\n"


def _are_counts(slots: object) -> bool:
    return isinstance(slots, list) and all(isinstance(count, int) and count >= 0 for count in slots)


def _text(value: Any) -> str:
    if isinstance(value, str):
        # A control character from a sample must not reach the terminal.
        return value if value.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return str(value)
    return to_json(value)
