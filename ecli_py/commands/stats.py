"""``ecli-py stats``: what a run does and costs."""

from __future__ import annotations

import json

from ecli_py.control.client import ask, find_run, understood
from ecli_py.control.verbs import make_parser
from ecli_py.overhead import time_text
from ecli_py.render.plain import age_text, columns, one_line, size_text
from ecli_py.report import write_out

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

_NOT_MEASURED = "-"


def main(words: list[str]) -> int:
    """Show the numbers of a run; returns the exit status."""
    parser = make_parser("stats", "Show what a run has had from each map, what was lost, and what it costs.")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    arguments = parser.parse_args(words)
    answer = ask(find_run(arguments.run), {"do": "stats"})
    write_out(json.dumps(answer, indent=2) + "\n" if arguments.json else understood(_text, answer))
    return 0


def _text(stats: dict[str, Any]) -> str:
    return "".join(line + "\n" for line in _lines(stats))


def _lines(stats: dict[str, Any]) -> Iterator[str]:
    yield f"{stats['pid']:d} ({one_line(stats['name'])}): {one_line(stats['state'])}, for {age_text(stats['age_s'])}"
    counts = [f"{stats['events']:d} events, {stats['lost']:d} lost"]
    counts += [
        f"{stats[name]:d} {word}" for name, word in (("undecoded", "not decoded"), ("filtered", "left out")) if stats[name]
    ]
    yield f"{', '.join(counts)}; {stats['events_per_s']:.0f} events/s"
    memory = size_text(int(stats["memory_bytes"]))
    yield f"ecli-py itself: {stats['cpu']:.1%} of a CPU ({stats['cpu_s']:.1f} s in all), {memory} at most"
    if stats["maps"]:
        heading = ["MAP", "RECEIVED", "LOST", "NOT DECODED", "LEFT OUT", "FULLEST", "SIZE"]
        yield ""
        yield from columns([heading, *map(_map_row, stats["maps"])], indent="")
        for each in stats["maps"]:
            reasons = ", ".join(f"{count:d} {one_line(why)}" for why, count in each["reasons"].items())
            if reasons:
                yield f"lost: {one_line(each['name'])}: {reasons}"
    if stats["programs"]:
        yield ""
        heading = ["PROGRAM", "RUNS", "AVERAGE", "IN ALL", "MISSED"]
        yield from columns([heading, *map(_program_row, stats["programs"])], indent="")
        if all(each["runs"] is None for each in stats["programs"]):
            yield "programs are not measured: `ecli-py run --stats` does, and sysctl kernel.bpf_stats_enabled=1 for all of them"


def _map_row(each: dict[str, Any]) -> list[str]:
    has_buffer = each["size_bytes"] > 0
    return [
        one_line(each["name"]),
        *(f"{each[name]:d}" for name in ("received", "lost", "undecoded", "filtered")),
        f"{each['occupancy']:.0%}" if has_buffer else "",
        size_text(int(each["size_bytes"])) if has_buffer else "",
    ]


def _program_row(each: dict[str, Any]) -> list[str]:
    name, runs = one_line(each["name"]), each["runs"]
    if runs is None:
        return [name, *[_NOT_MEASURED] * 4]
    average = time_text(each["time_ns"] / runs) if runs else _NOT_MEASURED
    return [name, f"{runs:d}", average, time_text(each["time_ns"]), f"{each['missed']:d}"]
