"""How a value of a document, and the way to it, are shown in a message: on one line, and nothing a terminal obeys."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .model import Json

MISSING = "missing"
_SHOWN_LENGTH = 40


def shown(value: Json) -> str:
    """Return ``value`` as JSON in ASCII, cut to a readable length; a list or an object only by its kind."""
    import json  # only where there is something to complain of

    if isinstance(value, (list, dict)):
        return "a list" if isinstance(value, list) else "an object"
    if isinstance(value, str) and len(value) > _SHOWN_LENGTH:
        return f"{json.dumps(value[:_SHOWN_LENGTH])}… ({len(value)} characters)"
    text = json.dumps(value)
    return text if len(text) <= 2 * _SHOWN_LENGTH else f"{text[:_SHOWN_LENGTH]}…"


def expected(what: str, value: Json) -> str:
    """Return the message for a value that is not ``what``."""
    return f"expected {what}, got {shown(value)}"


def step(key: str | int) -> str:
    """Return one step of a JSON path: ``[2]``, ``.name``, or ``["a b"]`` for a key that is no identifier."""
    if isinstance(key, int):
        return f"[{key}]"
    return f".{key}" if key.isascii() and key.isidentifier() else f"[{shown(key)}]"
