"""``ecli-py ps``: the runs that are open for control."""

from __future__ import annotations

import json
import sys

from ecli_py.control.client import find_runs
from ecli_py.parser import Parser
from ecli_py.render.plain import age_text, columns, one_line
from ecli_py.report import write_out

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ecli_py.control.client import Run

_HEADING = ["PID", "NAME", "AGE", "STATE", "EVENTS", "LOST", "EVENTS/S", "CPU"]
_SILENT = "no answer"


def main(words: list[str]) -> int:
    """List runs; returns the exit status."""
    parser = Parser(
        "ecli-py ps",
        "List the runs of this user that are open for control (`ecli-py run --control`); for root, of all users.",
        "EVENTS/S and CPU are of the last second; CPU is that of ecli-py itself, a share of one CPU. A run that gives "
        "`no answer` is stopped, or waits for whoever reads its output.",
    )
    parser.add_argument("--json", action="store_true", help="a list of JSON objects")
    arguments = parser.parse_args(words)
    runs = find_runs()
    if arguments.json:
        write_out(json.dumps([{"pid": run.pid, **(run.status or {"state": _SILENT})} for run in runs], indent=2) + "\n")
    elif runs:
        write_out("".join(line + "\n" for line in columns([_HEADING, *map(_row, runs)], indent="")))
    else:
        sys.stderr.write("no run is open for control; `ecli-py run --control` opens one\n")
    return 0


def _row(run: Run) -> list[str]:
    status = run.status
    if status is None:
        return [str(run.pid), "", "", _SILENT, "", "", "", ""]
    return [
        str(run.pid),
        one_line(status["name"]),
        age_text(status["age_s"]),
        one_line(status["state"]),
        str(status["events"]),
        str(status["lost"]),
        f"{status['events_per_s']:.0f}",
        f"{status['cpu']:.1%}",
    ]
