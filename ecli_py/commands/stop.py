"""``ecli-py stop``: a run ends in order."""

from __future__ import annotations

from ecli_py.control.client import END_S, understood
from ecli_py.control.verbs import tell
from ecli_py.report import printable, write_out

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def main(words: list[str]) -> int:
    """End a run, and wait until its programs are gone; returns the exit status."""
    description = "End a run as Ctrl-C does: its programs are detached, what is queued is shown. Returns when that is done."
    run, answer = tell(words, "stop", description, END_S)
    write_out(printable(f"{run} has ended: {understood(_summary, answer)}\n"))
    return 0


def _summary(answer: dict[str, Any]) -> str:
    undecoded = f", {answer['undecoded']:d} not decoded" if answer["undecoded"] else ""
    return f"{answer['events']:d} events, {answer['lost']:d} lost{undecoded}, {answer['seconds']:.1f} s"
