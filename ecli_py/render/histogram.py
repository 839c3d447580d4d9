"""Power-of-two histograms as text."""

from __future__ import annotations

_BAR_WIDTH = 40


def log2_histogram(slots: list[int], unit: str) -> list[str]:
    """Return a histogram as lines: slot i counts values from 2^i to 2^(i+1) - 1, slot 0 those of 0 and 1.

    Args:
        slots: Counts.
        unit: Unit of the values, for the heading.
    """
    used = max((index + 1 for index, count in enumerate(slots) if count), default=0)
    if not used:
        return ["(no values)"]
    ranges = [(0 if index == 0 else 1 << index, (2 << index) - 1) for index in range(used)]
    digits = len(str(ranges[-1][1]))
    digits = max(digits, (len(unit) - 4 + 1) // 2)
    most = max(slots)
    width = max(len(str(most)), 5)
    lines = [f"{unit:>{2 * digits + 4}} : {'count':<{width}}  distribution"]
    for (low, high), count in zip(ranges, slots, strict=False):
        bar = "*" * (count * _BAR_WIDTH // most)
        lines.append(f"{low:>{digits}} -> {high:<{digits}} : {count:<{width}} |{bar:<{_BAR_WIDTH}}|")
    return lines
