"""JSON text to values, as ``json.loads`` does it and sooner.

``import json`` brings ``re``, ``enum`` and ``functools``: 8 ms, a fifth of the time from the start of a run to its first event.
The scanner that the ``json`` module hands all work to is a C function of its own, which needs none of them. Where Python has no
such function, and for all errors, ``json`` itself is asked.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    make_scanner: Callable[[object], Callable[[str, int], tuple[Any, int]]] | None
else:
    try:
        from _json import make_scanner
    except ImportError:  # not CPython
        make_scanner = None

_BLANKS = " \t\n\r"  # RFC 8259, section 2


def loads(text: str, object_of: Callable[[list[tuple[str, Any]]], Any], number_of: Callable[[str], Any]) -> Any:
    """Return the value that a JSON text stands for.

    Args:
        text: The text.
        object_of: Makes an object of its keys and values.
        number_of: Makes a number of what is no integer: fractions, exponents, ``NaN``, ``Infinity``.

    Raises:
        ValueError: As ``json.loads``: :class:`json.JSONDecodeError`, or an integer with too many digits.
        RecursionError: It is nested too deeply.
    """
    if make_scanner is not None:
        begin = len(text) - len(text.lstrip(_BLANKS))
        try:
            value, end = make_scanner(_Settings(object_of, number_of))(text, begin)
        except (StopIteration, ValueError, SystemError):  # the last: up to Python 3.12 it misses json's exception class
            pass
        else:
            if not text[end:].strip(_BLANKS):
                return value
    import json

    return json.loads(text, object_pairs_hook=object_of, parse_float=number_of, parse_constant=number_of)


class _Settings:
    """What the scanner asks for, as attributes (``c_make_scanner`` in CPython's Modules/_json.c)."""

    strict = True
    object_hook = None
    parse_int = int

    def __init__(self, object_of: Callable[[list[tuple[str, Any]]], Any], number_of: Callable[[str], Any]) -> None:
        self.object_pairs_hook = object_of
        self.parse_float = self.parse_constant = number_of
