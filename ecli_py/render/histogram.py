"""Histograms as text: log2, log-linear and linear ones, drawn with bars."""

from __future__ import annotations

from ecli_py.render.plain import one_line, size_text
from ecli_runtime.decode.writers import duration
from ecli_schemas.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    Counts: TypeAlias = "list[int] | list[list[int]]"
    Bucket: TypeAlias = tuple[int, int, int]  # the least value, the one above the greatest, how many there were

_BAR_WIDTH = 40
_MIN_BAR_WIDTH = 10
_MAX_LINES = 64
_MAX_UNIT_LENGTH = 24
_EIGHTHS = " ▏▎▍▌▋▊▉"

_TIMES = {
    name: unit_ns
    for unit_ns, names in {
        1: "ns nsec nsecs nanosecond nanoseconds",
        1000: "us usec usecs microsecond microseconds",
        10**6: "ms msec msecs millisecond milliseconds",
        10**9: "s sec secs second seconds",
    }.items()
    for name in names.split()
}
_SIZES = {
    name: size
    for size, names in {1: "b byte bytes", 1 << 10: "kb kib kbytes", 1 << 20: "mb mib mbytes"}.items()
    for name in names.split()
}


class Look(Record):
    """How bars are drawn.

    Attributes:
        columns: Width of the terminal; 0: it is none.
        blocks: Bars are of Unicode's blocks, which are exact to an eighth of a column, else of asterisks.
    """

    columns: int = 0
    blocks: bool = False


def are_counts(slots: object) -> bool:
    """Tell whether a value is what a histogram can be made of: counts, or rows of as many counts each."""
    if not isinstance(slots, list) or not slots:
        return False
    if isinstance(slots[0], list):
        return bool(slots[0]) and all(isinstance(row, list) and len(row) == len(slots[0]) and are_counts(row) for row in slots)
    return all(type(count) is int and count >= 0 for count in slots)


def buckets(slots: Counts, is_linear: bool = False, width: int = 1) -> list[Bucket]:
    """Return the ranges of a histogram and their counts up to the last that counts anything, but for log2 from the first on.

    Slot i of a log2 histogram counts values from 2^i to 2^(i+1) - 1, slot 0 those of 0 and 1. Rows of slots make a log-linear
    one: row i has the same range, divided into as many equal parts as it has slots. Slot i of a linear one counts values from
    i * width on.

    Args:
        slots: Counts.
        is_linear: It is a linear histogram.
        width: Of its slots.
    """
    found: list[Bucket] = []
    rows = [row for row in slots if isinstance(row, list)]
    counts = [count for count in slots if isinstance(count, int)]
    if rows:
        for power, row in enumerate(rows[:_MAX_LINES]):
            bounds = [-(-(len(row) + at << power) // len(row)) for at in range(len(row) + 1)]  # rounded up
            if not power:
                bounds[0] = 0
            # A part that has no integer in it has no count either, or a wrong one, which is shown.
            found += [each for each in zip(bounds, bounds[1:], row, strict=False) if each[0] < each[1] or each[2]]
        found.append((1 << _MAX_LINES, 1 << _MAX_LINES + 1, sum(map(sum, rows[_MAX_LINES:]))))
        return _joined(_used(found))
    if is_linear:
        return _joined(_used([(at * width, (at + 1) * width, count) for at, count in enumerate(counts)]))
    found = [(1 << power if power else 0, 2 << power, count) for power, count in enumerate(counts[:_MAX_LINES])]
    if any(counts[_MAX_LINES:]):  # no number has so many bits
        found.append((1 << _MAX_LINES, 1 << _MAX_LINES + 1, sum(counts[_MAX_LINES:])))
    while found and not found[-1][2]:
        found.pop()
    return found


def _used(found: list[Bucket]) -> list[Bucket]:
    """Return the ranges from the first to the last that counts anything."""
    used = [index for index, (_low, _end, count) in enumerate(found) if count]
    return found[used[0] : used[-1] + 1] if used else []


def _joined(found: list[Bucket]) -> list[Bucket]:
    """Return ranges that are few enough to be looked at: neighbours become one."""
    step = -(-len(found) // _MAX_LINES)
    if step <= 1:
        return found
    groups = [found[at : at + step] for at in range(0, len(found), step)]
    return [(group[0][0], group[-1][1], sum(count for _low, _end, count in group)) for group in groups]


def histogram(slots: Counts, unit: str, look: Look, is_linear: bool = False) -> list[str]:
    """Return a histogram as lines.

    Args:
        slots: Counts, as :func:`buckets` reads them.
        unit: Of the values, for the heading. Times and sizes are written as such. A number before it is the width of the slots of
            a linear histogram: ``10 usecs``.
        look: How it is drawn.
        is_linear: It is a linear histogram.
    """
    width, name = _parse_unit(unit)
    found = buckets(slots, is_linear, width)
    if not found:
        return ["(no values)"]
    label = _labeller(name)
    if label is None:
        pairs = [(str(low), str(max(end - 1, low))) for low, end, _count in found]
        left, right = (max(map(len, column)) for column in zip(*pairs, strict=True))
        labels = [f"{low:>{left}} -> {high:<{right}}" for low, high in pairs]
    else:
        pairs = [(label(low), label(end)) for low, end, _count in found]
        left, right = (max(map(len, column)) for column in zip(*pairs, strict=True))
        labels = [f"[{low:>{left}}, {end + ')':<{right + 1}}" for low, end in pairs]
    name = one_line(name)[:_MAX_UNIT_LENGTH]
    label_width = max(len(labels[0]), len(name))
    count_width = max(len(str(max(count for _low, _end, count in found))), 5)
    before = label_width + count_width + 4
    bar_width = max(look.columns - before - 3, _MIN_BAR_WIDTH) if look.columns else _BAR_WIDTH
    draw = _bars(bar_width, max(count for _low, _end, count in found), look.blocks)
    lines = [f"{name:>{label_width}} : {'count':<{count_width}}  distribution"]
    for text, (_low, _end, count) in zip(labels, found, strict=True):
        lines.append(f"{text:>{label_width}} : {count:<{count_width}} |{draw(count)}|")
    return lines


def _parse_unit(unit: str) -> tuple[int, str]:
    number, _, name = unit.strip().partition(" ")
    if number.isascii() and number.isdigit() and 0 < len(number) < 16 and int(number):
        return int(number), name.strip() or "value"
    return 1, unit or "value"


def _labeller(name: str) -> Callable[[int], str] | None:
    """Return what writes values of a unit, ``None`` if it is none that has a better text than the number."""
    unit_ns, size = _TIMES.get(name.lower()), _SIZES.get(name.lower())
    if unit_ns is not None:
        return lambda value: duration(value, unit_ns).decode()
    if size is not None:
        return lambda value: size_text(value * size)
    return None


def _bars(width: int, most: int, blocks: bool) -> Callable[[int], str]:
    def stars(count: int) -> str:
        return ("*" * (count * width // most)).ljust(width)

    def eighths(count: int) -> str:
        whole, rest = divmod(count * width * 8 // most, 8)
        bar = "█" * whole + (_EIGHTHS[rest] if rest else "")
        return (bar or (_EIGHTHS[1] if count else "")).ljust(width)  # what is there is seen

    return eighths if blocks else stars
