"""What `run` and `replay` have in common: how the user says what to show, and the line that closes a run."""

from __future__ import annotations

import sys

from ecli_py.report import UsageError, in_colour, terminal_columns
from ecli_schemas.errors import EcliError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Literal

    from ecli_py.arguments import Values
    from ecli_py.output import Format
    from ecli_runtime.stream import Stats

# Above this share of a ring buffer the program may have found it full between two looks.
_NEARLY_FULL = 0.9

# As ``add_option`` of `arguments.py` takes them.
OUTPUT_OPTIONS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("--json", {"action": "store_true", "help": "one JSON object a line instead of columns"}),
    ("--csv", {"action": "store_true", "help": "comma-separated values, with a heading"}),
    (
        "--fields",
        {"metavar": "NAMES", "help": "members to show, in this order (pid,comm), or to leave out (--fields=-uid)"},
    ),
    ("--where", {"metavar": "EXPR", "help": "only events for which this holds: 'duration_ns > 1ms and comm =~ \"ssh*\"'"}),
    ("--raw", {"action": "store_true", "help": "values as they are: no times, addresses or names made of numbers"}),
    ("--count", {"metavar": "N", "help": "end after this many events"}),
)


def make_format(arguments: Values) -> Format:
    """Return how the user wants to see events, by the values of :data:`OUTPUT_OPTIONS`.

    Raises:
        UsageError: They exclude each other.
    """
    from ecli_py.output import Format

    if arguments.json and arguments.csv:
        raise UsageError("--json and --csv exclude each other", "choose one")
    kind: Literal["json", "csv", "text"] = "json" if arguments.json else "csv" if arguments.csv else "text"
    columns = terminal_columns() if kind == "text" else 0
    return Format(kind, arguments.fields, arguments.where, columns, bool(columns) and in_colour(sys.stdout))


def parse_count(text: str) -> int:
    """Return a number of events.

    Raises:
        EcliError: It is none, or not positive.
    """
    if text.isascii() and text.isdigit() and len(text) < 19 and int(text) > 0:  # the most that fits into 64 bits has 19 digits
        return int(text)
    raise EcliError(f"--count: expected a number of events (at least 1), got {text!r}", "for example --count 10")


def closing_line(stats: Stats) -> str:
    """Return the summary of a run, newline included."""
    parts = [f"{stats.events} event{'' if stats.events == 1 else 's'}", f"{stats.lost} lost"]
    if stats.undecoded:
        parts.append(f"{stats.undecoded} not decoded")
    parts.append(f"{stats.seconds:.1f} s")
    line = ", ".join(parts) + "\n"
    if stats.occupancy > _NEARLY_FULL and not stats.lost:
        line += f"warning: the ring buffer was {stats.occupancy:.0%} full at times; events may have been lost\n"
    return line
