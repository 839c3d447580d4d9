"""How long it takes until something is to be seen, and how much memory that takes."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from functools import partial

from benchmarks import tools
from benchmarks.harness import Benchmark, Result, Target, UnavailableError, first_line, interleave, peak_memory_mb, run_ms

OURS, IN_C, BPFTRACE, BPFTRACE_LITTLE = "ecli-py run", "C loader", "bpftrace", "bpftrace, pid only"

# What execsnoop shows, in the language of bpftrace: it needs the kernel's BTF for the parent and the status, as execsnoop does.
EXECSNOOP_BT = r"""
tracepoint:sched:sched_process_exec {
    @started[pid] = nsecs;
    printf("{\"duration_ns\":0,\"pid\":%d,\"ppid\":%d,\"uid\":%d,\"kind\":\"EXEC\",\"exit_code\":0,\"comm\":\"%s\",\"filename\":\"%s\"}\n",
        pid, curtask->real_parent->tgid, uid, comm, str(args->filename));
}
tracepoint:sched:sched_process_exit /pid == tid/ {
    printf("{\"duration_ns\":%llu,\"pid\":%d,\"ppid\":%d,\"uid\":%d,\"kind\":\"EXIT\",\"exit_code\":%d,\"comm\":\"%s\",\"filename\":\"\"}\n",
        @started[pid] ? nsecs - @started[pid] : 0, pid, curtask->real_parent->tgid, uid, curtask->exit_code >> 8, comm);
    delete(@started[pid]);
}
"""

# The least that bpftrace can do: no BTF, one probe.
LITTLE_BT = r'tracepoint:sched:sched_process_exit { printf("{\"pid\":%d,\"comm\":\"%s\"}\n", pid, comm); }'

# Pause after each program that was killed: the kernel frees what it had loaded a little later.
SETTLE_S = 0.03


def _contenders() -> tuple[dict[str, list[str]], dict[str, str]]:
    """Return the commands that show the processes which end, and why others are missing."""
    tools.need_kernel()
    package = tools.sample_package("execsnoop")
    commands: dict[str, list[str]] = {OURS: [tools.ECLI, "run", str(package), "--json"]}
    missing = {}
    try:
        commands[IN_C] = [tools.c_program("loader", with_libbpf=True), str(tools.elf_object(package))]
    except UnavailableError as why:
        missing[IN_C] = str(why)
    for name, script in ((BPFTRACE, EXECSNOOP_BT), (BPFTRACE_LITTLE, LITTLE_BT)):
        try:
            # -q: not the line "Attaching 1 probe...", which would come first. Its output is flushed line by line by default.
            commands[name] = [tools.bpftrace(), "-q", "-e", script]
        except UnavailableError as why:
            missing[name] = str(why)
    return commands, missing


def _check(commands: dict[str, list[str]]) -> None:
    """Make sure that what is compared shows the same: a JSON object a line, with the same members."""
    members = {}
    for name, words in commands.items():
        with first_line(words) as line:
            members[name] = list(json.loads(line.text))
    for name in (IN_C, BPFTRACE):
        if members[OURS] != members.get(name, members[OURS]):
            raise UnavailableError(f"{name} shows {members[name]}, ecli-py {members[OURS]}")


def _measure(title: str, unit: str, targets: Sequence[Target], rounds: int, memory: bool) -> Result:
    def contender(words: list[str]) -> Callable[[], float]:
        def measure() -> float:
            with first_line(words) as line:
                figure = peak_memory_mb(line.pid) if memory else line.elapsed_ms
            time.sleep(SETTLE_S)
            return figure

        return measure

    commands, missing = _contenders()
    with tools.processes_that_end():
        _check(commands)
        figures = interleave({name: contender(words) for name, words in commands.items()}, rounds)
    return Result(title, unit, targets, figures, missing)


def first_event(rounds: int) -> Result:
    """Measure from the start of a process to its first line on standard output."""
    targets = (
        Target(OURS, IN_C, at_most=3, aim=2),
        Target(OURS, BPFTRACE, at_most=0.33),
        Target(OURS, BPFTRACE_LITTLE, at_most=0.33),
    )
    return _measure("first event of execsnoop, from the start of the process", "ms", targets, rounds, memory=False)


def memory(rounds: int) -> Result:
    """Measure the most memory that is resident until the first event."""
    targets = (Target(OURS, at_most=25), Target(OURS, IN_C), Target(OURS, BPFTRACE_LITTLE))
    return _measure("peak memory (VmHWM) at the first event, ring buffer of 1 MiB", "MB", targets, rounds, memory=True)


def show_help(rounds: int) -> Result:
    """Measure a command that only prints, against the bare interpreter."""
    ours, bare = "ecli-py --help", "python -c pass"
    contenders = {ours: partial(run_ms, [tools.ECLI, "--help"]), bare: partial(run_ms, [tools.PYTHON, "-c", "pass"])}
    figures = interleave(contenders, rounds)
    return Result("help, from the start of the process to its end", "ms", (Target(ours, bare, at_most=4),), figures)


BENCHMARKS = (
    Benchmark("first-event", first_event, rounds=21),
    Benchmark("help", show_help, rounds=41),
    Benchmark("memory", memory, rounds=3),
)
