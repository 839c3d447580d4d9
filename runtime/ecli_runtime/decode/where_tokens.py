"""The words of ``--where``: an expression as tokens, and what its literals are worth."""

from __future__ import annotations

import re

from ecli_runtime.errors import WhereError
from ecli_schemas.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal as Choice
    from typing import TypeAlias

    TokenKind: TypeAlias = Choice["number", "text", "address", "word", "operator", "end", "other"]
    LiteralKind: TypeAlias = Choice["number", "duration", "size", "bool", "text", "address", "name", "flags"]

MAX_LENGTH = 4096

_TOKEN = re.compile(
    r"""\s*(?:
    (?P<address> [\da-f]*:[\da-f:.]*(?:/\d*)? | \d+\.\d+\.[\d.]*(?:/\d*)? )  # the language has no other use for a colon
  | (?P<number> \d(?:e[+-](?=\d)|[\w.\u00b5\u03bc])* )                      # with its unit, which may begin with either mu
  | (?P<text> "(?:[^"\\]|\\.)*" | '(?:[^'\\]|\\.)*' )
  | (?P<word> [a-z_]\w* )
  | (?P<operator> [=!]~ | [=!<>]= | && | \|\| | [=<>!&|()\[\].,-] )
  | (?P<end> \Z )
  | (?P<other> . )
    )""",
    re.VERBOSE | re.ASCII | re.DOTALL | re.IGNORECASE,
)
# Words that are not names, unless a dot stands before them.
KEYWORDS = frozenset(("and", "or", "not", "in", "true", "false"))

_RADIX = re.compile(r"(0x[\da-f]+(?:_[\da-f]+)*|0o[0-7]+(?:_[0-7]+)*|0b[01]+(?:_[01]+)*)([a-z]*)", re.ASCII | re.IGNORECASE)
_DIGITS = r"(\d+(?:_\d+)*)"
_QUANTITY = re.compile(rf"{_DIGITS}(?:\.{_DIGITS})?(?:e([+-]?\d{{1,3}}))?([a-z\u00b5\u03bc]*)", re.ASCII | re.IGNORECASE)

NANOSECONDS = {
    "ns": 1,
    "us": 10**3,
    "\u00b5s": 10**3,
    "\u03bcs": 10**3,
    "ms": 10**6,
    "s": 10**9,
    "m": 60 * 10**9,
    "h": 3600 * 10**9,
    "d": 86400 * 10**9,
}
# As coreutils have it: a letter alone counts by 1024, with a B by 1000. There is no m for mega: it is a minute.
_POWERS = {"k": 1, "K": 1, "M": 2, "G": 3, "T": 4}
BYTES = {
    "B": 1,
    **{letter + tail: 1024**power for letter, power in _POWERS.items() for tail in ("", "i", "iB")},
    **{letter + "B": 1000**power for letter, power in _POWERS.items()},
}
_UNITS = "durations take ns us ms s m h d, sizes K M G T (of 1024), KB MB GB TB (of 1000) or KiB MiB GiB TiB"

# A shell that has eaten the quotes is the usual reason.
QUOTING = "quote text, and the whole for the shell: --where 'comm == \"sh\"'"

_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "0": "\0"}
_ESCAPE = re.compile(r"\\(x[\da-fA-F]{2}|u[\da-fA-F]{4}|U[\da-fA-F]{8}|.)", re.DOTALL)


class Token(Record):
    """A word of an expression.

    Attributes:
        column: Where it begins, counted from 1.
    """

    kind: TokenKind
    text: str
    column: int


class Literal(Record):
    """A value that is written down, or a name whose value depends on what it is compared with.

    Attributes:
        text: As written.
        number: Numerator and denominator; of a duration in nanoseconds, of a size in bytes.
        data: Of a text, in UTF-8.
        parts: Of flags that are joined.
    """

    kind: LiteralKind
    text: str
    column: int
    number: tuple[int, int] = (0, 1)
    data: bytes = b""
    parts: tuple[Literal, ...] = ()


def tokenize(text: str) -> list[Token]:
    """Split an expression into tokens, the last of which is the end.

    Raises:
        WhereError: It is too long, or holds what is part of no token.
    """
    if len(text) > MAX_LENGTH:
        raise WhereError(f"expression is longer than {MAX_LENGTH} characters", MAX_LENGTH + 1)
    tokens = []
    for match in _TOKEN.finditer(text):
        kind: TokenKind = match.lastgroup  # type: ignore[assignment]
        token = Token(kind, match[kind], match.start(kind) + 1)
        if kind == "other":
            if token.text in "\"'":
                raise WhereError("text has no end", token.column, f"close it with {token.text}")
            raise WhereError(f"unexpected {token.text!r}", token.column, QUOTING)
        tokens.append(token)
        if kind == "end":
            break
    return tokens


def read_number(token: Token, negative: bool = False) -> Literal:
    """Return the value of a number, or of a duration such as ``1m30s``.

    Raises:
        WhereError: It is none, or has a unit that there is not.
    """
    text, column = token.text, token.column
    hint = f"octal numbers begin with 0o: 0o{text.lstrip('0')}" if re.fullmatch("0[0-7]+", text) else _UNITS
    error = WhereError(f"{text!r} is no number", column, hint)
    kinds: set[LiteralKind] = set()
    numerator, denominator = 0, 1
    at = 0
    while at < len(text):
        quantity = _read_quantity(text, at)
        if quantity is None or (kinds and kinds != {"duration"}):  # only durations have several parts
            raise error
        number, divisor, unit, at = quantity
        if unit and unit not in NANOSECONDS and unit not in BYTES:
            raise WhereError(f"{text!r} has an unknown unit, {unit!r},", column, _UNITS)
        kinds.add("duration" if unit in NANOSECONDS else "size" if unit else "number")
        number *= NANOSECONDS.get(unit) or BYTES.get(unit, 1)
        numerator, denominator = numerator * divisor + number * denominator, denominator * divisor
    if len(kinds) > 1:
        raise error
    sign = "-" if negative else ""
    return Literal(kinds.pop(), sign + text, column, (-numerator if negative else numerator, denominator))


def _read_quantity(text: str, at: int) -> tuple[int, int, str, int] | None:
    """Return numerator and denominator of a number, its unit, and where it ends; ``None`` if there is none."""
    match = _RADIX.match(text, at)
    if match is not None:
        return int(match[1], 0), 1, match[2], match.end()
    match = _QUANTITY.match(text, at)
    if match is None:
        return None
    whole, fraction, exponent, unit = match.groups("")
    if int(whole) and whole.startswith("0") and not (fraction or exponent or unit):
        return None  # 0644 is 420 in C, and an error in Python
    decimals = len(fraction.replace("_", ""))
    power = int(exponent or 0) - decimals
    number = int(whole) * 10**decimals + int(fraction or 0)
    return number * 10 ** max(power, 0), 10 ** max(-power, 0), unit, match.end()


def read_text(token: Token) -> Literal:
    r"""Return a quoted text. ``\*`` and ``\?`` keep their backslash, which a pattern needs.

    Raises:
        WhereError: It has an escape that there is not.
    """

    def character(match: re.Match[str]) -> str:
        escape = match[1]
        if len(escape) > 1 and int(escape[1:], 16) < 0x110000:
            return chr(int(escape[1:], 16))
        if escape in "\\\"'":
            return escape
        if escape in "*?":
            return match[0]
        if escape in _ESCAPES:
            return _ESCAPES[escape]
        hint = r"write \\ for a backslash; others: \n \r \t \0 \" \' \* \? \xHH \uHHHH \UHHHHHHHH"
        raise WhereError(f"unknown escape {match[0]!r}", token.column + 1 + match.start(), hint)

    text = _ESCAPE.sub(character, token.text[1:-1])
    try:  # bytes of the command line that were no UTF-8 are what they were
        return Literal("text", text, token.column, data=text.encode("utf-8", "surrogateescape"))
    except UnicodeEncodeError:
        raise WhereError("text holds half a surrogate pair", token.column) from None


def read_address(meaning: str, text: str) -> tuple[bytes, bytes] | None:
    """Return an address, or a prefix such as ``10.0.0.0/8``, as (bytes, mask); ``None`` if it is none of that kind.

    Args:
        meaning: ``ipv4``, ``ipv6`` or ``mac``. An IPv4 address is an IPv6 one too, mapped as sockets of both kinds have it.
        text: In the usual form.
    """
    if meaning == "mac":
        address = bytes.fromhex(text.replace(":", "")) if re.fullmatch(r"(?:[\da-fA-F]{2}:){5}[\da-fA-F]{2}", text) else None
        return None if address is None else (address, b"\xff" * 6)
    from socket import AF_INET, AF_INET6, inet_pton

    host, slash, tail = text.partition("/")
    family = AF_INET6 if ":" in host else AF_INET
    try:
        address = inet_pton(family, host)
    except (OSError, ValueError):
        return None
    bits = len(address) * 8
    if not slash:
        prefix = bits
    elif re.fullmatch(r"\d{1,3}", tail, re.ASCII) and int(tail) <= bits:
        prefix = int(tail)
    else:
        return None
    mask = ((1 << bits) - (1 << bits - prefix)).to_bytes(len(address), "big")
    if meaning == "ipv6" and family == AF_INET:
        address, mask = bytes(10) + b"\xff\xff" + address, b"\xff" * 12 + mask
    if len(address) != (16 if meaning == "ipv6" else 4):
        return None
    return bytes(a & b for a, b in zip(address, mask, strict=True)), mask


def read_device(text: str) -> int | None:
    """Return the number of a device that is written ``MAJOR:MINOR`` (MKDEV of include/linux/kdev_t.h), or ``None``."""
    match = re.fullmatch(r"(\d{1,4}):(\d{1,7})", text, re.ASCII)
    if match is None or int(match[1]) >= 1 << 12 or int(match[2]) >= 1 << 20:
        return None
    return int(match[1]) << 20 | int(match[2])
