"""``ecli-py set``: the global variables of a run, while it runs."""

from __future__ import annotations

import json

from ecli_py.control.client import ask, find_run, understood
from ecli_py.control.verbs import make_parser
from ecli_py.render.plain import columns, one_line
from ecli_py.report import UsageError, printable, write_out

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def main(words: list[str]) -> int:
    """Show or set variables; returns the exit status."""
    parser = make_parser("set", "Set global variables of the programs of a run, all or none; without any, show what there is.")
    parser.add_argument("assignments", metavar="NAME=VALUE", nargs="*", help="variable and its new value")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    arguments = parser.parse_args(words)
    values = dict(map(_split, arguments.assignments))
    run = find_run(arguments.run)
    answer = ask(run, {"do": "set", "values": values} if values else {"do": "variables"})
    if arguments.json:
        write_out(json.dumps(answer, indent=2) + "\n")
    else:
        write_out(understood(_changes if values else _table, answer))
    return 0


def _split(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise UsageError(f"expected NAME=VALUE, got {text!r}", "for example min_us=1000; `ecli-py set RUN` shows the names")
    return name, value


def _changes(answer: dict[str, Any]) -> str:
    return printable(
        "".join(f"{name} = {_shown(after)} (was {_shown(before)})\n" for name, (before, after) in answer["set"].items())
    )


def _table(answer: dict[str, Any]) -> str:
    rows = [["NAME", "TYPE", "VALUE", "TAKES"]]
    for each in answer["variables"]:
        takes = f"nothing: {each['fixed']}" if each["fixed"] else each["range"]
        rows.append([one_line(each["name"]), one_line(each["type"]), one_line(_shown(each["value"])), one_line(takes)])
    return "".join(line + "\n" for line in columns(rows, indent=""))


def _shown(value: object) -> str:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, (str, bool)) else str(value)
