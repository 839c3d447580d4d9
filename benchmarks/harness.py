"""What all benchmarks share: rounds that are interleaved, ratios within a round, and children that are measured from outside.

Absolute times differ from run to run by as much as the neighbours of this machine please; the ratio of two things measured
within milliseconds of each other does not. So each round measures every contender once, and what is reported is the median of
the rounds' ratios.
"""

from __future__ import annotations

import os
import select
import signal
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TypeVar

T = TypeVar("T")

PATIENCE_MS = 30_000  # after which a child that shows nothing counts as broken


class UnavailableError(Exception):
    """Something cannot be measured on this machine; the text says why."""


@dataclass(frozen=True)
class Target:
    """The ratio of two contenders, or the figure of one, and what it should be at most.

    Attributes:
        subject: Contender that is judged.
        base: Contender that it is compared with; empty: the figure itself is judged.
        at_most: Where the target is met; ``None``: there is none, the ratio is only shown.
        aim: What would be better still; 0 for nothing.
    """

    subject: str
    base: str = ""
    at_most: float | None = None
    aim: float = 0


@dataclass
class Result:
    """What a benchmark measured.

    Attributes:
        title: What was measured, for people.
        unit: Of the figures.
        targets: What to compare.
        figures: One figure for each round, by contender.
        missing: Contenders that could not be measured, and why.
        beside: What else the same rounds measured.
    """

    title: str
    unit: str
    targets: Sequence[Target]
    figures: Mapping[str, Sequence[float]] = field(default_factory=dict)
    missing: Mapping[str, str] = field(default_factory=dict)
    beside: Sequence[Result] = ()

    def values(self, target: Target) -> list[float] | None:
        """Return the ratio (or figure) of each round; ``None`` where a contender is missing."""
        if target.subject not in self.figures or (target.base and target.base not in self.figures):
            return None
        if not target.base:
            return list(self.figures[target.subject])
        return [one / other for one, other in zip(self.figures[target.subject], self.figures[target.base], strict=True)]

    def is_met(self, target: Target) -> bool | None:
        """Tell whether the median meets the target; ``None`` where there is none or nothing was measured."""
        values = self.values(target)
        return None if values is None or target.at_most is None else statistics.median(values) <= target.at_most


@dataclass(frozen=True)
class Benchmark:
    """A benchmark that ``run.py`` knows.

    Attributes:
        name: For ``--only``.
        measure: Measures that many rounds.
        rounds: As many as it takes for a steady median, if the user asks for no other number.
    """

    name: str
    measure: Callable[[int], Result]
    rounds: int


def go_first(pid: int, priority: int = 1) -> None:
    """Let a process run before all others of the machine, if that is permitted: what else runs should not count."""
    with suppress(PermissionError):
        os.sched_setscheduler(pid, os.SCHED_RR, os.sched_param(priority))


def interleave(contenders: Mapping[str, Callable[[], T]], rounds: int, uncounted: int = 1) -> dict[str, list[T]]:
    """Measure A B C, A B C, …; a round before that warms caches and is not counted.

    Real-time priority, which children inherit: on a machine that has other things to do, a process that lives longer than a
    time slice would look slower than it is against one that does not.
    """
    figures: dict[str, list[T]] = {name: [] for name in contenders}
    policy, parameters = os.sched_getscheduler(0), os.sched_getparam(0)
    go_first(0)
    try:
        for round_number in range(rounds + uncounted):
            for name, measure in contenders.items():
                figure = measure()
                if round_number >= uncounted:
                    figures[name].append(figure)
    finally:
        os.sched_setscheduler(0, policy, parameters)
    return figures


def child_environment() -> dict[str, str]:
    """Return the environment of what is measured: without variables that change how Python writes, compiles or finds modules."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}


def run_ms(words: list[str]) -> float:
    """Run a command that prints to nowhere; return the milliseconds from its start until it has ended."""
    nowhere = [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_RDWR, 0) for fd in (0, 1, 2)]
    environment = child_environment()
    begin = time.perf_counter_ns()
    pid = os.posix_spawn(words[0], words, environment, file_actions=nowhere)
    _, status = os.waitpid(pid, 0)
    elapsed_ns = time.perf_counter_ns() - begin
    if status:
        raise UnavailableError(f"`{' '.join(words)}` ended with status {os.waitstatus_to_exitcode(status)}")
    return elapsed_ns / 1e6


def peak_memory_mb(pid: int) -> float:
    """Return the most memory that a process had resident so far, in megabytes (10^6 bytes).

    From /proc and not from wait4(2), whose ``ru_maxrss`` includes what the parent had when it forked.
    """
    return _memory_mb(pid, "VmHWM")


def memory_mb(pid: int) -> float:
    """Return the memory that a process has resident now, in megabytes."""
    return _memory_mb(pid, "VmRSS")


def _memory_mb(pid: int, name: str) -> float:
    with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as status:
        for line in status:
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) * 1024 / 1e6
    raise UnavailableError(f"/proc/PID/status has no {name}")


@dataclass(frozen=True)
class FirstLine:
    """A child that has just written its first line.

    Attributes:
        text: The line.
        elapsed_ms: Milliseconds since just before it was started.
        pid: Its process, which still runs.
    """

    text: str
    elapsed_ms: float
    pid: int


@contextmanager
def first_line(words: list[str]) -> Iterator[FirstLine]:
    """Start a command, wait for its first line on standard output, and kill it at the end of the block.

    Starting it is a posix_spawn(3), which copies nothing of this process, and waiting is one poll(2): what this side adds to
    the time is the same for all, and under a tenth of a millisecond.
    """
    environment = child_environment()
    reader, writer = os.pipe()
    with tempfile.TemporaryFile() as errors:
        actions = [
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_DUP2, writer, 1),
            (os.POSIX_SPAWN_DUP2, errors.fileno(), 2),
        ]
        poll = select.poll()
        poll.register(reader, select.POLLIN)
        begin = time.perf_counter_ns()
        pid = os.posix_spawn(words[0], words, environment, file_actions=actions)
        os.close(writer)
        try:
            text = b""
            while b"\n" not in text:
                chunk = os.read(reader, 65536) if poll.poll(PATIENCE_MS) else b""
                if not chunk:
                    errors.seek(0)
                    said = errors.read().decode("utf-8", "replace").strip().splitlines()
                    raise UnavailableError(f"{os.path.basename(words[0])} showed no event" + (f": {said[-1]}" if said else ""))
                text += chunk
            elapsed_ms = (time.perf_counter_ns() - begin) / 1e6
            yield FirstLine(text.partition(b"\n")[0].decode("utf-8", "replace"), elapsed_ms, pid)
        finally:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            os.close(reader)
