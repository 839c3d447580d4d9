"""Stack traces of events are shown with the names of functions, live and in a replay on a machine that knows none of them."""

from __future__ import annotations

import csv
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

import ecli_py
from tests.cli import Ecli, Running, wait_until
from tests.conftest import DATA
from tests.machine import missing, need_compiler, need_kernel

pytestmark = pytest.mark.kernel

CALLER = """
#define _GNU_SOURCE
#include <sched.h>
#include <stdio.h>
volatile int sum;
__attribute__((noinline)) void call_inside(void) { sum += sched_get_priority_max(SCHED_IDLE); sum++; }
__attribute__((noinline)) void call_outside(void) { call_inside(); sum++; }
int main(void) { puts("ready"); fflush(stdout); while (getchar() != EOF) call_outside(); return 0; }
"""
STACKS = ("kern_stack_id", "stack_id", "origin", "kstack", "ustack")


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory, caches: dict[str, str]) -> Path:
    need_kernel()
    need_compiler()
    directory = tmp_path_factory.mktemp("stacks")
    outcome = Ecli(directory, environment=caches)("build", DATA / "stacks.bpf.c", "-o", "stacks.json")
    assert outcome.status == 0, outcome.stderr
    return directory / "stacks.json"


@pytest.fixture
def caller(tmp_path: Path) -> Path:
    """A program that makes the call from functions whose names are known, for each byte of its input."""
    compiler = next(filter(None, map(shutil.which, ("gcc", "cc", "clang"))), None) or missing("C compiler (apt-get install gcc)")
    (tmp_path / "caller.c").write_text(CALLER)
    subprocess.run([compiler, "-O0", "-fno-omit-frame-pointer", "-o", "caller", "caller.c"], cwd=tmp_path, check=True)
    return tmp_path / "caller"


def call(caller: Path, running: Running, count: int) -> None:
    """Make calls, and end when they have been shown."""
    shown = running.stdout.count("\n")
    with subprocess.Popen([caller], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.readline()
        process.stdin.write(b"x" * count)
        process.stdin.flush()
        wait_until(lambda: running.stdout.count("\n") >= shown + count, "the events being shown")
        process.stdin.close()


def run(ecli: Ecli, package: Path, caller: Path, *words: str) -> str:
    """Return what a run shows of three calls; the program that made them is gone after that."""
    with ecli.start("run", package, "--record", "file", *words) as running:
        call(caller, running, 3)
        outcome = running.end()
    caller.unlink()
    assert outcome.status == 0, outcome.stderr
    return outcome.stdout


def check_names(event: dict[str, Any]) -> None:
    for stack in (event["kern_stack_id"], event["kstack"]):
        assert any(name.startswith(("do_syscall", "__arm64_sys", "el0_svc", "do_trap_ecall", "__do_syscall")) for name in stack)
        assert not any(name.startswith("0x") or "+" in name for name in stack)
    for stack in (event["inner"]["ustack_id"], event["origin"], event["stack_id"], event["ustack"]):
        # At the first instruction of the wrapper, the frame pointer is still that of the caller's caller.
        names = [name for name in stack if name in ("call_inside", "call_outside", "main")]
        assert names[-2:] == ["call_outside", "main"]
    assert isinstance(event["ustackid"], int)


def test_json_has_names_of_functions_live_and_again(ecli: Ecli, package: Path, caller: Path) -> None:
    live = run(ecli, package, caller, "--json")
    again = ecli("replay", "file", "--json")
    assert (again.status, again.stdout) == (0, live), again.stderr
    events = again.events
    validator = Draft202012Validator(json.loads(ecli("schema", package).stdout))
    assert len(events) == 3
    for event in events:
        check_names(event)
        validator.validate(event)
    with ecli_py.open_recording(ecli.directory / "file") as replay:
        assert list(replay.events()) == events
    (first, *_rest) = ecli("replay", "file", "--csv", "--fields=ustack,pid").stdout.splitlines()[1:]
    assert json.loads(next(csv.reader([first]))[0]) == events[0]["ustack"]


def test_text_has_them_below_each_event(ecli: Ecli, package: Path, caller: Path) -> None:
    live = run(ecli, package, caller, "--fields", "pid,ustack")
    assert re.fullmatch(
        r"TIME +PID\n"
        r"(\d\d:\d\d:\d\d +\d+\n"
        r"(    \S+ \(\S+\)\n)*    call_outside \(caller\)\n    main \(caller\)\n(    \S+( \(\S+\))?\n)*){3}",
        live,
    ), live
    again = ecli("replay", "file", "--fields", "pid,ustack").stdout
    assert re.sub(r"\d\d:\d\d:\d\d", "", again) == re.sub(r"\d\d:\d\d:\d\d", "", live)
    whole = ecli("replay", "file").stdout.splitlines()
    assert not {"KERN_STACK_ID", "KSTACK", "INNER.USTACK_ID"} & set(whole[0].split())
    assert {"INNER.TGID", "KSTACK_SZ"} < set(whole[0].split())
    assert any(line.endswith(" (kernel)") for line in whole)


def test_raw_has_ids_and_addresses(ecli: Ecli, package: Path, caller: Path) -> None:
    live = run(ecli, package, caller, "--json", "--raw")
    for words in ([], ["--raw"]):  # what was not named when it was recorded cannot be named later
        assert ecli("replay", "file", "--json", *words).stdout == live
    for line in live.splitlines():
        event = json.loads(line)
        assert isinstance(event["kern_stack_id"], int)
        assert len(event["kstack"]) == 32
        assert event["kstack"][0] > 1 << 63
        assert event["kstack_sz"] == 8 * sum(map(bool, event["kstack"]))


def test_names_can_be_left_out_of_a_recording_that_has_them(ecli: Ecli, package: Path, caller: Path) -> None:
    run(ecli, package, caller, "--json")
    for event in ecli("replay", "file", "--json", "--raw").events:
        assert isinstance(event["origin"], int)
        assert len(event["ustack"]) == 32


def test_a_filter_compares_ids(ecli: Ecli, package: Path, caller: Path) -> None:
    run(ecli, package, caller, "--json")
    events = ecli("replay", "file", "--json", "--where", "kern_stack_id >= 0 and ustack_sz > 0", "--count", "2").events
    assert len(events) == 2
    assert not ecli("replay", "file", "--json", "--where", "kern_stack_id < 0").events


def test_events_from_python(package: Path, caller: Path) -> None:
    with ecli_py.open(package) as tool, subprocess.Popen([caller], stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        process.stdin.write(b"xx")
        process.stdin.flush()
        events = list(tool.events(duration_s=20, count=2))
        process.stdin.close()
    for event in events:
        check_names(event)
        assert event.keys() > set(STACKS)
