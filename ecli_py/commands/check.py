"""``ecli-py check``: whether a package runs on some kernels, with nothing loaded and nothing booted."""

from __future__ import annotations

import json
import os
import sys

from ecli_py import snapshots
from ecli_py.parser import Parser, add_fetch_options
from ecli_py.report import UsageError, in_colour, printable, write_out
from ecli_py.source import find_source, parse_package
from ecli_runtime.attach.options import AttachOptions, parse_targets
from ecli_runtime.portability.verdict import check_package

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from ecli_runtime.portability.snapshot import Snapshot
    from ecli_runtime.portability.verdict import Verdict

_COLOURS = {"runs": "32", "alternative": "33", "fails": "31"}
_WORDS = {"runs": "runs", "alternative": "runs with an alternative", "fails": "fails"}
_REASONS_SHOWN = 8


def main(words: list[str]) -> int:
    """Check a package; returns the exit status: 1 if it fails on one of the kernels."""
    parser = Parser(
        "ecli-py check",
        "Tell whether a package runs on kernels, from snapshots of them, and why not. Nothing is loaded; no privileges are "
        "needed. Checked are types, helpers, kernel functions, maps, kinds of programs, byte code and attach targets.",
        "Exit status: 0 if it runs on all of them, 1 if it fails on one.",
    )
    parser.add_argument("package", metavar="PACKAGE", help="file, URL, place in a registry, or - for standard input")
    parser.add_argument(
        "--against",
        metavar="SNAPSHOT",
        nargs="+",
        action="extend",
        help="file or address of a snapshot, kernel image, or directory with those, as /boot (default: the running kernel)",
    )
    parser.add_argument(
        "--attach",
        metavar="PROG=TARGET",
        action="append",
        default=[],
        help="attach a program there, as `run` does; repeatable",
    )
    parser.add_argument("--disable", metavar="PROG", action="append", default=[], help="leave a program out; may be repeated")
    parser.add_argument(
        "--set", metavar="NAME=VALUE", action="append", default=[], help="give a global variable a value; repeatable"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object: `kernels`, a list of verdicts, and `runs`")
    parser.add_argument("-v", "--verbose", action="store_true", help="show the verdict on each program, and all reasons")
    add_fetch_options(parser)
    arguments = parser.parse_args(words)
    source = find_source(arguments.package, offline=arguments.offline, insecure=arguments.insecure)
    package = parse_package(source.data)
    options = AttachOptions(targets=parse_targets(arguments.attach), disabled=tuple(arguments.disable))
    values = dict(_pair(word) for word in arguments.set)
    fails = False
    documents = []
    show_colour = in_colour(sys.stdout)
    for snapshot in _kernels(arguments.against):
        verdict = check_package(package, snapshot, options, values)
        fails |= verdict.outcome == "fails"
        if arguments.json:
            documents.append(_document(verdict))
        else:
            write_out("".join(line + "\n" for line in _lines(verdict, show_colour, arguments.verbose)))
    if arguments.json:
        write_out(json.dumps({"package": package.name, "runs": not fails, "kernels": documents}, indent=2) + "\n")
    return 1 if fails else 0


def _pair(word: str) -> tuple[str, str]:
    name, equals, value = word.partition("=")
    if not name or not equals:
        raise UsageError(f"--set: expected NAME=VALUE, got {word!r}", "for example --set only_pid=1")
    return name, value


def _kernels(sources: list[str] | None) -> Iterator[Snapshot]:
    if not sources:
        yield snapshots.running()
    for each in sources or ():
        yield from snapshots.load(os.fspath(each))


def _lines(verdict: Verdict, colour: bool, verbose: bool) -> Iterator[str]:
    kernel = printable(f"{verdict.snapshot.release} ({verdict.snapshot.machine})")
    word = _WORDS[verdict.outcome]
    shown = f"\x1b[{_COLOURS[verdict.outcome]}m{word}\x1b[0m" if colour else word
    yield f"{kernel}: {shown}"
    for hook in verdict.hooks:
        if hook.alternative and (verbose or not hook.is_first):
            yield printable(f"  {hook.name}: {', '.join(f'{name} at {place}' for name, place in hook.programs.items())}")
        elif not hook.alternative:
            yield printable(f"  {hook.name}: no alternative is possible" + (", and it may be missing" if hook.optional else ""))
    grouped: dict[tuple[str, str], list[str]] = {}
    for program, problem in verdict.reasons() if verdict.outcome == "fails" else ():
        grouped.setdefault((problem.text, problem.hint), []).append(program)
    limit = len(grouped) if verbose else _REASONS_SHOWN
    for (text, hint), programs in list(grouped.items())[:limit]:
        where = ", ".join(filter(None, programs))
        yield printable(f"  {where}: {text}" if where else f"  {text}") + (printable(f" -> {hint}") if hint else "")
    if len(grouped) > limit:
        yield f"  and {len(grouped) - limit} more; --verbose shows all"
    if verbose:
        for each in verdict.programs:
            why = "; ".join(problem.text for problem in each.problems)
            yield printable(f"  {each.name} ({each.section}): {why or 'runs'}")


def _document(verdict: Verdict) -> dict[str, Any]:
    def said(problems: Any) -> list[dict[str, str]]:
        return [{"topic": each.topic, "text": each.text, "hint": each.hint} for each in problems]

    kernel = {name: getattr(verdict.snapshot, name) for name in ("release", "version", "machine", "source")}
    return {
        **kernel,
        "verdict": verdict.outcome,
        "reasons": said(problem for _program, problem in verdict.reasons()) if verdict.outcome == "fails" else [],
        "object": said(verdict.problems),
        "programs": [
            {
                "name": each.name,
                "section": each.section,
                "runs": not each.problems,
                "spare": each.spare,
                "reasons": said(each.problems),
            }
            for each in verdict.programs
        ],
        "hooks": [
            {
                "name": each.name,
                "alternative": each.alternative or None,
                "programs": each.programs,
                "preferred": each.is_first,
                "optional": each.optional,
            }
            for each in verdict.hooks
        ],
    }
