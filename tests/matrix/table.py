"""The matrix as a table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tests.matrix.rows import ROWS

_MARKS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


@dataclass(frozen=True)
class Column:
    """What a guest said.

    Attributes:
        kernel: The kernel's name.
        head: What it said of itself: ``release``, ``machine``, ``libbpf`` and ``digest``; empty if it did not get there.
        cells: Row → cell.
        trouble: Why it ended before its time; empty if it did not.
        snapshot: What `ecli-py snapshot` says of its kernel; empty if it did not get there.
    """

    kernel: str
    head: dict[str, Any]
    cells: dict[str, dict[str, Any]]
    trouble: str = ""
    snapshot: str = ""


def table(columns: list[Column]) -> str:
    """Return the table in Markdown: a number of events, ``runs`` where none can be had, or a mark that is explained below."""
    marks: dict[str, str] = {}
    lines = ["| | " + " | ".join(column.kernel for column in columns) + " |", "|---|" + "---|" * len(columns)]
    for row in ROWS:
        cells = [_cell(column.cells.get(row.name), row.runs, marks) for column in columns]
        lines.append(f"| {row.name} | " + " | ".join(cells) + " |")
    passed = [sum("reason" not in cell for cell in column.cells.values()) for column in columns]
    lines.append("| **pass** | " + " | ".join(f"**{number} of {len(ROWS)}**" for number in passed) + " |")
    for column in columns:
        head = column.head
        if head:
            lines.append(f"\n{column.kernel}: {head['release']}, libbpf {head['libbpf']}, packages {head['digest'][:12]}")
    return "\n".join([*lines, "", *(f"- {mark}: {reason}" for reason, mark in marks.items())])


def _cell(cell: dict[str, Any] | None, runs: bool, marks: dict[str, str]) -> str:
    if cell is None:
        return "?"
    if "reason" not in cell:
        return "runs" if runs else str(cell["events"])
    lines = str(cell["reason"]).splitlines()
    # Where the verifier says that a helper is unknown only the hint names it.
    reason = "; ".join(line for line in lines if line.startswith(("hint: ", "error: ")) or line is lines[0])
    reason = reason.replace("error: ", "").replace("hint: ", "")
    number = len(marks)
    mark = _MARKS[number % len(_MARKS)] * (number // len(_MARKS) + 1)
    return f"({marks.setdefault(reason, mark)})"
