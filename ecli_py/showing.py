"""What `run` and `replay` have in common: how the user says what to show, and the line that closes a run."""

from __future__ import annotations

import sys
import time

from ecli_py.report import UsageError, in_colour, printable, terminal_columns, warn
from ecli_schemas.errors import EcliError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Literal

    from ecli_py.arguments import Values
    from ecli_py.output import Format
    from ecli_runtime.stream import MapStats, Stats

# Above this share of a ring buffer the program may have found it full between two looks.
_NEARLY_FULL = 0.9
_LOOK_S = 1.0

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

# Likewise; `handlers.py` reads them.
HANDLER_OPTIONS: tuple[tuple[str, dict[str, Any]], ...] = (
    (
        "--handler",
        {"action": "append", "metavar": "FILE", "help": "let events pass through an event handler, a Wasm module; repeatable"},
    ),
    (
        "--handler-option",
        {"action": "append", "metavar": "NAME=VALUE", "help": "option of event handlers, the package's own too; repeatable"},
    ),
    (
        "--handler-limit",
        {
            "action": "append",
            "metavar": "NAME=VALUE",
            "help": "what each of them may use: memory=64M, stack=1M, time=500ms, fuel=1000000, emitted=8M; repeatable",
        },
    ),
    (
        "--grant",
        {
            "action": "append",
            "metavar": "NAME",
            "help": "let handlers of --handler change this map, or use what WASI has that is harmless (wasi); repeatable",
        },
    ),
    (
        "--on-trap",
        {
            "metavar": "stop|pass|drop",
            "help": "when a handler traps: end the run (default), or go on with the event as it is, or without it",
        },
    ),
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
    said = [getattr(arguments, name) for name in ("sort", "top", "per_cpu", "delta", "rate", "folded", "flamegraph")]
    view = None
    if any(each is not None for each in said):
        from ecli_py.view import make_view

        view = make_view(arguments)
    return Format(kind, arguments.fields, arguments.where, columns, bool(columns) and in_colour(sys.stdout), view)


def parse_count(text: str) -> int:
    """Return a number of events.

    Raises:
        EcliError: It is none, or not positive.
    """
    if text.isascii() and text.isdigit() and len(text) < 19 and int(text) > 0:  # the most that fits into 64 bits has 19 digits
        return int(text)
    raise EcliError(f"--count: expected a number of events (at least 1), got {text!r}", "for example --count 10")


class LossWatch:
    """Says what a run loses: on stderr, and as marks in a stream of JSON lines.

    Each time it says what has come on top, so all together are the loss of the run.

    Args:
        stats: Returns what the run has done so far.
        as_json: Whether the stream is of JSON lines.
        note: Called with map, reason and count of what is said, for a recording.
    """

    def __init__(self, stats: Callable[[], Stats], as_json: bool, note: Callable[[str, str, int], object] | None = None) -> None:
        self._stats, self._as_json, self._note = stats, as_json, note
        self._told: dict[tuple[str, str], int] = {}
        self._next = time.monotonic() + _LOOK_S

    def look(self) -> bytes:
        """Say what is new, at most once a second, and return the marks, each with its line feed."""
        now = time.monotonic()
        if now < self._next:
            return b""
        self._next = now + _LOOK_S
        return self.end()

    def end(self) -> bytes:
        """Say at once what is new, and return the marks."""
        marks = []
        for each in self._stats().maps:
            for why, count in each.reasons:
                new = count - self._told.get((each.name, why), 0)
                if new > 0:  # a program may take back what it has counted
                    self._told[each.name, why] = count
                    marks.append(say_lost(each.name, new, why, self._as_json))
                    if self._note is not None:
                        self._note(each.name, why, new)
        return b"".join(marks)


def say_lost(map_name: str, count: int, why: str, as_json: bool) -> bytes:
    """Say on stderr that events are missing, and return the mark for a stream of JSON lines; nothing for another."""
    sys.stderr.write(printable(f"lost: {map_name} {count} ({why})\n"))
    return loss_mark(map_name, count, why) if as_json else b""


def loss_mark(map_name: str, count: int, why: str) -> bytes:
    """Return the line of JSON that stands where it was noticed that events are missing."""
    from ecli_py.render.jsonlines import to_json

    return (to_json({"@lost": {"map": map_name, "count": count, "why": why}}) + "\n").encode("utf-8", "backslashreplace")


def closing_lines(stats: Stats, filtered: bool = False) -> str:
    """Return the summary of a run, newlines included: a line for each map, if there are several, and one for all together.

    Args:
        stats: What the run has done.
        filtered: Whether a filter was at work, so that not all events were shown.
    """
    lines = [_map_line(each, filtered) for each in stats.maps] if len(stats.maps) > 1 else []
    count = stats.events + stats.filtered if filtered else stats.events
    return "".join([*lines, _summary(stats.events, count, filtered, stats.lost, stats.undecoded), f", {stats.seconds:.1f} s\n"])


def _map_line(each: MapStats, filtered: bool) -> str:
    summary = _summary(each.received - each.filtered, each.received, filtered, each.lost, each.undecoded)
    full = f", at most {each.occupancy:.0%} full" if each.size_bytes else ""  # else it is read, and nothing can be lost
    return printable(f"{each.name}: {summary}{full}\n")


def _summary(shown: int, count: int, filtered: bool, lost: int, undecoded: int) -> str:
    events = f"{shown} of {count}" if filtered else f"{count}"
    parts = [f"{events} event{'' if count == 1 else 's'}", f"{lost} lost"]
    if undecoded:
        parts.append(f"{undecoded} not decoded")
    return ", ".join(parts)


def warn_of_full_buffers(stats: Stats) -> None:
    """Say which buffers were too small, and what size would do."""
    for each in stats.maps:
        if each.was_full or each.occupancy > _NEARLY_FULL:
            warn(_describe_full(each))
    if not stats.maps and stats.occupancy > _NEARLY_FULL and not stats.lost:
        warn(f"the ring buffer was {stats.occupancy:.0%} full at times; events may have been lost")


def _describe_full(each: MapStats) -> str:
    from ecli_runtime.ring_sizes import LARGEST_SIZE_BYTES, size_text

    was_full = "was full" if each.was_full else f"was {each.occupancy:.0%} full at times; events may have been lost"
    larger = min(each.size_bytes * (4 if each.was_full else 2), LARGEST_SIZE_BYTES)
    advice = f"; --ring-size {each.name}={size_text(larger)} makes it larger" if larger > each.size_bytes else ""
    return f"the buffer of map {each.name} ({size_text(each.size_bytes)}) {was_full}{advice}"
