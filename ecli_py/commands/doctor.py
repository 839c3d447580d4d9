"""``ecli-py doctor``: what this machine can do, and what to do about what it cannot."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

from ecli_py.parser import Parser
from ecli_py.report import in_colour, printable, write_out
from ecli_runtime.checkup import check_machine

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ecli_runtime.checkup import Finding

_MARKS = {"ok": ("ok", "32"), "gap": ("gap", "33"), "stop": ("STOP", "31"), "unknown": ("?", "33")}  # and colours


def main(words: list[str]) -> int:
    """Look at the machine; returns the exit status: 1 if no package can run."""
    parser = Parser(
        "ecli-py doctor",
        "Show what this machine can do with packages, by looking and by trying, and what to do about each gap.",
        "Exit status: 0, also with gaps, which matter to some packages only; 1 if no package can run.",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object: `findings`, a list, and `runs_packages`")
    arguments = parser.parse_args(words)
    findings = list(check_machine())
    can_run = not any(each.verdict == "stop" for each in findings)
    if arguments.json:
        names = ("topic", "name", "verdict", "detail", "hint")
        found = [{name: getattr(each, name) for name in names} for each in findings]
        write_out(json.dumps({"runs_packages": can_run, "findings": found}, indent=2) + "\n")
    else:
        write_out("".join(line + "\n" for line in _lines(findings, in_colour(sys.stdout))))
    return 0 if can_run else 1


def _lines(findings: Iterable[Finding], colour: bool) -> Iterator[str]:
    topic = ""
    for each in findings:
        if each.topic != topic:
            yield ("" if not topic else "\n") + each.topic.capitalize()
            topic = each.topic
        mark, code = _MARKS[each.verdict]
        shown = f"\x1b[{code}m{mark:4}\x1b[0m" if colour else f"{mark:4}"
        yield printable(f"{each.name:34}  {each.detail}").join((f"  {shown}  ", ""))
        if each.hint:
            yield printable(f"        -> {each.hint}")
