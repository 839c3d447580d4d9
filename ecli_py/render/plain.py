"""Text of a package on a terminal: one line, no control characters, aligned columns, sizes for people."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


def one_line(text: str) -> str:
    """Return text as one line: blanks and line breaks become single spaces, other characters that do not print are escaped."""
    line = " ".join(text.split())
    return line if line.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in line)


def columns(rows: Sequence[Sequence[str]], indent: str = "  ") -> Iterator[str]:
    """Yield rows as lines with aligned cells; a column of numbers is aligned to the right, headings do not count."""
    if not rows:
        return
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    right = [all(cell.isdigit() or not cell for cell in column[1:]) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [
            cell.rjust(width) if is_right else cell.ljust(width) for cell, width, is_right in zip(row, widths, right, strict=True)
        ]
        yield (indent + "  ".join(cells)).rstrip()


def size_text(size_bytes: int) -> str:
    """Return a size with a binary unit: ``512 B``, ``1.3 MiB``."""
    if size_bytes < 1024:
        return f"{size_bytes} B"
    size = float(size_bytes)
    for unit in ("KiB", "MiB", "GiB", "TiB", "PiB"):
        size /= 1024
        if size < 1000 or unit == "PiB":
            break
    return f"{size:.1f} {unit}".replace(".0 ", " ")


def age_text(seconds: float) -> str:
    """Return how long something has lasted, in its two greatest units: ``42s``, ``3m 20s``, ``2h 5m``, ``9d 4h``."""
    whole = int(seconds)
    for size, unit, smaller_size, smaller in ((86400, "d", 3600, "h"), (3600, "h", 60, "m"), (60, "m", 1, "s")):
        if whole >= size:
            return f"{whole // size}{unit} {whole % size // smaller_size}{smaller}"
    return f"{whole}s"
