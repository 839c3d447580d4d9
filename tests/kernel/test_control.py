"""Control of a run from outside: what `ps`, `stats`, `set`, `pause`, `resume` and `stop` do to it, and what nobody can."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

import ecli_py
from ecli_runtime.errors import OptionError
from tests.bpf import held_by, wait_gone
from tests.cli import Ecli, wait_until
from tests.control import Apart, call, events, wait_events

pytestmark = [pytest.mark.kernel, pytest.mark.compiler]


def variables(apart: Apart, run: str) -> dict[str, Any]:
    outcome = apart.ecli("set", run, "--json")
    assert outcome.status == 0, outcome.stderr
    return {each["name"]: each for each in json.loads(outcome.stdout)["variables"]}


def test_set_changes_what_is_sent(apart: Apart, controllable: Path) -> None:
    with apart.started(controllable) as running:
        call()
        wait_events(running, 1)
        words = ("step=0x10", "mode=LOUD", "label=new", "marked=yes", "offset=-32768")
        outcome = apart.ecli("set", "control", *words)
        assert (outcome.status, outcome.stderr) == (0, "")
        assert outcome.stdout.splitlines() == [
            "step = 16 (was 1)",
            'mode = "LOUD" (was "QUIET")',
            'label = "new" (was "first")',
            "marked = true (was false)",
            "offset = -32768 (was -1)",
        ]
        call(2)
        first, second, third = wait_events(running, 3)
        assert first == {"number": 0, "step": 1, "mode": "QUIET", "marked": False, "label": "first"}
        assert second == {"number": 1, "step": 16, "mode": "LOUD", "marked": True, "label": "new"}
        assert third["number"] == 17
        assert variables(apart, str(running.pid))["made"]["value"] == 33
        outcome = running.end()
    assert "control: step = 16 (was 1), by process" in outcome.stderr
    assert outcome.closing_line.startswith("3 events, 0 lost, ")


def test_what_there_is_to_set(apart: Apart, controllable: Path) -> None:
    with apart.started(controllable, "--only_pid", "5"):
        found = variables(apart, "control")
        lines = [line.split(maxsplit=3) for line in apart.ecli("set", "control").stdout.splitlines()]
    assert set(found) == {"made", "marked", "step", "offset", "mode", "label", "only_pid", "events_lost"}
    assert found["offset"] == {"name": "offset", "type": "__s16", "value": -1, "range": "-32768 to 32767", "fixed": ""}
    assert (found["mode"]["type"], found["mode"]["range"]) == ("enum mode", "QUIET, LOUD")
    assert (found["label"]["type"], found["label"]["range"]) == ("char[8]", "at most 7 bytes of text")
    assert (found["only_pid"]["value"], "read-only" in found["only_pid"]["fixed"]) == (5, True)
    assert lines[0] == ["NAME", "TYPE", "VALUE", "TAKES"]
    assert ["step", "__u32", "1", "0 to 4294967295"] in lines


@pytest.mark.parametrize(
    ("assignment", "message", "hint"),
    [
        ("step=4294967296", "step: expected an integer from 0 to 4294967295, got 4294967296", "step is of type __u32"),
        ("step=-1", "from 0 to 4294967295, got -1", "0 to 4294967295"),
        ("step=many", "expected an integer, got 'many'", "0 to 4294967295"),
        ("step=", "expected an integer, got ''", "0 to 4294967295"),
        ("offset=32768", "from -32768 to 32767", "__s16"),
        ("mode=MEDIUM", "expected one of QUIET, LOUD", "enum mode"),
        ("marked=2", "expected true or false", "bool"),
        ("label=too long", "at most 7 bytes of text, got 8", "char[8]"),
        ("stpe=1", "no global variable 'stpe'", "did you mean step?"),
        ("zzz=1", "no global variable 'zzz'", "variables: events_lost, label"),
        ("only_pid=1", "read-only, and was fixed when the program was loaded", "its option sets it when a run is started"),
        ("events_lost=0", "the program counts in it what is lost", "`ecli-py set RUN` shows"),
        ("last=1", "neither a number, an enumerator nor text", "`ecli-py set RUN` shows"),
    ],
)
def test_what_cannot_be_set(apart: Apart, controllable: Path, assignment: str, message: str, hint: str) -> None:
    with apart.started(controllable) as running:
        before = variables(apart, "control")
        said = apart.ecli("set", "control", "made=7", assignment).fails(message)
        assert hint in said
        assert variables(apart, "control") == before  # all or none
        call()
        assert wait_events(running, 1)[0]["number"] == 0


def test_what_is_no_assignment(apart: Apart, controllable: Path) -> None:
    outcome = apart.ecli("set", "control", "step")
    assert (outcome.status, "expected NAME=VALUE, got 'step'" in outcome.stderr) == (2, True)


@pytest.mark.parametrize("words", [(), ("--keep-privileges",)])
def test_paused_programs_do_not_run_and_go_on_where_they_were(apart: Apart, controllable: Path, words: tuple[str, ...]) -> None:
    with apart.started(controllable, *words) as running:
        call(2)
        wait_events(running, 2)
        held = held_by(running.pid)
        assert len(held["link"]) == 2
        outcome = apart.ecli("pause", "control")
        assert (outcome.stdout, outcome.stderr) == (f"{running.pid} (control) is paused\n", "")
        paused = held_by(running.pid)
        assert (paused["link"], paused["prog"], paused["map"]) == (set(), held["prog"], held["map"])
        wait_gone({"link": held["link"]})
        call(100_000)  # more than the buffer holds
        assert variables(apart, "control")["made"]["value"] == 2
        (status,) = json.loads(apart.ecli("ps", "--json").stdout)
        assert (status["state"], status["events"], status["lost"]) == ("paused", 2, 0)
        assert apart.ecli("set", "control", "step=5").status == 0
        assert "was paused already" in apart.ecli("pause", "control").stdout
        assert apart.ecli("resume", "control").stdout == f"{running.pid} (control) goes on\n"
        assert len(held_by(running.pid)["link"]) == 2
        call(3)
        assert [event["number"] for event in wait_events(running, 5)] == [0, 1, 2, 7, 12]
        assert "was not paused" in apart.ecli("resume", "control").stdout
        outcome = running.end()
    assert (outcome.status, outcome.marks("@lost")) == (0, [])
    assert outcome.closing_line.startswith("5 events, 0 lost, ")
    assert [line.split(" by ")[0][:21] for line in outcome.stderr.splitlines() if line.startswith("control: ")] == [
        "control: paused",
        "control: step = 5 (wa",
        "control: resumed afte",
    ]


def test_a_paused_run_ends_in_order(apart: Apart, controllable: Path) -> None:
    with apart.started(controllable) as running:
        assert apart.ecli("pause", "control").status == 0
        held = held_by(running.pid)
        outcome = running.end(signal.SIGTERM)
    assert (outcome.status, outcome.closing_line.startswith("0 events, 0 lost, ")) == (0, True)
    wait_gone(held)


def test_maps_are_not_read_while_paused(apart: Apart, packages: Path) -> None:
    with apart.started(packages / "runqlat.json", "--interval", "20ms") as running:
        wait_until(lambda: len(events(running)) > 3, "readings")
        assert apart.ecli("pause", "runqlat").status == 0
        before = len(events(running))
        time.sleep(0.5)
        assert len(events(running)) == before
        assert apart.ecli("resume", "runqlat").status == 0
        wait_until(lambda: len(events(running)) > before, "readings")


def test_stop_returns_when_all_is_over(apart: Apart, controllable: Path) -> None:
    with apart.started(controllable) as running:
        call(3)
        held = held_by(running.pid)
        stopped = apart.ecli("stop", "control")
        assert not (apart.sockets / f"{running.pid}.sock").exists()
        outcome = running.wait()
    assert (stopped.status, stopped.stderr) == (0, "")
    assert stopped.stdout == f"{running.pid} (control) has ended: {outcome.closing_line}\n"
    assert (outcome.status, len(outcome.events)) == (0, 3)
    assert outcome.closing_line.startswith("3 events, 0 lost, ")
    assert list(apart.sockets.iterdir()) == []
    wait_gone(held)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_leaves_no_socket(apart: Apart, controllable: Path, number: signal.Signals) -> None:
    with apart.started(controllable) as running:
        assert (apart.sockets / f"{running.pid}.sock").exists()
        assert running.end(number).status == 0
    assert list(apart.sockets.iterdir()) == []


def test_a_run_that_does_not_start_leaves_no_socket(apart: Apart, hooks: Path) -> None:
    apart.ecli("run", hooks, "--control", "--attach", "on_tracepoint=no:such").fails("no:such")
    assert list(apart.sockets.iterdir()) == []


def test_ps_lists_runs(apart: Apart, controllable: Path, packages: Path) -> None:
    assert apart.ecli("ps").stderr == "no run is open for control; `ecli-py run --control` opens one\n"
    assert json.loads(apart.ecli("ps", "--json").stdout) == []
    with ExitStack() as stack:
        first = stack.enter_context(apart.started(controllable, name="first"))
        second = stack.enter_context(apart.started(packages / "execsnoop.json", name="second"))
        stack.enter_context(Ecli(apart.ecli.directory, prefix=apart.prefix).start("run", controllable))  # not open
        call(7)
        wait_events(first, 7)
        heading, *lines = apart.ecli("ps").stdout.splitlines()
        assert heading.split() == ["PID", "NAME", "AGE", "STATE", "EVENTS", "LOST", "EVENTS/S", "CPU"]
        rows = {int(line.split()[0]): line.split() for line in lines}
        assert set(rows) == {first.pid, second.pid}
        assert rows[first.pid][1] == "control"
        assert rows[first.pid][3:6] == ["running", "7", "0"]
        assert rows[second.pid][1] == "execsnoop"
        assert apart.ecli("stop", "execsnoop").status == 0
        (status,) = json.loads(apart.ecli("ps", "--json").stdout)
        assert {name: status[name] for name in ("pid", "name", "events")} == {"pid": first.pid, "name": "control", "events": 7}
        assert 0 < status["age_s"] < 60
        assert 0 <= status["cpu"] < 2


def test_events_per_second(apart: Apart, controllable: Path) -> None:
    with apart.started(controllable) as running:

        def rate() -> float:
            call(200)
            time.sleep(0.1)
            found: float = apart.ask(running, b'{"do": "status"}\n')["ok"]["events_per_s"]
            return found

        wait_until(lambda: rate() > 500, "a rate")
        wait_until(lambda: apart.ask(running, b'{"do": "status"}\n')["ok"]["events_per_s"] == 0, "quiet")


def test_a_name_that_two_have(apart: Apart, controllable: Path) -> None:
    with apart.started(controllable, name="first") as first, apart.started(controllable, name="second") as second:
        said = apart.ecli("pause", "control").fails("2 runs are named 'control'", "say which by its pid: ")
        assert all(f"{running.pid} (for " in said for running in (first, second))
        assert apart.ecli("pause", str(second.pid)).status == 0
        states = {each["pid"]: each["state"] for each in json.loads(apart.ecli("ps", "--json").stdout)}
        assert states == {first.pid: "running", second.pid: "paused"}
        apart.ecli("stop", "contrl").fails("there is no run 'contrl'", f"{first.pid} (control)")


@pytest.mark.parametrize("command", ["stats", "set", "pause", "resume", "stop"])
def test_no_run(apart: Apart, command: str) -> None:
    apart.ecli(command, "4711").fails("there is no run '4711'", "ecli-py run --control")


def test_stats(apart: Apart, controllable: Path) -> None:
    with apart.started(controllable, "--stats", "--where", "number != 2") as running:
        call(5)
        wait_events(running, 4)
        found = json.loads(apart.ecli("stats", "control", "--json").stdout)
        text = apart.ecli("stats", str(running.pid)).stdout
    assert (found["events"], found["received"], found["filtered"], found["lost"]) == (4, 5, 1, 0)
    (events_map,) = found["maps"]
    assert {
        name: events_map[name] for name in ("name", "received", "filtered", "lost", "undecoded", "reasons", "size_bytes")
    } == {"name": "events", "received": 5, "filtered": 1, "lost": 0, "undecoded": 0, "reasons": {}, "size_bytes": 1 << 18}
    assert 0 < events_map["occupancy"] < 0.1
    programs = {each["name"]: each for each in found["programs"]}
    assert programs["on_call"]["runs"] >= 5
    assert programs["on_other"]["time_ns"] > 0
    assert found["memory_bytes"] > 1 << 20
    assert found["cpu_s"] > 0
    assert text.splitlines()[0].startswith(f"{running.pid} (control): running, for ")
    assert "4 events, 0 lost, 1 left out; " in text
    assert "not measured" not in text


def test_stats_of_a_run_that_is_not_measured(apart: Apart, controllable: Path) -> None:
    if Path("/proc/sys/kernel/bpf_stats_enabled").read_text() == "1\n":
        pytest.skip("this machine measures all programs")
    with apart.started(controllable):
        found = json.loads(apart.ecli("stats", "control", "--json").stdout)
        assert "programs are not measured: `ecli-py run --stats`" in apart.ecli("stats", "control").stdout
    assert found["programs"][0] == {"name": "on_call", "runs": None, "time_ns": None, "missed": None}


def test_a_killed_run_leaves_a_socket_that_ps_removes(apart: Apart, controllable: Path) -> None:
    with apart.started(controllable, name="live") as live:
        with apart.started(controllable, name="dead") as dead:
            dead.end(signal.SIGKILL)
        assert (apart.sockets / f"{dead.pid}.sock").exists()
        for pid in (dead.pid, live.pid):  # of a run that was killed while it started, and of one that is starting
            (apart.sockets / f".{pid}.new").touch()
        outcome = apart.ecli("ps", "--json")
        assert [each["pid"] for each in json.loads(outcome.stdout)] == [live.pid]
        assert outcome.stderr == f"run {dead.pid} was killed: its socket is removed\n"
        assert {path.name for path in apart.sockets.iterdir()} == {f"{live.pid}.sock", f".{live.pid}.new"}
        assert apart.ecli("stop", "control").status == 0


def test_requests_while_events_flood(apart: Apart, controllable: Path) -> None:
    """What is asked for costs no event, and is answered while there are many. What programs write next to it is not touched."""
    flood = [sys.executable, "-Ic", "import os\nfor _ in range(300000): os.sched_get_priority_max(os.SCHED_IDLE)"]
    with apart.started(controllable, "--ring-size", "64M") as running:
        with subprocess.Popen(flood) as process:
            asked = 0
            while process.poll() is None:
                assert apart.ask(running, b'{"do": "stats"}\n')["ok"]["state"] == "running"
                request = {"do": "set", "values": {"marked": "true" if asked % 2 else "false"}}
                assert "ok" in apart.ask(running, json.dumps(request).encode() + b"\n")
                asked += 1
            assert process.returncode == 0
        stopped = apart.ecli("stop", "control")
        outcome = running.wait()
    assert asked > 3
    assert [event["number"] for event in outcome.events] == list(range(300_000))
    assert {event["marked"] for event in outcome.events} == {False, True}
    assert " 300000 events, 0 lost, " in stopped.stdout


def test_python_has_the_same(controllable: Path) -> None:
    with ecli_py.open(controllable) as tool:
        stream = tool.events()
        call()
        assert next(stream)["step"] == 1
        tool.set("step", 3)
        tool.set("mode", "LOUD")
        tool.set("label", "text")
        with pytest.raises(OptionError, match="from 0 to 4294967295, got -1"):
            tool.set("step", -1)
        with pytest.raises(OptionError, match="expected an integer, got 'x'"):
            tool.set("step", "x")
        states = [tool.paused]
        tool.pause()
        states.append(tool.paused)
        call(5)
        tool.resume()
        states.append(tool.paused)
        assert states == [False, True, False]
        call()
        event = next(stream)
        assert (event["number"], event["step"], event["mode"], event["label"]) == (1, 3, "LOUD", "text")
        assert {each.name: each.value for each in tool.variables()}["made"] == 4
        assert {each.name for each in tool.programs()} == {"on_call", "on_other"}
    assert (tool.stats.events, tool.stats.lost) == (2, 0)
    with pytest.raises(ValueError, match="closed"):
        tool.set("step", 1)
    with pytest.raises(ValueError, match="closed"):
        tool.pause()
