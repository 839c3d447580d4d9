"""What libbpf has to say, kept for error messages instead of going to stderr."""

from __future__ import annotations

import sys

WARN, INFO, DEBUG = range(3)  # enum libbpf_print_level, libbpf.h

_MESSAGE_COUNT = 4000  # the verifier's log arrives as one message; this bounds many small ones

_messages: list[str] = []
_level = INFO


def set_verbose(verbose: bool) -> None:
    """Also write everything libbpf logs, debug messages included, to stderr."""
    global _level
    _level = DEBUG if verbose else INFO


def wants(level: int) -> bool:
    """Tell whether messages of a level are kept."""
    return level <= _level


def add(text: str) -> None:
    """Keep a message; the oldest go when there are too many."""
    _messages.append(text)
    if len(_messages) > 2 * _MESSAGE_COUNT:
        del _messages[:-_MESSAGE_COUNT]
    if _level == DEBUG:
        sys.stderr.write(text)


def take() -> str:
    """Return what was logged since the last call, and forget it."""
    text = "".join(_messages)
    _messages.clear()
    return text
