"""How text from a package or a sample is written, by where it stands."""

from __future__ import annotations

# The C function that json.encoder uses; importing that would take a fifth of the time to the first event.
try:
    from _json import encode_basestring as _quote
except ImportError:  # not CPython
    from json.encoder import encode_basestring as _quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Final, Literal, TypeAlias

    Escape: TypeAlias = Literal["raw", "json", "text", "shown json"]

RAW: Final = "raw"  # as it is: CSV
JSON: Final = "json"  # inside of the quotes of a JSON string
TEXT: Final = "text"  # in a column on a terminal: what would act on the terminal or hide is escaped as in Python
SHOWN_JSON: Final = "shown json"  # inside of the quotes of JSON in a column: the same, escaped as JSON can

# Control characters, and those that change the direction of text, join or hide characters, or are not seen themselves.
UNSAFE = (
    *((0x00, 0x1F), (0x7F, 0x9F), (0xAD, 0xAD), (0x61C, 0x61C), (0x200B, 0x200F), (0x2028, 0x202E), (0x2060, 0x206F)),
    *((0xFEFF, 0xFEFF), (0xFFF9, 0xFFFB), (0xE0000, 0xE007F)),
)

_text_escapes: dict[int, str] = {}
_json_escapes: dict[int, str] = {}


def _make_escapes() -> None:
    """Fill the two tables. Few runs need them."""
    for first, last in UNSAFE:
        for code in range(first, last + 1):
            _text_escapes[code] = ascii(chr(code))[1:-1]
            units = chr(code).encode("utf-16-be")
            _json_escapes[code] = "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))


def _translated(text: str, escapes: dict[int, str]) -> bytes:
    if text.isascii() and text.isprintable():
        return text.encode()
    if not escapes:
        _make_escapes()
    return text.translate(escapes).encode("utf-8", "replace")


ESCAPES: dict[Escape, Callable[[str], bytes]] = {
    RAW: lambda text: text.encode("utf-8", "replace"),
    JSON: lambda text: _quote(text)[1:-1].encode("utf-8", "replace"),
    TEXT: lambda text: _translated(text, _text_escapes),
    SHOWN_JSON: lambda text: _translated(_quote(text)[1:-1], _json_escapes),
}

_NUL_AND_ABOVE_ASCII = bytes((0, *range(0x80, 0x100)))
_CONTROLS = bytes(range(0x20))
_SPECIAL: dict[Escape, bytes] = {
    RAW: _NUL_AND_ABOVE_ASCII,
    JSON: _NUL_AND_ABOVE_ASCII + _CONTROLS + b'"\\',
    TEXT: _NUL_AND_ABOVE_ASCII + _CONTROLS + b"\x7f",
    SHOWN_JSON: _NUL_AND_ABOVE_ASCII + _CONTROLS + b'\x7f"\\',
}


def is_plain(text: bytes, escape: Escape) -> bool:
    """Tell whether a text, or all of several, is ASCII that is written as it is: then there is nothing to make."""
    return len(text.translate(None, _SPECIAL[escape])) == len(text)
