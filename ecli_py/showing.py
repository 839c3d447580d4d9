"""What `run` and `replay` have in common: how the user says what to show, and the line that closes a run."""

from __future__ import annotations

import os
import sys

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
    ("--sort", {"metavar": "NAME", "help": "of maps: member to sort entries by, greatest first; --sort=-NAME: least first"}),
    ("--top", {"metavar": "N", "help": "of maps: entries of each reading to show (on a terminal: 20); 0: all"}),
    (
        "--per-cpu",
        {"metavar": "sum|max|list", "help": "of per-CPU maps: what to make of the values (default: sum; with --json: list)"},
    ),
    ("--delta", {"action": "store_true", "help": "of maps: counters as what they have grown by since the reading before"}),
    ("--rate", {"action": "store_true", "help": "of maps: the same, per second"}),
    ("--folded", {"action": "store_true", "help": "of stack traces: one line each at the end, as flame graph tools read it"}),
    ("--flamegraph", {"metavar": "FILE", "help": "of stack traces: write a flame graph (SVG) at the end"}),
    ("--count", {"metavar": "N", "help": "end after this many events"}),
)


def make_format(arguments: Values) -> Format:
    """Return how the user wants to see events, by the values of :data:`OUTPUT_OPTIONS`.

    Raises:
        EcliError: They exclude each other.
    """
    from ecli_py.output import Format

    if arguments.json and arguments.csv:
        raise EcliError("--json and --csv exclude each other", "choose one")
    kind: Literal["json", "csv", "text"] = "json" if arguments.json else "csv" if arguments.csv else "text"
    columns = 0
    if kind == "text" and sys.stdout.isatty():
        columns = os.get_terminal_size(1).columns
    colour = bool(columns) and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"
    said = [getattr(arguments, name) for name in ("sort", "top", "per_cpu", "delta", "rate", "folded", "flamegraph")]
    view = None
    if any(each is not None for each in said):
        from ecli_py.view import make_view

        view = make_view(arguments)
    return Format(kind, arguments.fields, arguments.where, columns, colour, view)


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
