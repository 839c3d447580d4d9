"""Predicates over samples: which are shown."""

from __future__ import annotations

import struct

from ecli_schemas.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeAlias

    Instruction: TypeAlias = tuple[Any, ...]


class Predicate(Record):
    """A postfix program over one stack, without jumps."""

    code: tuple[Instruction, ...]


def compile_predicate(predicate: Predicate, byteorder: str) -> Callable[[bytes, int, int], bool]:
    """Return the function that tells, from data, payload offset and payload length, whether a sample is shown."""

    def is_shown(data: bytes, offset: int, length: int) -> bool:
        stack: list[Any] = []
        for name, *rest in predicate.code:
            if name == "int":
                start, skipped = divmod(rest[0], 8)
                size = (skipped + rest[1] + 7) // 8
                whole = int.from_bytes(data[offset + start : offset + start + size], byteorder)  # type: ignore[arg-type]
                shift = skipped if byteorder == "little" else size * 8 - skipped - rest[1]
                value = whole >> shift & (1 << rest[1]) - 1
                stack.append(value - (1 << rest[1]) if rest[2] and value >> rest[1] - 1 else value)
            elif name == "float":
                layout = ("<" if byteorder == "little" else ">") + ("f" if rest[1] == 32 else "d")
                stack.append(struct.unpack_from(layout, data, offset + rest[0] // 8)[0])
            elif name == "string":
                end = offset + rest[0] + rest[1] if rest[1] else offset + length
                stack.append(data[offset + rest[0] : end].partition(b"\0")[0])
            elif name == "const":
                stack.append(rest[0])
            elif name == "not":
                stack.append(not stack.pop())
            else:
                right, left = stack.pop(), stack.pop()
                stack.append(_OPERATORS[rest[0] if rest else name](left, right))
        return bool(stack.pop())

    return is_shown


def _glob(text: bytes, pattern: bytes) -> bool:
    while pattern:
        if pattern[:1] == b"*":
            return any(_glob(text[at:], pattern[1:]) for at in range(len(text) + 1))
        if not text:
            return False
        if pattern[:1] == b"?":
            text, pattern = text[_character(text) :], pattern[1:]
            continue
        if pattern[:1] == b"\\" and len(pattern) > 1:
            pattern = pattern[1:]
        if text[0] != pattern[0]:
            return False
        text, pattern = text[1:], pattern[1:]
    return not text


def _character(text: bytes) -> int:
    for size in (1, 2, 3, 4):
        try:
            text[:size].decode()
        except UnicodeDecodeError:
            continue
        return min(size, len(text))
    return 1


_OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "==": lambda left, right: left == right,
    "!=": lambda left, right: left != right,
    "<": lambda left, right: left < right,
    "<=": lambda left, right: left <= right,
    ">": lambda left, right: left > right,
    ">=": lambda left, right: left >= right,
    "and": lambda left, right: left and right,
    "or": lambda left, right: left or right,
    "contains": lambda left, right: right in left,
    "glob": _glob,
}
