"""Checks that tables are made of.

Each takes a parsed JSON value and returns it as the model has it, or raises :class:`Mismatch`. On the run path they
say, at a fraction of the cost, what the JSON Schemas say in full; a property test keeps the two in step.
"""

from __future__ import annotations

import sys

from .wording import MISSING, expected, step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeAlias, TypeVar

    from .model import Json

    T = TypeVar("T")
    Check: TypeAlias = Callable[[Json], T]
    Key: TypeAlias = tuple[str, Check[Any], str, bool]

MAX_DEPTH = 100  # of values that are kept as they are; far below the interpreter's recursion limit


class Mismatch(Exception):  # noqa: N818 - users never see it
    """A value is not what the format asks for.

    Attributes:
        message: What was expected and what was found.
        path: JSON path from the value being checked to the wrong one; it grows as the exception passes outwards.
    """

    def __init__(self, message: str, path: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.path = path


def boolean(what: str) -> Check[bool]:
    """Accept true and false, and no number in their place."""

    def check(value: Json) -> bool:
        if not isinstance(value, bool):
            raise Mismatch(expected(what, value))
        return value

    return check


def integer(what: str, minimum: int, maximum: int) -> Check[int]:
    """Accept integers of the closed range, and no boolean in their place."""

    def check(value: Json) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not minimum <= value <= maximum:
            raise Mismatch(expected(what, value))
        return value

    return check


def encodable(text: str) -> bool:
    """Tell whether ``text`` has no lone surrogate: JSON can escape one, UTF-8 cannot carry it (RFC 8259, 8.2)."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def is_text(text: str) -> bool:
    """Tell whether ``text`` can be given to C and to a terminal's encoder: no NUL, no lone surrogate."""
    return "\0" not in text and encodable(text)


def string(what: str, allowed: Callable[[str], bool], minimum: int = 0, maximum: int = sys.maxsize) -> Check[str]:
    """Accept strings of ``minimum`` to ``maximum`` characters for which ``allowed`` holds."""

    def check(value: Json) -> str:
        if not isinstance(value, str) or not minimum <= len(value) <= maximum or not allowed(value):
            raise Mismatch(expected(what, value))
        return value

    return check


def one_of(*words: str) -> Check[str]:
    """Accept one of ``words``."""
    what = " or ".join(f'"{word}"' for word in words)
    return string(what, words.__contains__)


def anything(value: Json) -> Json:
    """Accept any JSON that is not nested deeper than ``MAX_DEPTH`` and that can be written again."""
    _bounded(value, MAX_DEPTH)
    return value


def _bounded(value: Json, depth: int) -> None:
    if depth == 0:
        raise Mismatch(f"nested deeper than {MAX_DEPTH} levels")
    if isinstance(value, str) and not encodable(value):
        raise Mismatch(expected("text without lone surrogates", value))
    if isinstance(value, list):
        for item in value:
            _bounded(item, depth - 1)
    elif isinstance(value, dict):
        for key, item in value.items():
            _bounded(key, depth - 1)
            _bounded(item, depth - 1)


def _within(key: str | int, check: Check[T], value: Json) -> T:
    try:
        return check(value)
    except Mismatch as mismatch:
        mismatch.path = step(key) + mismatch.path
        raise


def list_of(what: str, check: Check[T], minimum: int = 0, maximum: int = sys.maxsize) -> Check[tuple[T, ...]]:
    """Accept a list (of ``what``) of ``minimum`` to ``maximum`` items that all pass ``check``."""
    what = f"a list of {what}"

    def check_list(value: Json) -> tuple[T, ...]:
        if not isinstance(value, list) or not minimum <= len(value) <= maximum:
            raise Mismatch(expected(what, value))
        return tuple([_within(index, check, item) for index, item in enumerate(value)])

    return check_list


def mapping_of(what: str, check: Check[T]) -> Check[dict[str, T]]:
    """Accept an object with any keys that are text, whose values all pass ``check``."""

    def check_mapping(value: Json) -> dict[str, T]:
        if not isinstance(value, dict):
            raise Mismatch(expected(what, value))
        for key in value:
            if not is_text(key):
                raise Mismatch(expected("keys without NUL characters", key))
        return {key: _within(key, check, item) for key, item in value.items()}

    return check_mapping


def required(key: str, check: Check[T], into: str | None = None) -> Key:
    """Describe a key that must be there; its value becomes the argument ``into``, by default named like the key."""
    return key, check, key if into is None else into, True


def optional(key: str, check: Check[T], into: str | None = None) -> Key:
    """Describe a key that may be absent or null, which leaves the argument out; ``into=""``: only check the value."""
    return key, check, key if into is None else into, False


def record(what: str, build: Callable[..., T], *keys: Key) -> Check[T]:
    """Accept an object by its keys and call ``build`` with what they hold; other keys are ignored, as upstream does."""

    def check_record(value: Json) -> T:
        if not isinstance(value, dict):
            raise Mismatch(expected(what, value))
        arguments = {}
        for key, check, into, must in keys:
            if must and key not in value:
                raise Mismatch(MISSING, step(key))
            item = value.get(key)
            if item is None and not must:
                continue
            item = _within(key, check, item)
            if into:
                arguments[into] = item
        return build(**arguments)

    return check_record
