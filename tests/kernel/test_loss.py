"""No silent loss: whatever is lost is counted, exactly, and said."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import ecli_py
from tests.cli import PATIENCE_S, Ecli, Outcome, Running
from tests.conftest import DATA
from tests.machine import need_compiler, need_kernel

pytestmark = pytest.mark.kernel

FLOOD = 5_000_000
_CALLS = "import itertools, os, sys\nfor _ in itertools.repeat(None, int(sys.argv[1])): os.sched_get_priority_max(os.SCHED_IDLE)"
_VARIANTS = {
    "counted": ["-DCOUNTED"],
    "per-cpu": ["-DPER_CPU"],
    "uncounted": [],
    "perf": ["-DPERF"],
    "both": ["-DPERF", "-DCOUNTED"],
}


@pytest.fixture(scope="session")
def floods(tmp_path_factory: pytest.TempPathFactory, caches: dict[str, str]) -> Path:
    """A directory with a package for each way to send and to count."""
    need_kernel()
    need_compiler()
    directory = tmp_path_factory.mktemp("floods")
    for name, flags in _VARIANTS.items():
        outcome = Ecli(directory, environment=caches)("build", DATA / "flood.bpf.c", "-o", f"{name}.json", *flags)
        assert outcome.status == 0, outcome.stderr
    return directory


def call(count: int) -> int:
    """Make calls on all CPUs at once, two at least, and return how many there were."""
    processes = max(os.cpu_count() or 1, 2)
    each = count // processes
    running = [subprocess.Popen([sys.executable, "-Ic", _CALLS, str(each)]) for _ in range(processes)]
    assert [process.wait() for process in running] == [0] * processes
    return each * processes


class SlowPipe:
    """Standard output that is a pipe, read at some hundred kilobytes a second until it is asked to hurry."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self._path = path
        self._hurry = threading.Event()
        self.content = b""
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        parts = []
        with self._path.open("rb", buffering=0) as pipe:
            while part := pipe.read(1 << 16):
                parts.append(part)
                self._hurry.wait(0.2)
        self.content = b"".join(parts)

    def hurry(self) -> None:
        self._hurry.set()

    def join(self) -> str:
        self._thread.join(PATIENCE_S)
        return self.content.decode()


def stopped(running: Running, make: Callable[[], int]) -> int:
    running.process.send_signal(signal.SIGSTOP)
    made = make()
    running.process.send_signal(signal.SIGCONT)
    return made


def check(made: int, outcome: Outcome) -> int:
    """Assert that what was shown and what was lost is what was made; return what was lost."""
    numbers = [event["number"] for event in outcome.events]
    events, lost_text, _seconds = outcome.closing_line.split(", ")
    lost = int(lost_text.removesuffix(" lost"))
    assert len(numbers) == len(set(numbers)) == int(events.split()[0])
    assert (len(numbers) + lost, max(numbers) < made) == (made, True)
    assert sum(mark["count"] for mark in outcome.marks("@lost")) == lost
    said = [line.split() for line in outcome.stderr.splitlines() if line.startswith("lost: events ")]
    assert sum(int(words[2]) for words in said) == lost
    return lost


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["counted", "perf"])
def test_a_flood_with_a_pipe_that_is_read_slowly(ecli: Ecli, floods: Path, variant: str) -> None:
    pipe = SlowPipe(ecli.directory / "stdout")
    with ecli.start("run", floods / f"{variant}.json", "--json", "--fail-on-loss", "--stats", "--record=file") as running:
        made = call(FLOOD)
        peak_bytes = peak_memory_bytes(running.pid)
        running.process.send_signal(signal.SIGINT)
        pipe.hurry()
        status = running.process.wait(PATIENCE_S)
        outcome = Outcome(pipe.join(), running.stderr, status)
        assert check(made, outcome) > 0
    assert (made, status) == (FLOOD, 3)
    waited(outcome)
    again = ecli("replay", "file", "--json")
    assert again.stdout.splitlines() == [line for line in outcome.stdout.splitlines() if "@stats" not in line]
    # What waits for the pipe is bounded: the events of this flood take some hundred megabytes as text.
    assert peak_bytes < 40 << 20


def waited(outcome: Outcome) -> None:
    """Assert that output was waited for, and that this is why something was lost."""
    assert any(mark["why"] == "output too slow" for mark in outcome.marks("@lost"))
    (usage,) = outcome.marks("@stats")
    assert usage["ecli_py"]["output_wait_ns"] > 100_000_000
    assert [(each["name"], each["occupancy"]) for each in usage["buffers"]] == [("events", pytest.approx(1, abs=0.01))]


@pytest.mark.parametrize("variant", ["counted", "perf"])
def test_what_a_slow_pipe_costs_is_told_apart(ecli: Ecli, floods: Path, variant: str) -> None:
    pipe = SlowPipe(ecli.directory / "stdout")
    with ecli.start("run", floods / f"{variant}.json", "--json", "--stats") as running:
        made = call(400_000)
        running.process.send_signal(signal.SIGINT)
        pipe.hurry()
        outcome = Outcome(pipe.join(), running.stderr, running.process.wait(PATIENCE_S))
    assert check(made, outcome) > 0
    waited(outcome)


def test_a_run_that_is_stopped_is_not_its_output(ecli: Ecli, floods: Path) -> None:
    with ecli.start("run", floods / "counted.json", "--json", "--stats") as running:
        made = stopped(running, lambda: call(200_000))
        outcome = running.end()
    assert check(made, outcome) > 0
    assert {mark["why"] for mark in outcome.marks("@lost")} == {"ring buffer full"}


def peak_memory_bytes(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM:"))


@pytest.mark.parametrize("variant", ["counted", "per-cpu", "perf", "both"])
def test_a_run_that_is_stopped_for_a_while(ecli: Ecli, floods: Path, variant: str) -> None:
    with ecli.start("run", floods / f"{variant}.json", "--json", "--latency=1s") as running:
        made = call(1000) + stopped(running, lambda: call(500_000)) + call(100_000)
        outcome = running.end()
    assert outcome.status == 0
    assert check(made, outcome) > 0


def test_what_is_lost_last_is_counted_too(ecli: Ecli, floods: Path) -> None:
    # The kernel writes a record of what was lost in front of the next sample: here there is none.
    with ecli.start("run", floods / "perf.json", "--json", "--ring-size=4K") as running:
        made = stopped(running, lambda: call(10_000))
        outcome = running.end()
    assert check(made, outcome) > 0


def test_where_nobody_counts_the_closing_lines_say_that_something_may_be_missing(ecli: Ecli, floods: Path) -> None:
    with ecli.start("run", floods / "uncounted.json", "--json") as running:
        stopped(running, lambda: call(100_000))
        outcome = running.end()
    assert outcome.status == 0
    warning, closing = outcome.stderr.splitlines()[-2:]
    assert warning == (
        "warning: the buffer of map events (256K) was 100% full at times; events may have been lost; "
        "--ring-size events=512K makes it larger"
    )
    assert ", 0 lost, " in closing


def test_a_larger_ring_holds_more(ecli: Ecli, floods: Path) -> None:
    with ecli.start("run", floods / "counted.json", "--json", "--ring-size=1000000", "--ring-size=events=4M") as running:
        made = stopped(running, lambda: call(200_000))
        outcome = running.end()
    assert check(made, outcome) == 0
    assert "warning" not in outcome.stderr


@pytest.mark.parametrize("variant", ["counted", "perf"])
def test_sizes_are_rounded_up_and_that_is_said(ecli: Ecli, floods: Path, variant: str) -> None:
    outcome = ecli("run", floods / f"{variant}.json", "--ring-size", "5000", "--duration=10ms")
    assert outcome.status == 0
    assert outcome.stderr.startswith("warning: --ring-size: map events gets 8K: sizes are powers of two, and whole pages\n")


@pytest.mark.parametrize("size", ["0", "1X", "=1M", "events=", "4G", "nope=1M", "-1"])
def test_a_size_that_there_is_not(ecli: Ecli, floods: Path, size: str) -> None:
    ecli("run", floods / "counted.json", f"--ring-size={size}").fails("--ring-size: ")


def test_a_filter_is_no_loss(ecli: Ecli, floods: Path) -> None:
    with ecli.start("run", floods / "counted.json", "--json", "--where=number < 10", "--fail-on-loss") as running:
        made = call(1000)
        outcome = running.end()
    assert (outcome.status, len(outcome.events)) == (0, 10)
    assert outcome.closing_line.startswith(f"10 of {made} events, 0 lost, ")


def test_loss_from_python(floods: Path) -> None:
    with ecli_py.open(floods / "counted.json", ring_size=4096, measure=True) as tool:
        made = call(100_000)
        tool.stop()
        events = list(tool.events())
        usage = tool.usage()
    stats = tool.stats
    assert len(events) == stats.events == stats.received
    assert stats.events + stats.lost == made
    assert [(each.name, each.received, each.lost, each.undecoded, each.filtered, each.reasons) for each in stats.maps] == [
        ("events", stats.received, stats.lost, 0, 0, (("ring buffer full", stats.lost),))
    ]
    assert (stats.maps[0].size_bytes, stats.maps[0].was_full) == (4096, True)
    assert [(each.name, each.runs) for each in usage.programs] == [("on_call", made)]
    assert 0 < usage.programs[0].time_ns / made < 100_000
    assert 0 < usage.cpu_s < usage.seconds


def test_what_programs_cost(ecli: Ecli, floods: Path) -> None:
    with ecli.start("run", "--stats=100ms", floods / "counted.json", "--json", "--attach=on_exit") as running:
        made = call(100_000)
        time.sleep(0.3)
        outcome = running.end()
    assert outcome.status == 0
    marks = outcome.marks("@stats")
    assert [mark["whole_run"] for mark in marks] == [False] * (len(marks) - 1) + [True]
    runs = [{each["name"]: each["runs"] for each in mark["programs"]} for mark in marks]
    assert runs[-1] == {"on_call": made, "on_exit": made}
    assert sum(each["on_call"] for each in runs[:-1]) == made
    text = ecli("run", floods / "counted.json", "--stats", "--duration=10ms").stderr.splitlines()
    assert [line.split()[0] for line in text] == ["attached", "in", "on_call", "ecli-py", "events:", "0"]


def test_a_limit_detaches_what_is_optional_and_then_ends_the_run(ecli: Ecli, floods: Path) -> None:
    with ecli.start("run", floods / "counted.json", "--json", "--max-overhead=0.1%", "--attach=on_exit") as running:
        deadline = time.monotonic() + PATIENCE_S
        while running.process.poll() is None and time.monotonic() < deadline:
            call(20_000)
        outcome = running.wait()
    assert outcome.status == 0
    said = [line for line in outcome.stderr.splitlines() if "of --max-overhead" in line]
    assert [line.rpartition(": ")[2].partition(",")[0] for line in said[1:]] == ["on_exit is detached", "it ends"]
    assert "; costliest: " in said[0]


@pytest.mark.parametrize(("option", "text"), [("--max-overhead=much", "--max-overhead: "), ("--stats=soon", "--stats: ")])
def test_what_cannot_be_measured(ecli: Ecli, floods: Path, option: str, text: str) -> None:
    ecli("run", floods / "counted.json", option).fails(text)
