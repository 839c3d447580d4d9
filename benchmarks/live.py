"""Events that keep coming: what showing them costs the consumer, what being traced costs the caller, what is lost, and how late.

``c/calls.c`` makes a system call that does nothing, at a given rate, on a processor of its own; a contender shows each call that
was made, with eight members. So what is lost is known exactly: calls that were made less lines that were written.
"""

from __future__ import annotations

import json
import os
import re
import select
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

from benchmarks import tools
from benchmarks.harness import (
    PATIENCE_MS,
    Benchmark,
    Result,
    Target,
    UnavailableError,
    child_environment,
    go_first,
    interleave,
    peak_memory_mb,
)
from ecli_runtime.btf import Btf, Composite

OURS, OURS_TEXT, OURS_AT_ONCE = "ecli-py, JSON", "ecli-py, text", "ecli-py, JSON, --latency 0"
IN_C, IN_C_TEXT, IN_C_PAUSING = "C, JSON", "C, text", "C, JSON, 2 ms"
BPFTRACE, BCC, UNTRACED = "bpftrace", "bcc", "not traced"

SHOW_COST = (OURS, OURS_TEXT, IN_C, IN_C_TEXT, IN_C_PAUSING, BPFTRACE, BCC)
SHOW_LATENESS = (OURS, OURS_AT_ONCE, IN_C, IN_C_PAUSING, BPFTRACE, BCC)

# What is shown beside the targets.
OTHERS = (Target(OURS, IN_C), Target(OURS_TEXT, IN_C_TEXT), Target(OURS, IN_C_PAUSING), Target(OURS, BPFTRACE), Target(OURS, BCC))

# Where the calls look: one directory for those that are counted, one for those before.
COUNTED, WARM_UP = "/srv/data", "/srv/warm"

# Idle is who uses less than this in that time. What a contender does to look whether there is something is less.
IDLE_NS, IDLE_S = 500_000, 0.1

# bpftrace 0.17 was seen not to end at all.
LAST_MOMENTS_S = 3


@dataclass(frozen=True)
class Traffic:
    """How events come.

    Attributes:
        rate: Calls a second; 0: as many as go.
        ring_bytes: Size of the ring buffer; bpftrace has that much for each processor.
        warm_up_ms: How long they come before anything is counted: whoever turns to something faster at this rate has done so.
        counted_ms: How long they come then.
    """

    rate: int
    ring_bytes: int = 1 << 20
    warm_up_ms: int = 200
    counted_ms: int = 500


@dataclass(frozen=True)
class Calls:
    """What ``c/calls.c`` says: how many calls there were, and how long one, and all, took."""

    count: int
    mean_ns: int
    elapsed_ns: int

    @property
    def thousands_a_second(self) -> float:
        return self.count / self.elapsed_ns * 1e6


@dataclass(frozen=True)
class Cost:
    """What a contender took for the calls that were counted. ``cpu_ns`` is for each event that it showed."""

    calls: Calls
    cpu_ns: float = 0
    lost_percent: float = 0
    memory_mb: float = 0


@contextmanager
def _on_cpus(cpus: set[int]) -> Iterator[None]:
    """Let what is started in the block run on those processors only."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cpus)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _caller_cpu() -> int:
    return max(os.sched_getaffinity(0))


def make_calls(directory: str, rate: int, milliseconds: int) -> Calls:
    """Make calls at a rate, at least one; returns when they have been made."""
    words = [tools.c_program("calls"), directory, str(rate), str(milliseconds)]
    with _on_cpus({_caller_cpu()}):
        said = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=True).stdout
    return Calls(*map(int, said.split()))


class Consumer:
    """A contender at work, on all processors but the caller's.

    Args:
        words: Its command.
        stdout: Descriptor that it writes to.
        has_shown: Tells whether it has shown anything.
    """

    def __init__(self, words: Sequence[str], stdout: int, has_shown: Callable[[], bool]) -> None:
        self._has_shown = has_shown
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  closed by __exit__
        self._name = f"`{' '.join(words)}`"
        with _on_cpus(os.sched_getaffinity(0) - {_caller_cpu()}):
            self._process = subprocess.Popen(
                words, env=child_environment(), stdin=subprocess.DEVNULL, stdout=stdout, stderr=self._errors
            )
        self.pid = self._process.pid

    def __enter__(self) -> Consumer:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        self._errors.close()

    def _said(self) -> str:
        self._errors.seek(0)
        return self._errors.read().decode("utf-8", "replace").strip()

    def warm_up(self, traffic: Traffic) -> None:
        """Wait until it shows what is called, then let it show some more."""
        deadline = time.monotonic() + PATIENCE_MS / 1000
        while (ended := self._process.poll() is not None) or not self._has_shown():
            if ended or time.monotonic() > deadline:
                raise UnavailableError(f"{self._name} showed no event: {(self._said().splitlines() or [''])[-1]}")
            make_calls(WARM_UP, 1000, 1)
            time.sleep(0.02)
        make_calls(WARM_UP, traffic.rate, traffic.warm_up_ms)
        self.wait_until_idle()

    def cpu_ns(self) -> int:
        """Return the processor time that all its threads have used, those that have ended included, in nanoseconds."""
        # MAKE_PROCESS_CPUCLOCK(pid, CPUCLOCK_SCHED) of the kernel's posix-timers_types.h: what clock_getcpuclockid(3) returns.
        return time.clock_gettime_ns(~self.pid << 3 | 2)

    def wait_until_idle(self) -> None:
        """Wait until it has shown all that it had to."""
        deadline = time.monotonic() + PATIENCE_MS / 1000
        used_ns = -IDLE_NS
        while (now_ns := self.cpu_ns()) - used_ns >= IDLE_NS:
            if time.monotonic() > deadline:
                raise UnavailableError(f"{self._name} does not come to rest")
            used_ns = now_ns
            time.sleep(IDLE_S)

    def stop(self) -> str:
        """End it as Ctrl-C does, and return what it wrote to standard error."""
        self._process.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):  # it is killed then; what it had to show, it has shown
            self._process.wait(LAST_MOMENTS_S)
        return self._said()


@contextmanager
def _file_in_memory() -> Iterator[int]:
    fd = os.memfd_create("lines")
    try:
        yield fd
    finally:
        os.close(fd)


def _lines(fd: int) -> Iterator[bytes]:
    with open(f"/proc/self/fd/{fd}", "rb") as lines:
        yield from lines


def _has_warmed_up(fd: int) -> bool:
    return any(WARM_UP.encode() in line for line in _lines(fd))


def measure_cost(words: Sequence[str], traffic: Traffic) -> Cost:
    """Let a contender show events into a file in memory."""
    with _file_in_memory() as output, Consumer(words, output, partial(_has_warmed_up, output)) as consumer:
        consumer.warm_up(traffic)
        before_ns = consumer.cpu_ns()
        calls = make_calls(COUNTED, traffic.rate, traffic.counted_ms)
        consumer.wait_until_idle()
        used_ns = consumer.cpu_ns() - before_ns
        memory_mb = peak_memory_mb(consumer.pid)
        said = consumer.stop()
        shown = sum(COUNTED.encode() in line for line in _lines(output))
    if not shown:
        raise UnavailableError(f"`{' '.join(words)}` showed none of {calls.count} events")
    lost = calls.count - shown
    claim = re.search(r" (\d+) lost", said)  # ecli-py's last line, which speaks of those before, too
    if claim and int(claim[1]) < lost:
        raise UnavailableError(f"ecli-py lost {lost} events and says {claim[1]}")
    return Cost(calls, used_ns / shown, 100 * lost / calls.count, memory_mb)


def measure_lateness_us(words: Sequence[str], traffic: Traffic) -> tuple[float, float]:
    """Let a contender write into a pipe; return median and 99th percentile of the time from the event until its line is read.

    The reader runs before the caller, on the caller's processor, so that it takes nothing from the contender.
    """
    reading, writing = os.pipe()
    with _on_cpus({_caller_cpu()}):
        reader = subprocess.Popen([tools.c_program("lateness"), COUNTED], stdin=reading, stdout=subprocess.PIPE)
    os.close(reading)
    go_first(reader.pid, priority=2)
    assert reader.stdout is not None
    with reader, reader.stdout as answer:
        try:
            with Consumer(words, writing, lambda: bool(select.select([answer], [], [], 0)[0])) as consumer:
                os.close(writing)
                consumer.warm_up(traffic)
                calls = make_calls(COUNTED, traffic.rate, traffic.counted_ms)
                consumer.wait_until_idle()
                consumer.stop()
            _ready, count, median_ns, percentile_ns = answer.read().split()
        finally:
            reader.kill()
    if not int(count):
        raise UnavailableError(f"`{' '.join(words)}` showed none of {calls.count} events")
    return int(median_ns) / 1e3, int(percentile_ns) / 1e3


@cache
def _task_struct_offsets() -> list[str]:
    """Return where ``struct task_struct`` of this kernel has ``real_parent`` and ``tgid``, in bytes."""
    kernel = Btf(Path("/sys/kernel/btf/vmlinux").read_bytes())
    for _type_id, each in kernel.types():
        if isinstance(each, Composite) and each.name == "task_struct":
            bit_offsets = {member.name: member.bit_offset for member in each.members}
            return [str(bit_offsets[name] // 8) for name in ("real_parent", "tgid")]
    raise UnavailableError("the kernel's BTF has no struct task_struct")


def live_package(ring_bytes: int) -> Path:
    """Build the package that shows the calls, where they can be made and shown."""
    tools.need_kernel()
    if len(os.sched_getaffinity(0)) < 2:
        raise UnavailableError("it takes two processors: one for who makes the calls, one for who shows them")
    return tools.package("benchmarks/bpf/live.bpf.c", f"live-{ring_bytes}", "-D", f"RING_BYTES={ring_bytes}")


def _commands(names: Sequence[str], ring_bytes: int) -> tuple[dict[str, list[str]], dict[str, str]]:
    """Return the commands of contenders, and why others are missing."""
    page_count = ring_bytes // os.sysconf("SC_PAGESIZE")
    package = live_package(ring_bytes)
    run = [tools.ECLI, "run", str(package)]

    def in_c(form: str, pause_us: int) -> list[str]:
        return [tools.c_program("live", with_libbpf=True), str(tools.elf_object(package)), form, str(pause_us)]

    def bpftrace() -> list[str]:
        return ["/usr/bin/env", f"BPFTRACE_PERF_RB_PAGES={page_count}", tools.bpftrace(), "-q", _peer("live.bt")]

    def bcc() -> list[str]:
        return [tools.python_with_bcc(), _peer("live_bcc.py"), str(page_count), *_task_struct_offsets()]

    ways: Mapping[str, Callable[[], list[str]]] = {
        OURS: lambda: [*run, "--json"],
        OURS_TEXT: lambda: run,
        OURS_AT_ONCE: lambda: [*run, "--json", "--latency", "0"],
        IN_C: lambda: in_c("json", 0),
        IN_C_TEXT: lambda: in_c("text", 0),
        IN_C_PAUSING: lambda: in_c("json", 2000),
        BPFTRACE: bpftrace,
        BCC: bcc,
    }
    commands, missing = {}, {}
    for name in names:
        try:
            commands[name] = ways[name]()
        except UnavailableError as why:
            missing[name] = str(why)
    return commands, missing


def _peer(name: str) -> str:
    return str(tools.ROOT / "benchmarks" / "peers" / name)


def _shown(name: str, words: Sequence[str], members: Sequence[str]) -> dict[str, str]:
    """Let a contender show one call; return its members, as text. Only time and process differ between contenders."""
    one = Traffic(rate=1000, warm_up_ms=1)
    with _file_in_memory() as output, Consumer(words, output, partial(_has_warmed_up, output)) as consumer:
        consumer.warm_up(one)
        make_calls(COUNTED, one.rate, 1)
        consumer.wait_until_idle()
        consumer.stop()
        line = next((line for line in map(bytes.decode, _lines(output)) if COUNTED in line), "{}")
    if name in (OURS_TEXT, IN_C_TEXT):
        shown = dict(zip(members, line.split()[1:], strict=False))  # the time of day comes first
    else:
        shown = {member: str(value) for member, value in json.loads(line).items()}
    return {member: "…" if member in ("ts", "pid") and value.isdigit() else value for member, value in shown.items()}


@cache
def _unfit() -> dict[str, str]:
    """Return the contenders that do not show the same as ecli-py, and what they do instead."""
    commands, _missing = _commands(SHOW_COST, USUAL.ring_bytes)
    ours = _shown(OURS, commands[OURS], ())
    unfit = {}
    for name, words in commands.items():
        try:
            shown = _shown(name, words, list(ours))
        except UnavailableError as why:
            unfit[name] = str(why)
        else:
            if list(shown.items()) != list(ours.items()):
                unfit[name] = f"shows {shown}, ecli-py {ours}"
    return unfit


def _contenders(names: Sequence[str], ring_bytes: int) -> tuple[dict[str, list[str]], dict[str, str]]:
    """Return the commands of contenders that show the same, and why others are missing."""
    commands, missing = _commands(names, ring_bytes)
    for name, why in _unfit().items():
        if commands.pop(name, None):
            missing[name] = why
    return commands, missing


def cost(traffic: Traffic, targets: Sequence[Target], rounds: int) -> Result:
    """Measure what showing events costs, and what it costs to be traced."""
    commands, missing = _contenders(SHOW_COST, traffic.ring_bytes)
    measures: dict[str, Callable[[], Cost]] = {name: partial(measure_cost, words, traffic) for name, words in commands.items()}
    measures[UNTRACED] = lambda: Cost(make_calls(COUNTED, traffic.rate, traffic.counted_ms))
    costs = interleave(measures, rounds, uncounted=0)

    def figures(figure: Callable[[Cost], float], *others: str) -> dict[str, list[float]]:
        return {name: [figure(each) for each in costs[name]] for name in (*commands, *others)}

    ring = f"ring buffer of {traffic.ring_bytes >> 20} MiB"
    beside = [
        Result("mean time of the call that is traced", "ns", (Target(OURS, IN_C),), figures(lambda c: c.calls.mean_ns, UNTRACED)),
        Result(f"events lost, {ring}", "%", (), figures(lambda c: c.lost_percent)),
        Result(f"peak memory (VmHWM), {ring}", "MB", (MEMORY,), figures(lambda c: c.memory_mb)),
    ]
    if not traffic.rate:
        beside[-1] = Result("calls made", "k/s", (), figures(lambda c: c.calls.thousands_a_second, UNTRACED))
    return Result(f"processor time per event, {_rate(traffic)}", "ns", targets, figures(lambda c: c.cpu_ns), missing, beside)


def lateness(traffic: Traffic, rounds: int) -> Result:
    """Measure how long it takes from an event until its line can be read."""
    commands, missing = _contenders(SHOW_LATENESS, traffic.ring_bytes)
    found = interleave(
        {name: partial(measure_lateness_us, words, traffic) for name, words in commands.items()}, rounds, uncounted=0
    )
    medians, percentiles = ({name: [each[index] for each in pairs] for name, pairs in found.items()} for index in (0, 1))
    beside = Result("the same, 99th percentile", "us", (), percentiles)
    return Result(f"from an event to its line, {_rate(traffic)}, median", "us", (), medians, missing, (beside,))


def _rate(traffic: Traffic) -> str:
    return f"{traffic.rate // 1000}k events/s" if traffic.rate else "as many as go"


def _benchmark(name: str, traffic: Traffic, targets: Sequence[Target]) -> Benchmark:
    judged = {(target.subject, target.base) for target in targets}
    shown = [other for other in OTHERS if (other.subject, other.base) not in judged]
    return Benchmark(name, partial(cost, traffic, (*targets, *shown)), rounds=3 if targets else 2)


MEMORY = Target(OURS, at_most=30)
SLOW, USUAL, FAST = Traffic(1_000), Traffic(10_000), Traffic(100_000, warm_up_ms=1000)
FLAT_OUT = Traffic(0, ring_bytes=1 << 24, warm_up_ms=1000, counted_ms=300)

BENCHMARKS = (
    _benchmark("live-1k", SLOW, ()),
    _benchmark("live-10k", USUAL, (Target(OURS, IN_C, at_most=0.5), Target(OURS_TEXT, IN_C_TEXT, at_most=0.5))),
    _benchmark("live-100k", FAST, (Target(OURS, BPFTRACE, at_most=0.25),)),
    _benchmark("live-flat-out", FLAT_OUT, ()),
    Benchmark("lateness-1k", partial(lateness, SLOW), rounds=1),
    Benchmark("lateness-10k", partial(lateness, USUAL), rounds=1),
    Benchmark("lateness-100k", partial(lateness, FAST), rounds=1),
)
