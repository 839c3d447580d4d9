"""What a run costs, as text on stderr or marks in JSON, and a limit for it."""

from __future__ import annotations

import sys
import time

from ecli_py.render.jsonlines import to_json
from ecli_py.report import printable, warn
from ecli_schemas.errors import EcliError
from ecli_schemas.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from ecli_py.tool import Tool
    from ecli_runtime.stream import MapStats
    from ecli_runtime.usage import Usage

_LIMIT_LOOK_S = 1.0
_SHOWN_WAIT_S = 0.05


def parse_share(text: str) -> float:
    """Return a percentage of one CPU as a share: ``1%`` is 0.01.

    Raises:
        EcliError: It is none, or not positive.
    """
    try:
        percent = float(text.removesuffix("%"))
    except ValueError:
        percent = 0.0
    if 0 < percent < 1e6:
        return percent / 100
    raise EcliError(f"--max-overhead: expected a percentage of one CPU, got {text!r}", "for example 1% or 0.5%")


class Measuring(Record):
    """What the user wants to know of the cost of a run, and how much that may be.

    Attributes:
        as_json: What is said goes to the stream of JSON lines as marks, and not to stderr.
        shown: Whether it is said at all.
        interval_s: Seconds after which it is said while the run goes on; ``None``: only at the end.
        limit: What programs and process together may use of one CPU; ``None``: anything.
    """

    as_json: bool
    shown: bool
    interval_s: float | None
    limit: float | None

    def watch(self, tool: Tool, waited_s: Callable[[], float]) -> OverheadWatch:
        """Return what watches a tool that is measured.

        Args:
            tool: The tool.
            waited_s: Returns how many seconds its output has been waited for.
        """
        return OverheadWatch(tool, self, waited_s)


class OverheadWatch:
    """Says what a run costs, and sees that it does not cost too much; made by :meth:`Measuring.watch`."""

    def __init__(self, tool: Tool, wanted: Measuring, waited_s: Callable[[], float]) -> None:
        self._waited_s, self._last_waited_s = waited_s, 0.0
        self._tool, self._as_json, self._shown = tool, wanted.as_json, wanted.shown
        self._interval_s, self._limit = wanted.interval_s, wanted.limit
        self._last = self._limited = tool.usage()
        now = time.monotonic()
        self._due = float("inf") if self._interval_s is None else now + self._interval_s
        self._limit_due = float("inf") if self._limit is None else now + _LIMIT_LOOK_S
        self._warned = False

    def look(self) -> bytes:
        """Say what the last interval cost, if it is over, and look after the limit; return the marks."""
        now = time.monotonic()
        if now >= self._limit_due and self._limit is not None:
            self._limit_due = now + _LIMIT_LOOK_S
            self._look_after(self._limit)
        if now < self._due or self._interval_s is None:
            return b""
        self._due = max(self._due + self._interval_s, now)
        usage = self._tool.usage()
        before, self._last = self._last, usage
        waited_s = self._waited_s()
        before_s, self._last_waited_s = self._last_waited_s, waited_s
        return self._say(usage.since(before), waited_s - before_s, False)

    def end(self) -> bytes:
        """Say what the run cost in all, and return the mark."""
        return self._say(self._tool.usage(), self._waited_s(), True) if self._shown else b""

    def _say(self, usage: Usage, waited_s: float, whole: bool) -> bytes:
        maps = self._tool.stats.maps
        if self._as_json:
            return (to_json(usage_mark(usage, waited_s, maps, whole)) + "\n").encode("utf-8", "backslashreplace")
        sys.stderr.write(printable(usage_table(usage, waited_s, maps)))
        return b""

    def _look_after(self, limit: float) -> None:
        """Warn when the last second cost too much; when the one after it did, too, detach what can be spared, or end the run."""
        usage = self._tool.usage()
        last, self._limited = usage.since(self._limited), usage
        if last.share <= limit:
            self._warned = False
            return
        said = f"this run uses {last.share:.2%} of a CPU, more than the {limit * 100:g}% of --max-overhead"
        if not self._warned:
            self._warned = True
            warn(f"{said}; costliest: {_costliest(last)}")
            return
        optional = self._tool.optional_programs
        spared = max((each for each in last.programs if each.name in optional), key=lambda each: each.time_ns, default=None)
        if spared is None:
            warn(f"{said}, and no program is optional: it ends")
            self._tool.stop()
        else:
            warn(f"{said}: {spared.name} is detached")
            self._tool.detach(spared.name)


def _costliest(usage: Usage) -> str:
    parts = [(each.time_ns / 1e9, each.name) for each in usage.programs]
    seconds, name = max([*parts, (usage.cpu_s, "ecli-py itself")])
    return f"{name}, {seconds / usage.seconds:.2%}"


def usage_mark(usage: Usage, waited_s: float, maps: Sequence[MapStats], whole: bool) -> dict[str, Any]:
    """Return what stands in a stream of JSON lines, as ``marks.py`` describes it; arguments as :func:`usage_table`."""
    programs = [{"name": each.name, "runs": each.runs, "time_ns": each.time_ns, "missed": each.missed} for each in usage.programs]
    waited_ns = round(waited_s * 1e9)
    own = {"cpu_ns": round(usage.cpu_s * 1e9), "memory_bytes": usage.memory_bytes, "output_wait_ns": waited_ns}
    buffers = [
        {"name": each.name, "size_bytes": each.size_bytes, "occupancy": round(float(each.occupancy), 4)}
        for each in maps
        if each.size_bytes
    ]
    said = {"seconds": round(usage.seconds, 3), "whole_run": whole, "programs": programs, "ecli_py": own, "buffers": buffers}
    return {"@stats": said}


def usage_table(usage: Usage, waited_s: float, maps: Sequence[MapStats]) -> str:
    """Return what people read: a line for each program, one for this process, and one for each buffer.

    Args:
        usage: What was used in some time.
        waited_s: Seconds of that in which output was waited for.
        maps: What the run has had from each map so far.
    """
    from ecli_runtime.ring_sizes import size_text

    width = max([len(each.name) for each in usage.programs] + [16])
    lines = [f"{f'in {usage.seconds:.1f} s':<{width}}  {'RUNS':>12}  {'AVERAGE':>8}  {'OF A CPU':>8}  MISSED"]
    for each in usage.programs:
        average = time_text(each.time_ns / each.runs) if each.runs else "-"
        share = _share_text(each.time_ns / 1e9, usage.seconds)
        lines.append(f"{each.name:<{width}}  {each.runs:>12}  {average:>8}  {share:>8}  {each.missed}")
    share = _share_text(usage.cpu_s, usage.seconds)
    lines.append(
        f"{'ecli-py itself':<{width}}  {'-':>12}  {'-':>8}  {share:>8}  -  {usage.memory_bytes / (1 << 20):.1f} MiB at most"
    )
    if waited_s >= _SHOWN_WAIT_S:
        lines.append(f"output was waited for {waited_s:.1f} s")
    lines += [
        f"{each.name}: at most {each.occupancy:.0%} of {size_text(each.size_bytes)} full" for each in maps if each.size_bytes
    ]
    return "\n".join(lines) + "\n"


def time_text(time_ns: float) -> str:
    """Return a short time with its unit: ``1.5us``."""
    for unit_ns, unit in ((1e9, "s"), (1e6, "ms"), (1e3, "us")):
        if time_ns >= unit_ns:
            return f"{time_ns / unit_ns:.1f}{unit}"
    return f"{time_ns:.0f}ns"


def _share_text(seconds: float, of_seconds: float) -> str:
    return f"{seconds / of_seconds:.2%}" if of_seconds > 0 else "-"
