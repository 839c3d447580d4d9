"""``make bench``: measure, and print ratios within this one run. A target that is missed is shown and fails nothing."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks import decode, handlers, live, startup, steady
from benchmarks.harness import Benchmark, Result, Target, UnavailableError

# All benchmarks. A new one is a module with one job whose BENCHMARKS are added here.
BENCHMARKS: tuple[Benchmark, ...] = (
    *startup.BENCHMARKS,
    *decode.BENCHMARKS,
    *handlers.BENCHMARKS,
    *live.BENCHMARKS,
    *steady.BENCHMARKS,
)


def main() -> int:
    """Run the benchmarks that were asked for."""
    names = [benchmark.name for benchmark in BENCHMARKS]
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__.partition(". ")[0] if __doc__ else "")
    parser.add_argument(
        "--only", metavar="NAME", action="append", choices=names, help=f"one of {', '.join(names)}; may be repeated"
    )
    parser.add_argument("--rounds", metavar="N", type=int, help="measure each contender that often")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write all figures to FILE, too")
    arguments = parser.parse_args()
    if arguments.rounds is not None and arguments.rounds < 1:
        parser.error("--rounds: at least 1")
    print(machine())
    results = {}
    for benchmark in BENCHMARKS:
        if arguments.only and benchmark.name not in arguments.only:
            continue
        rounds = arguments.rounds or benchmark.rounds
        print(f"\n{benchmark.name}: ", end="", flush=True)
        try:
            result = benchmark.measure(rounds)
        except UnavailableError as why:
            print(f"not measured: {why}")
            continue
        results[benchmark.name] = result
        for each in (result, *result.beside):
            print(f"{each.title} ({rounds} round{'' if rounds == 1 else 's'})")
            for line in table(each):
                print(line)
    if arguments.json:
        document = {"machine": machine(), "benchmarks": {name: as_json(result) for name, result in results.items()}}
        arguments.json.write_text(json.dumps(document, indent=2) + "\n")
    return 0


def machine() -> str:
    """Describe where this runs."""
    cpus = len(os.sched_getaffinity(0))
    return f"{cpus} CPU{'' if cpus == 1 else 's'}, Linux {platform.release()}, Python {platform.python_version()}"


def table(result: Result) -> Iterator[str]:
    """Write ratios first, with the medians that they come from beside them, then what each contender took, as lines."""
    for target in result.targets:
        values = result.values(target)
        if values is not None:
            name = f"{target.subject} / {target.base}" if target.base else f"{target.subject} ({result.unit})"
            spread = f"({min(values):.2f} to {max(values):.2f})"
            yield f"  {name:<34} {statistics.median(values):>6.2f}  {spread:<18} {verdict(result, target)}".rstrip()
    for name, figures in result.figures.items():
        yield f"    {name:<32} {statistics.median(figures):>8.1f} {result.unit} ({min(figures):.1f} to {max(figures):.1f})"
    for name, why in result.missing.items():
        yield f"    {name:<32} missing: {why}"


def verdict(result: Result, target: Target) -> str:
    """Say whether a target is met."""
    met = result.is_met(target)
    if met is None:
        return ""
    aim = f" (aim: {target.aim:g})" if target.aim else ""
    return f"target: at most {target.at_most:g}{aim}: {'met' if met else 'MISSED'}"


def as_json(result: Result) -> dict[str, object]:
    """Return a result as JSON carries it."""
    targets = []
    for target in result.targets:
        values = result.values(target)
        if values is not None:
            targets.append(
                {
                    "subject": target.subject,
                    "base": target.base or None,
                    "median": statistics.median(values),
                    "min": min(values),
                    "max": max(values),
                    "at_most": target.at_most,
                    "met": result.is_met(target),
                }
            )
    return {
        "title": result.title,
        "unit": result.unit,
        "ratios": targets,
        "figures": {name: list(figures) for name, figures in result.figures.items()},
        "missing": dict(result.missing),
        "beside": [as_json(each) for each in result.beside],
    }


if __name__ == "__main__":
    sys.exit(main())
