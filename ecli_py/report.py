"""What goes to stdout and stderr: results, errors with their hints, and text that cannot harm a terminal."""

from __future__ import annotations

import sys

from ecli_schemas.errors import EcliError


def printable(text: str) -> str:
    """Return text with its control characters escaped: those of a package must not reach the terminal."""
    return text if text.isprintable() else "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in text)


def write_out(result: str | bytes) -> None:
    """Write results to stdout, at once; bytes as they are.

    Raises:
        BrokenPipeError: Nobody reads it any more.
        EcliError: It cannot be written, for example to a full disk.
    """
    try:
        if isinstance(result, bytes):
            sys.stdout.buffer.write(result)
        else:
            sys.stdout.write(result)
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise EcliError(f"cannot write to standard output: {error.strerror}", "write it to another place") from error


def report(error: EcliError) -> None:
    """Write an error and its hint to stderr."""
    sys.stderr.write(printable(f"error: {error}\n" + (f"hint: {error.hint}\n" if error.hint else "")))
