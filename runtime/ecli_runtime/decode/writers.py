"""What each instruction of a line program writes for one value: Python functions from a value to bytes.

A value is an ``int``, a ``float``, or the bytes where a string or an address is.
"""

from __future__ import annotations

from itertools import chain, repeat

from ecli_runtime.decode.escapes import ESCAPES, JSON, SHOWN_JSON, is_plain
from ecli_runtime.decode.lines import NS_PER_DAY, csv_cell

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any, TypeAlias

    from ecli_runtime.decode.lines import Cell, Value

    Writer: TypeAlias = Callable[[Any], bytes]


def make_writer(value: Value, symbol: Callable[[int], str] | None = None) -> Writer:
    """Return the function that writes a value; ``symbol`` names an address, or returns an empty text."""
    kind = value.kind
    if kind == "string":
        return _string(value)
    if kind == "names":
        return _names(value)
    if kind == "flags":
        return _flags(value)
    if kind == "float":
        return _float_or_null if value.escape in (JSON, SHOWN_JSON) else _float
    if kind == "duration":
        return lambda number: duration(number, value.unit_ns)
    if kind == "time":
        return lambda number: time_of_day(number, value.unit_ns, value.offset_ns)
    if kind == "dev":
        mask = (1 << value.bit_size) - 1
        return lambda number: b"%d:%d" % ((number & mask) >> 20, number & 0xFFFFF)
    if kind == "symbol":
        return lambda number: ((symbol(number) if symbol else "") or hex(number)).encode()
    return _PLAIN[kind]


def make_cell(cell: Cell) -> Callable[[bytes], bytes]:
    """Return the function that makes a cell of a text."""
    if cell.quoted:
        return csv_cell
    width, limit, right = cell.width, cell.limit, cell.right
    first = (limit - 1) // 2
    last = limit - 1 - first

    def pad(text: bytes) -> bytes:
        if not text.isascii():
            shown = text.decode()
            if 0 < limit < len(shown):
                shown = f"{shown[:first]}…{shown[len(shown) - last :]}"
            return (shown.rjust(width) if right else shown.ljust(width)).encode()
        if 0 < limit < len(text):
            return b"%b\xe2\x80\xa6%b" % (text[:first], text[len(text) - last :])
        return text.rjust(width) if right else text.ljust(width)

    return pad


def _string(value: Value) -> Writer:
    escape, way = ESCAPES[value.escape], value.escape

    def write(raw: bytes) -> bytes:
        text = raw.partition(b"\0")[0]
        return text if is_plain(text, way) else escape(text.decode("utf-8", "replace"))

    return write


def make_column(value: Value, cell: Cell | None) -> Callable[[Iterable[tuple[bytes]]], list[bytes]]:
    """Return the function that writes a string of each row at once: that none of them is special is asked of all together."""
    write = _string(value)
    finish = make_cell(cell) if cell is not None else None
    width = cell.width if cell is not None else 0

    def write_all(rows: Iterable[tuple[bytes]]) -> list[bytes]:
        texts = list(map(bytes.rstrip, chain.from_iterable(rows), repeat(b"\0")))
        together = b" ".join(texts)
        if not is_plain(together, value.escape):
            texts = list(map(write, texts))  # some, perhaps one
        if cell is None or finish is None:
            return texts
        if cell.quoted or cell.limit:
            return list(map(finish, texts))
        if together.isascii():  # then so is what was escaped
            return list(map(bytes.ljust, texts, repeat(width)))
        return list(map(finish, texts))

    return write_all


def _names(value: Value) -> Writer:
    names = dict(value.table)
    return lambda number: names.get(number) or b"%d" % number


def _flags(value: Value) -> Writer:
    names, bits, quote = dict(value.table), value.bits, value.quote
    mask = (1 << value.bit_size) - 1
    covered = sum(bit for bit, _name in bits)

    def write(number: int) -> bytes:
        found = names.get(number)
        if found is not None:
            return found
        rest = number & mask
        if rest == 0 or rest & ~covered:
            return b"%d" % number
        return quote + b"|".join([name for bit, name in bits if rest & bit]) + quote

    return write


def _float(number: float) -> bytes:
    return repr(number).encode()


def _float_or_null(number: float) -> bytes:
    return repr(number).encode() if number - number == 0 else b"null"  # neither NaN nor infinite


def duration(value: int, unit_ns: int) -> bytes:
    """Return a time span with three significant digits, or its two greatest units."""
    if value < 0:
        return b"-" + duration(-value, unit_ns)
    if value == 0:
        return b"0"
    span_ns = value * unit_ns
    if span_ns < 1000:
        return b"%dns" % span_ns
    if span_ns < 60 * 10**9:
        limit_ns, name = next(unit for unit in _SPANS if span_ns < unit[0] * 1000)
        if limit_ns == unit_ns:
            return b"%d%b" % (value, name)
        hundredths = span_ns * 100 // limit_ns
        if hundredths < 1000:
            return b"%d.%02d%b" % (hundredths // 100, hundredths % 100, name)
        if hundredths < 10000:
            return b"%d.%d%b" % (hundredths // 100, hundredths // 10 % 10, name)
        return b"%d%b" % (hundredths // 100, name)
    minutes, seconds = divmod(span_ns // 10**9, 60)
    if minutes < 60:
        return b"%dm%02ds" % (minutes, seconds)
    hours, minutes = divmod(minutes, 60)
    return b"%dh%02dm" % (hours, minutes) if hours < 24 else b"%dd%02dh" % divmod(hours, 24)


_SPANS = ((1000, b"us"), (10**6, b"ms"), (10**9, b"s"))


def time_of_day(value: int, unit_ns: int, offset_ns: int) -> bytes:
    """Return a clock's reading as the time of day; 0 is none."""
    if value == 0:
        return b"-"
    seconds, fraction_ns = divmod((value * unit_ns + offset_ns) % NS_PER_DAY, 10**9)
    return b"%02d:%02d:%02d.%06d" % (seconds // 3600, seconds // 60 % 60, seconds % 60, fraction_ns // 1000)


def size(size_bytes: int) -> bytes:
    """Return a size with a binary unit: ``512 B``, ``1.3 MiB``."""
    if size_bytes < 1024:
        return b"%d B" % size_bytes
    shown = float(size_bytes)
    for unit in (b"KiB", b"MiB", b"GiB", b"TiB", b"PiB"):
        shown /= 1024
        if shown < 1000 or unit == b"PiB":
            break
    return (b"%.1f %b" % (shown, unit)).replace(b".0 ", b" ")


def ipv6(raw: bytes) -> bytes:
    """Return an address of 16 bytes as RFC 5952 has it."""
    if raw.startswith(b"\0\0\0\0\0\0\0\0\0\0\xff\xff"):
        return b"::ffff:%d.%d.%d.%d" % tuple(raw[12:])
    groups = [raw[at] << 8 | raw[at + 1] for at in range(0, 16, 2)]
    begin = length = 0
    at = 0
    while at < 8:  # the first of the longest runs of two zeros or more
        end = at
        while end < 8 and groups[end] == 0:
            end += 1
        if end - at > max(length, 1):
            begin, length = at, end - at
        at = end + 1
    if not length:
        return b":".join([b"%x" % group for group in groups])
    left = b":".join([b"%x" % group for group in groups[:begin]])
    right = b":".join([b"%x" % group for group in groups[begin + length :]])
    return b"%b::%b" % (left, right)


_PLAIN: dict[str, Writer] = {
    "int": lambda number: b"%d" % number,
    "port": lambda raw: b"%d" % int.from_bytes(raw, "big"),
    "hex": lambda number: b"%x" % number,
    "bool": lambda number: b"true" if number else b"false",
    "bytes": size,
    "ipv4": lambda raw: b"%d.%d.%d.%d" % tuple(raw),
    "ipv6": ipv6,
    "mac": lambda raw: b"%02x:%02x:%02x:%02x:%02x:%02x" % tuple(raw),
}
