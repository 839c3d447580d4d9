"""A controller of our own, in C and written against the functions of wasm-bpf alone, with the running kernel."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.bpf import held_by, wait_gone
from tests.cli import Ecli, Running, wait_until
from tests.kernel.conftest import Cgroup, Network
from tests.kernel.test_attach_cgroups import TALK

pytestmark = [pytest.mark.kernel, pytest.mark.compiler]


def lines(running: Running, beginning: str) -> list[list[str]]:
    return [line.split() for line in running.stdout.splitlines() if line.startswith(beginning)]


def seen(running: Running, name: str, pid: str) -> int:
    return sum(each[1] == pid for each in lines(running, name))


def test_exec_and_exit_events(ecli: Ecli, controller: Path) -> None:
    with ecli.start("run", controller, "events", "perf", "execs", "exits") as running:
        held = held_by(running.pid)
        done = subprocess.Popen(["true"])
        done.wait()
        pid = str(done.pid)
        for name, count in (("execs", 1), ("exits", 1), ("perf", 2)):
            wait_until(lambda name=name, count=count: seen(running, name, pid) == count, f"{count} of {name}")  # type: ignore[misc]
        outcome = running.end()
    assert (outcome.status, outcome.stderr) == (0, "attached\n")
    assert outcome.stdout.endswith("asked to end\n")
    assert ["execs", pid, "true", "24"] in [line.split() for line in outcome.stdout.splitlines()]
    assert len(held["link"]) == 2
    wait_gone(held)


def test_each_event_of_a_burst_comes_once(ecli: Ecli, controller: Path) -> None:
    with ecli.start("run", controller, "events", "execs") as running:
        subprocess.run(["sh", "-c", "i=0; while [ $i -lt 300 ]; do /bin/true; i=$((i + 1)); done"], check=True)
        outcome = running.end()
    assert sum(line.split()[2] == "true" for line in outcome.stdout.splitlines() if line.startswith("execs")) >= 300


def test_a_map_is_walked_and_sleep_is_cut_short(ecli: Ecli, controller: Path) -> None:
    with ecli.start("run", controller, "counts", "on_call") as running:
        os.getpgid(0)
        wait_until(lambda: bool(lines(running, "4:")), "a count")
        held = held_by(running.pid)
        outcome = running.end(signal.SIGTERM)
    assert outcome.status == 0
    assert outcome.stderr == "attached\nthe module did not end by itself and was stopped\n"
    wait_gone(held)


def test_operations_on_maps(ecli: Ecli, controller: Path) -> None:
    outcome = ecli("run", controller, "maps")
    assert (outcome.status, outcome.stderr) == (0, "")
    cpus = os.cpu_count() or 1
    found = outcome.stdout.splitlines()
    assert sum(line.startswith("cpu ") for line in found) >= cpus
    assert [line for line in found if not line.startswith("cpu ")] == [
        *["update 0"] * 3,
        "again, if there is none: -20",
        "delete 0",
        "lookup -44",
        "lookup 0 144",
        "rodata 1",
        "per CPU 0",
        "at the end of memory -21",
        "a program's descriptor -8",
        "somebody's descriptor -8",
        "unknown command -28",
        "unknown map -44",
        "poll what is no buffer -28",
        "close 0",
        "afterwards -8 -28",
    ]


@pytest.mark.parametrize(("program", "target", "key"), [("on_packet", "inside", "1:"), ("on_tc", "inside:egress", "2:")])
def test_an_interface(ecli: Ecli, controller: Path, network: Network, program: str, target: str, key: str) -> None:
    inside = replace(ecli, prefix=network.prefix)
    with inside.start("run", controller, "counts", program, target) as running:
        held = held_by(running.pid)
        network.send()
        wait_until(lambda: bool(lines(running, key)), "a count")
        running.end()
    wait_gone(held)
    assert "xdp" not in network.run("ip", "link", "show", "inside")


def test_an_interface_that_the_user_names(ecli: Ecli, controller: Path, network: Network) -> None:
    inside = replace(ecli, prefix=network.prefix)
    with inside.start("run", "--iface", "inside", controller, "counts", "on_packet") as running:
        network.send()
        wait_until(lambda: bool(lines(running, "1:")), "a count")


def test_a_control_group(ecli: Ecli, controller: Path, cgroup: Cgroup) -> None:
    with ecli.start("run", controller, "counts", "on_sockops", cgroup.path) as running:
        held = held_by(running.pid)
        cgroup.python(TALK)
        wait_until(lambda: bool(lines(running, "3:")), "a count")
        running.end()
    wait_gone(held)


def test_a_directory_that_is_no_control_group(ecli: Ecli, controller: Path) -> None:
    outcome = ecli("run", controller, "counts", "on_sockops", "/etc")
    assert outcome.status == 3
    assert "on_sockops: target '/etc': /etc is no control group of version 2" in outcome.stderr
    assert "hint: " in outcome.stderr
    assert outcome.stderr.endswith("on_sockops: Invalid argument\n")


def test_programs_and_targets_that_there_are_not(ecli: Ecli, controller: Path) -> None:
    assert "the object has no program 'nothing'" in ecli("run", controller, "counts", "nothing").stderr
    assert "there is no network interface 'nowhere0'" in ecli("run", controller, "counts", "on_packet", "nowhere0").stderr
    assert 'on_packet: SEC("xdp") needs a network interface' in ecli("run", controller, "counts", "on_packet").stderr


def test_an_object_that_cannot_be_loaded(ecli: Ecli, controller: Path) -> None:
    outcome = ecli("run", controller, "broken")
    assert outcome.status == 3
    assert "error: the package's object is not an ELF file" in outcome.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_what_spins_ends_and_leaves_nothing(ecli: Ecli, controller: Path, number: signal.Signals) -> None:
    with ecli.start("run", controller, "spin") as running:
        wait_until(lambda: running.stdout == "spinning\n", "spinning")
        held = held_by(running.pid)
        assert held["link"]
        outcome = running.end(number)
    assert (outcome.status, outcome.stderr) == (0, "attached\nthe module did not end by itself and was stopped\n")
    wait_gone(held)


def test_a_duration(ecli: Ecli, controller: Path) -> None:
    outcome = ecli("run", "--duration", "300ms", controller, "events", "execs")
    assert outcome.status == 0
    assert outcome.stdout.endswith("asked to end\n")


def test_its_arguments_are_its_own(ecli: Ecli, controller: Path) -> None:
    outcome = ecli("run", controller, "arguments", "--json", "-h", "--", "")
    assert (outcome.status, outcome.stderr) == (0, "")
    assert outcome.stdout.splitlines() == [str(controller), "arguments", "--json", "-h", "--", ""]


def test_its_status_is_the_status(ecli: Ecli, controller: Path) -> None:
    outcome = ecli("run", controller, "unknown")
    assert outcome.status == 2
    assert outcome.stderr.startswith(f"usage: {controller} ")


def test_options_of_packages_are_refused(ecli: Ecli, controller: Path) -> None:
    outcome = ecli("run", "--json", controller, "maps")
    assert outcome.status == 2
    assert "error: --json is for packages" in outcome.stderr


def test_nobody_reads_its_output(ecli: Ecli, controller: Path) -> None:
    done = subprocess.run(
        ["sh", "-c", f"{sys.executable} -m ecli_py run {controller} lines | head -n 2"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("line\nline\n", "")


def test_nobody_reads_what_its_callbacks_write(ecli: Ecli, controller: Path) -> None:
    script = f"{sys.executable} -m ecli_py run {controller} events execs | head -n 1"
    with subprocess.Popen(["sh", "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        while running.poll() is None:
            subprocess.run(["true"], check=True)
        stdout, stderr = running.communicate()
    assert len(stdout.splitlines()) == 1
    assert stderr == "attached\n"


def test_what_it_is_can_be_seen_before_it_runs(ecli: Ecli, controller: Path) -> None:
    outcome = ecli("inspect", controller)
    assert (outcome.status, outcome.stderr) == (0, "")
    assert outcome.stdout.startswith("controller: it loads and attaches eBPF programs itself\n")
    assert "  on_packet   xdp               xdp\n" in outcome.stdout
    document = json.loads(ecli("inspect", "--json", controller).stdout)
    assert document["kind"] == "controller"
    assert "wasm_bpf_buffer_poll" in document["imports"]["wasm_bpf"]
    [found] = document["objects"]
    assert {"name": "on_exec", "type": "tracepoint", "section": "tp/sched/sched_process_exec"} in found["programs"]
    assert {"name": "perf", "type": "perf_event_array"} in found["maps"]


def test_an_object_that_may_not_be_loaded_is_not(ecli: Ecli, controller: Path) -> None:
    policy = ecli.directory / "ecli-py" / "policy.toml"
    policy.parent.mkdir()
    policy.write_text('[limits]\nprogram_types = ["none"]\n')
    limited = replace(ecli, environment={"XDG_CONFIG_HOME": str(ecli.directory)})
    outcome = limited("run", controller, "events", "execs")
    assert outcome.status != 0
    assert "is beyond the limits of " in outcome.stderr
    assert "attached" not in outcome.stderr.replace("is attached at", "")
    with ecli.start("run", "--allow", "all", controller, "events", "execs") as running:
        assert running.end().status == 0
