"""runqlat: a map that is read every second, with a histogram in it."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import ecli_py
from tests.cli import Ecli
from tests.machine import system_libbpf

pytestmark = pytest.mark.kernel

SLEEPS = 300
WAITS = SLEEPS // 2  # at least: one that is woken before it has left its CPU does not wait
SLEEPER = f"import sys, time\nsys.stdin.readline()\nfor _ in range({SLEEPS}):\n    time.sleep(0.001)\n"


@pytest.fixture
def package(packages: Path) -> Path:
    return packages / "runqlat.json"


@contextmanager
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    """Start a process that waits for a line, and then sleeps many times for a moment."""
    process = subprocess.Popen([sys.executable, "-c", SLEEPER], stdin=subprocess.PIPE)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def assert_histograms(readings: Sequence[Mapping[str, Any]]) -> None:
    """Assert that they are a histogram that grows."""
    assert readings
    before: Mapping[str, Any] = {"waits": 0, "total_us": 0, "slots": [0] * 27}
    for reading in readings:
        assert list(reading) == ["key", "value"]
        assert reading["key"] == 0
        value = reading["value"]
        assert list(value) == ["total_us", "waits", "slots"]
        assert len(value["slots"]) == 27
        assert value["waits"] >= before["waits"]
        assert value["total_us"] >= before["total_us"]
        assert all(now >= then for now, then in zip(value["slots"], before["slots"], strict=True))
        before = value


def test_the_histogram_grows(ecli: Ecli, package: Path) -> None:
    with ecli.start("run", package, "--json", "--count", "2") as running, sleeper() as process:
        process.communicate(b"\n")
        outcome = running.wait()
    assert outcome.status == 0, outcome.stderr
    assert_histograms(outcome.events)
    assert len(outcome.events) == 2
    assert outcome.events[-1]["value"]["waits"] >= WAITS
    assert outcome.closing_line.startswith("2 events, 0 lost, ")


def test_a_signal_ends_it_with_a_last_reading(ecli: Ecli, package: Path) -> None:
    with sleeper() as process, ecli.start("run", package, "--json", "--only-pid", str(process.pid)) as running:
        process.communicate(b"\n")
        outcome = running.end()
    assert outcome.status == 0, outcome.stderr
    assert_histograms(outcome.events)
    last = outcome.events[-1]["value"]
    # Nothing counts any more when it is read, so all of it is there and agrees.
    assert last["waits"] >= WAITS
    assert sum(last["slots"]) == last["waits"]


def test_the_systems_libbpf_serves_too(ecli: Ecli, package: Path) -> None:
    ecli = replace(ecli, environment={"ECLI_LIBBPF": system_libbpf()})
    with sleeper() as process, ecli.start("run", package, "--json", "--only-pid", str(process.pid)) as running:
        process.communicate(b"\n")
        outcome = running.end()
    assert outcome.status == 0, outcome.stderr
    assert outcome.events[-1]["value"]["waits"] >= WAITS


def test_text_is_a_histogram(ecli: Ecli, package: Path) -> None:
    with sleeper() as process, ecli.start("run", package, "--only-pid", str(process.pid)) as running:
        process.communicate(b"\n")
        outcome = running.end()
    assert outcome.status == 0, outcome.stderr
    title, heading, *lines = outcome.stdout.split("\n\n")[0].splitlines()
    found = re.fullmatch(r"\d\d:\d\d:\d\d  waited\[0\]  total_us = (\S+)  waits = (\d+)", title)
    assert found, title
    assert heading.split()[1:] == [":", "count", "distribution"]
    rows = [re.fullmatch(r" *(\d+) -> (\d+) +: (\d+) +\|(\**) *\|", line) for line in lines]
    assert all(rows), lines
    ranges = [(int(row[1]), int(row[2])) for row in rows if row]
    assert ranges == [(0 if slot == 0 else 1 << slot, (2 << slot) - 1) for slot in range(len(rows))]
    counts = [int(row[3]) for row in rows if row]
    assert sum(counts) <= int(found[2]) or outcome.stdout.count("waited[0]") > 1
    longest = max(len(row[4]) for row in rows if row)
    assert longest == 40
    assert len({line.index(":") for line in lines} | {heading.index(":")}) == 1


def test_readings_from_python(package: Path) -> None:
    with sleeper() as process, ecli_py.open(package, {"only_pid": process.pid}) as tool:
        process.communicate(b"\n")
        readings = list(tool.events(duration_s=0.1))
        assert_histograms(readings)
        assert readings[-1]["value"]["waits"] >= WAITS
        assert [source.sample is not None for source in tool.sources] == [True]
