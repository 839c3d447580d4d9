"""What goes to stderr: errors with their hints, and text that cannot harm a terminal."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ecli_schemas.errors import EcliError


def printable(text: str) -> str:
    """Return text with its control characters escaped: those of a package must not reach the terminal."""
    return text if text.isprintable() else "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in text)


def report(error: EcliError) -> None:
    """Write an error and its hint to stderr."""
    sys.stderr.write(printable(f"error: {error}\n" + (f"hint: {error.hint}\n" if error.hint else "")))
