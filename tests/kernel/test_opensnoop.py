"""opensnoop: system call tracepoints, through a perf buffer."""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import ecli_py
from tests.bpf import held_by, wait_gone
from tests.cli import Ecli, Outcome
from tests.machine import system_libbpf

pytestmark = pytest.mark.kernel


@pytest.fixture
def package(packages: Path) -> Path:
    return packages / "opensnoop.json"


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A directory where only the test itself opens files; the output of the command is in the one above."""
    directory = tmp_path / "files"
    directory.mkdir()
    return directory


@pytest.fixture
def one_cpu() -> Iterator[None]:
    """Keep the test on one CPU, each of which has a buffer of its own."""
    cpus = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cpus)})
    yield
    os.sched_setaffinity(0, cpus)


def open_files(directory: Path, count: int) -> list[tuple[str, int]]:
    """Open files, and return the path and the descriptor of each."""
    found = []
    for number in range(count):
        path = directory / f"file-{number}"
        descriptor = os.open(path, os.O_CREAT | os.O_WRONLY)
        found.append((str(path), descriptor))
        os.close(descriptor)
    return found


def of(events: list[dict[str, Any]], directory: Path) -> list[dict[str, Any]]:
    return [event for event in events if event["path"].startswith(str(directory))]


def assert_nothing_lost(outcome: Outcome) -> None:
    assert outcome.status == 0, outcome.stderr
    assert outcome.closing_line.startswith(f"{len(outcome.events)} event")
    assert ", 0 lost, " in outcome.closing_line


def test_each_file_of_a_loop_is_seen_once(ecli: Ecli, package: Path, files: Path) -> None:
    with ecli.start("run", package, "--json", "--only-pid", str(os.getpid())) as running:
        opened = open_files(files, 200)
        outcome = running.end()
    assert_nothing_lost(outcome)
    seen = of(outcome.events, files)
    assert sorted((event["path"], event["fd"]) for event in seen) == sorted(opened)
    comm = Path("/proc/thread-self/comm").read_text().rstrip("\n")
    assert {(e["pid"], e["uid"], e["comm"], e["error"]) for e in seen} == {(os.getpid(), os.geteuid(), comm, 0)}
    assert all(event["flags"] & (os.O_CREAT | os.O_WRONLY) == os.O_CREAT | os.O_WRONLY for event in seen)


def test_the_systems_libbpf_serves_too(ecli: Ecli, package: Path, files: Path) -> None:
    ecli = replace(ecli, environment={"ECLI_LIBBPF": system_libbpf()})
    with ecli.start("run", package, "--json", "--only-pid", str(os.getpid())) as running:
        opened = open_files(files, 200)
        outcome = running.end()
    assert_nothing_lost(outcome)
    assert sorted((event["path"], event["fd"]) for event in of(outcome.events, files)) == sorted(opened)


def test_failures_have_their_errno(ecli: Ecli, package: Path, files: Path) -> None:
    with ecli.start("run", package, "--json", "--only_pid", str(os.getpid()), "--failed-only") as running:
        open_files(files, 3)
        for path, flags in ((files / "gone", os.O_RDONLY), (files / "file-0" / "x", os.O_RDONLY), (files, os.O_WRONLY)):
            with pytest.raises(OSError, match=path.name):
                os.open(path, flags)
        outcome = running.end()
    assert_nothing_lost(outcome)
    assert {(event["path"], event["fd"], event["error"]) for event in of(outcome.events, files)} == {
        (str(files / "gone"), -1, errno.ENOENT),
        (str(files / "file-0" / "x"), -1, errno.ENOTDIR),
        (str(files), -1, errno.EISDIR),
    }


@pytest.mark.parametrize("words", [["--no-failed-only"], ["--failed-only=false"], ["--failed_only", "no"], []])
def test_a_flag_can_be_off(ecli: Ecli, package: Path, files: Path, words: list[str]) -> None:
    with ecli.start("run", package, "--json", "--only_pid", str(os.getpid()), *words) as running:
        open_files(files, 1)
        outcome = running.end()
    assert len(of(outcome.events, files)) == 1


@pytest.mark.skipif(platform.machine() != "x86_64", reason="a machine whose system calls have openat only")
def test_the_older_system_call(ecli: Ecli, package: Path, files: Path) -> None:
    path = files / "file-0"
    path.touch()
    with ecli.start("run", package, "--json", "--only_pid", str(os.getpid())) as running:
        descriptor = ctypes.CDLL(None).syscall(2, os.fsencode(path), os.O_RDONLY)  # __NR_open
        os.close(descriptor)
        outcome = running.end()
    assert [event["fd"] for event in of(outcome.events, files)] == [descriptor]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_after_what_is_queued(ecli: Ecli, package: Path, files: Path, number: signal.Signals) -> None:
    with ecli.start("run", package, "--json", "--only-pid", str(os.getpid())) as running:
        held = held_by(running.pid)
        running.process.send_signal(signal.SIGSTOP)
        opened = open_files(files, 50)
        running.process.send_signal(number)
        running.process.send_signal(signal.SIGCONT)
        outcome = running.wait()
    assert_nothing_lost(outcome)
    assert sorted((event["path"], event["fd"]) for event in of(outcome.events, files)) == sorted(opened)
    assert len(held["prog"]) == 4
    wait_gone(held)


def test_what_did_not_fit_into_the_buffer_is_counted(ecli: Ecli, package: Path, files: Path, one_cpu: None) -> None:
    path = files / "file"
    path.touch()
    with ecli.start("run", package, "--json", "--only-pid", str(os.getpid())) as running:
        running.process.send_signal(signal.SIGSTOP)
        for _ in range(5000):  # of 292 bytes and a header; the buffer of a CPU has 64 pages
            os.close(os.open(path, os.O_RDONLY))
        running.process.send_signal(signal.SIGCONT)
        # The kernel says how many it has lost when there is room again for the next.
        while str(files / "last") not in running.stdout:
            os.close(os.open(files / "last", os.O_CREAT))
        outcome = running.end()
    assert outcome.status == 0
    shown, lost = (int(part.split()[0]) for part in outcome.closing_line.split(", ")[:2])
    assert shown == len(outcome.events)
    assert 0 < lost < 5000
    assert lost + sum(event["path"] == str(path) for event in outcome.events) >= 5000


def test_events_from_python(package: Path, files: Path) -> None:
    with ecli_py.open(package, {"only_pid": os.getpid()}) as tool:
        opened = open_files(files, 5)
        events = of(list(tool.events(duration_s=0.2)), files)
        assert sorted((event["path"], event["fd"]) for event in events) == sorted(opened)
        assert tool.stats.lost == 0
        held = held_by(os.getpid())
    wait_gone(held)


def test_every_sample_comes_in_order_while_the_buffer_wraps(package: Path, files: Path, one_cpu: None) -> None:
    opened: list[tuple[str, int]] = []
    events: list[dict[str, Any]] = []
    with ecli_py.open(package, {"only_pid": os.getpid()}) as tool:
        for _ in range(12):  # of 300 samples of about 300 bytes; the buffer has 256 KiB
            opened += open_files(files, 300)
            for event in tool.events():
                events.append(event)
                if event["path"] == opened[-1][0] and len(of(events, files)) == len(opened):
                    break
        assert [(event["path"], event["fd"]) for event in of(events, files)] == opened
        assert tool.stats.lost == 0
