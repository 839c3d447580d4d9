"""What goes to stdout and stderr: results, errors with their hints, and text that cannot harm a terminal."""

from __future__ import annotations

import os
import sys

from ecli_schemas.errors import EcliError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TextIO


class UsageError(EcliError):
    """The command line is wrong: the exit status is 2."""


def terminal_columns() -> int:
    """Return the width of the terminal that stdout is; 0: it is none, or has no width. ``COLUMNS`` comes first, as everywhere."""
    if not sys.stdout.isatty():
        return 0
    said = os.environ.get("COLUMNS", "")
    try:
        return int(said) if said.isascii() and said.isdigit() and 0 < int(said) < 10_000 else os.get_terminal_size(1).columns
    except OSError:
        return 0


def in_colour(stream: TextIO) -> bool:
    """Tell whether a stream is a terminal that shows colours, and nobody minds (https://no-color.org)."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM", "dumb") != "dumb"


def printable(text: str) -> str:
    """Return text with its control characters escaped: those of a package must not reach the terminal."""
    return text if text.isprintable() else "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in text)


def warn(text: str) -> None:
    """Write a warning to stderr."""
    sys.stderr.write(f"warning: {printable(text)}\n")


def write_out(result: str | bytes) -> None:
    """Write results to stdout, at once; bytes as they are.

    Raises:
        BrokenPipeError: Nobody reads it any more.
        EcliError: It cannot be written, for example to a full disk.
    """
    if isinstance(result, str):
        result = result.encode(sys.stdout.encoding, sys.stdout.errors or "strict")
    try:
        sys.stdout.flush()
        left = memoryview(result)
        # With PYTHONUNBUFFERED nothing but the descriptor is behind it, and a signal cuts a write to a pipe short.
        while left:
            left = left[sys.stdout.buffer.write(left) or 0 :]
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise EcliError(f"cannot write to standard output: {error.strerror}", "write it to another place") from error


def write_text(data: bytes) -> None:
    """Write text that is UTF-8 to stdout, at once, in the encoding of the terminal; errors as :func:`write_out`."""
    is_utf8 = sys.stdout.encoding.lower() in ("utf-8", "utf8")
    write_out(data if is_utf8 else data.decode("utf-8"))  # what the encoding lacks is escaped: cli.py


def report(error: EcliError) -> None:
    """Write an error and its hint to stderr."""
    sys.stderr.write(printable(f"error: {error}\n" + (f"hint: {error.hint}\n" if error.hint else "")))
