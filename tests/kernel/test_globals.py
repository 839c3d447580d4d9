"""Results in global variables: read as maps are, with nothing declared for it."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

import ecli_py
from tests.cli import Ecli
from tests.conftest import DATA
from tests.machine import need_compiler, need_kernel

pytestmark = pytest.mark.kernel

CALLS = 300


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory, caches: dict[str, str]) -> Path:
    need_kernel()
    need_compiler()
    directory = tmp_path_factory.mktemp("globals")
    outcome = Ecli(directory, environment=caches)("build", DATA / "globals.bpf.c", "-o", "globals.json")
    assert outcome.status == 0, outcome.stderr
    return directory / "globals.json"


def call() -> None:
    for _ in range(CALLS):
        os.sched_get_priority_max(os.SCHED_IDLE)


def run(ecli: Ecli, package: Path, *options: str) -> str:
    with ecli.start("run", package, f"--only_pid={os.getpid()}", "--interval=1h", *options) as running:
        call()
        outcome = running.end()
    assert outcome.status == 0, outcome.stderr
    return outcome.stdout


def test_json_has_each_variable(ecli: Ecli, package: Path) -> None:
    assert run(ecli, package, "--json").splitlines() == [
        '{"@map":"by_pairs","key":0,"value":152}',
        '{"@map":"by_pairs","key":1,"value":152}',
        '{"@map":"by_pairs","key":2,"value":148}',
        '{"@map":"by_pairs","key":3,"value":148}',
        '{"@map":"hist","value":[75,75,75,75]}',
        '{"@map":"hists","key":0,"value":{"slots":[0,0,150,0,0,0,0,0]}}',
        '{"@map":"hists","key":1,"value":{"slots":[0,0,150,0,0,0,0,0]}}',
        f'{{"@map":"globals","value":{{"calls":{CALLS},"last_comm":"{Path("/proc/self/comm").read_text().strip()}"}}}}',
    ]


def test_text_draws_histograms_and_puts_single_values_in_a_line(ecli: Ecli, package: Path) -> None:
    lines = [line.rstrip() for line in run(ecli, package).splitlines()]
    assert lines[0].endswith("  by_pairs")
    assert any(line.endswith("  hist") for line in lines)
    assert any(re.fullmatch(r" *2 -> 3 *: 75 *\|\*{40}\|", line) for line in lines)
    assert any(line.endswith("  hists[0]") for line in lines)
    assert "hists[1]" in lines
    heading = next(index for index, line in enumerate(lines) if line.split() == ["CALLS", "LAST_COMM"])
    assert lines[heading - 1].endswith("  globals")
    assert lines[heading + 1].split()[0] == str(CALLS)


def test_members_of_one_variable_alone(ecli: Ecli, package: Path) -> None:
    assert run(ecli, package, "--json", "--fields=calls") == f'{{"@map":"globals","value.calls":{CALLS}}}\n'
    assert run(ecli, package, "--fields=calls", "--where=calls > 1").split()[1:] == ["globals", "CALLS", str(CALLS)]


def test_a_recording_keeps_them(ecli: Ecli, package: Path) -> None:
    live = run(ecli, package, "--json", "--record=file")
    again = ecli("replay", "file", "--json")
    assert (again.status, again.stdout) == (0, live)


def test_from_python(package: Path) -> None:
    with ecli_py.open(package, {"only_pid": os.getpid()}) as tool:
        call()
        tool.stop()
        found = {event.source.name: dict(event) for event in tool.events()}
    assert found["globals"]["value"]["calls"] == CALLS
    assert found["hist"] == {"value": [75] * 4}


def test_what_is_written_is_no_option_and_what_is_read_is(ecli: Ecli, package: Path) -> None:
    outcome = ecli("run", package, "--help")
    assert "--only_pid" in outcome.stdout
    assert "--calls" not in outcome.stdout
    shown = ecli("inspect", package).stdout
    assert "  hists:\n    variable:\n" in shown
    assert "  own:" not in shown
