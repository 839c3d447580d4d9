"""Each kind of hook is detached for a pause and attached again, with no more rights than that takes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import ecli_py
from ecli_runtime.errors import EcliError, TargetError
from tests.bpf import held_by
from tests.cli import Ecli, Running, wait_until
from tests.control import events
from tests.kernel.conftest import Attaching, Cgroup, Network
from tests.kernel.test_attach_network import CONGESTION, congestion_controls
from tests.kernel.test_attach_tracing import PROGRAM
from tests.kernel.test_privileges import sets_of_threads
from tests.machine import NOBODY, missing, mounting

pytestmark = [pytest.mark.kernel, pytest.mark.compiler]

CAP_DAC_READ_SEARCH, CAP_NET_ADMIN, CAP_NET_RAW, CAP_SYS_ADMIN, CAP_PERFMON, CAP_BPF = (
    1 << bit for bit in (2, 12, 13, 21, 38, 39)
)
PROCESSES = 1 << 2 | 1 << 19  # CAP_DAC_READ_SEARCH, CAP_SYS_PTRACE
NETWORK, TRACING = CAP_BPF | CAP_NET_ADMIN, CAP_BPF | CAP_PERFMON
HOOKS = {
    "on_raw_tracepoint=sys_enter": TRACING,
    "on_tp_btf=sched_switch": TRACING,
    "on_perf_event": TRACING,
    "on_uprobe=libc:getpgid": TRACING | CAP_SYS_ADMIN | PROCESSES,
    "on_uprobe_multi=libc:getpg*": TRACING | PROCESSES,
    "on_xdp=inside": NETWORK,
    "on_tc=inside": NETWORK,
    "on_tc=inside:clsact": NETWORK,
    "on_netfilter=ipv4:input": NETWORK,
    "on_sk_lookup": NETWORK,
    "on_flow_dissector": NETWORK,
    "on_connect4=CGROUP": NETWORK,
    "on_sockops=CGROUP": NETWORK,
    "on_socket_filter=lo": CAP_BPF | CAP_NET_RAW,
    "on_message=sockets": NETWORK,
}


def links(running: Running) -> int:
    return len(held_by(running.pid)["link"])


@pytest.mark.parametrize(("target", "rights"), HOOKS.items())
def test_each_hook(networked: Attaching, network: Network, cgroup: Cgroup, target: str, rights: int) -> None:
    """In /run of the machine: what is asked for by its pid disturbs nobody."""
    before = network.run("tc", "qdisc", "show", "dev", "inside")
    with networked.started(target.replace("CGROUP", str(cgroup.path)), words=("--control",)) as running:
        held = links(running)
        for each in sets_of_threads(running.pid):
            assert each["CapEff"] == rights, hex(each["CapEff"])
        filters = network.run("tc", "filter", "show", "dev", "inside", "ingress")
        for _ in range(2):
            assert networked.ecli("pause", str(running.pid)).status == 0
            assert links(running) == 0
            assert network.run("tc", "qdisc", "show", "dev", "inside") == before
            outcome = networked.ecli("resume", str(running.pid))
            assert outcome.status == 0, outcome.stderr
            assert links(running) == held
        assert bool(network.run("tc", "filter", "show", "dev", "inside", "ingress")) == bool(filters)
        assert running.end().status == 0
    assert network.run("tc", "qdisc", "show", "dev", "inside") == before


@pytest.fixture
def contained(tmp_path: Path) -> Iterator[tuple[Path, int]]:
    """A program that is only there for another user's process, in its mount namespace: its path there, and the process."""
    cc = shutil.which("cc") or missing("C compiler (cc)")
    (tmp_path / "shop.c").write_text(PROGRAM)
    subprocess.run([cc, "-O2", "-o", tmp_path / "shop", tmp_path / "shop.c"], check=True)
    inside = tmp_path / "inside"
    inside.mkdir()
    script = f"cp ../shop . && chown -R {NOBODY} . && chmod 700 . && exec setpriv --reuid {NOBODY} {inside}/shop"
    words = [*mounting(tmpfs=str(inside)), "sh", "-ec", f"cd {inside}; {script}"]
    process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    try:
        wait_until(lambda: Path(f"/proc/{process.pid}/comm").read_text() == "shop\n", "the program")
        yield inside / "shop", process.pid
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("target", ["on_uprobe=SHOP:twice@PID", "on_uprobe_multi=SHOP:twi*@PID", "on_usdt=SHOP:shop:sale@PID"])
def test_a_binary_that_only_its_process_sees(attaching: Attaching, contained: tuple[Path, int], target: str) -> None:
    target = target.replace("SHOP", str(contained[0])).replace("PID", str(contained[1]))
    with attaching.started(target, words=("--control",)) as running:
        assert attaching.ecli("pause", str(running.pid)).status == 0
        outcome = attaching.ecli("resume", str(running.pid))
        assert outcome.status == 0, outcome.stderr
        assert running.end().status == 0


def test_packets_are_seen_before_and_after(networked: Attaching, network: Network) -> None:
    with networked.started("on_xdp=inside", words=("--control",)) as running:

        def seen() -> bool:
            network.send()
            return len(events(running)) > count

        count = 0
        wait_until(seen, "a packet")
        assert networked.ecli("pause", str(running.pid)).status == 0
        count = len(events(running))
        for _ in range(3):
            assert not seen()
        assert networked.ecli("resume", str(running.pid)).status == 0
        wait_until(seen, "a packet")


def test_a_place_that_somebody_else_has_taken(networked: Attaching, network: Network, tmp_path: Path) -> None:
    with networked.started("on_xdp=inside", words=("--control",)) as running:
        assert networked.ecli("pause", str(running.pid)).status == 0
        (tmp_path / "second").mkdir()
        with replace(networked.ecli, directory=tmp_path / "second").start("run", networked.package, "--attach", "on_xdp=inside"):
            networked.ecli("resume", str(running.pid)).fails("Device or resource busy", "another XDP program is there")
            (status,) = (each for each in json.loads(networked.ecli("ps", "--json").stdout) if each["pid"] == running.pid)
            assert status["state"] == "paused"
        wait_until(lambda: networked.ecli("resume", str(running.pid)).status == 0, "its place to be free")
        assert links(running) == 1


def test_what_is_done_is_not_done_again(attaching: Attaching) -> None:
    """Iterators were read, and a program of SEC("syscall") has run."""
    targets = ("on_run", "on_raw_tracepoint=sys_enter")
    with attaching.started(*targets, words=("--control", "--only_pid", str(os.getpid()))) as running:
        assert attaching.ecli("pause", str(running.pid)).status == 0
        assert attaching.ecli("resume", str(running.pid)).status == 0
        hits = [hook for hook, _value in attaching.hits(running)]
    assert hits.count("SYSCALL") == 1


def test_a_replaced_function_cannot_be_paused(networked: Attaching, network: Network) -> None:
    with networked.started("on_xdp_with_function=inside") as running:
        (number,) = held_by(running.pid)["prog"]
        try:
            tool = ecli_py.open(networked.package, attach={"replacement": str(number)})
        except EcliError as error:
            pytest.skip(f"this kernel refuses freplace: {error}")
        with tool, pytest.raises(TargetError, match="cannot pause: replacement could not be attached again"):
            tool.pause()


def test_callbacks(build: Ecli, network: Network) -> None:
    (build.directory / "tool.bpf.c").write_text(
        CONGESTION.replace("SECTION", ".struct_ops.link").replace("ecli_test", "ecli_pause")
    )
    assert build("build", "tool.bpf.c").status == 0
    with replace(build, prefix=network.prefix).start("run", "tool.json", "--json", "--control") as running:
        assert build("pause", str(running.pid)).status == 0
        wait_until(lambda: "ecli_pause" not in congestion_controls(), "the callbacks to go")
        outcome = build("resume", str(running.pid))
        assert outcome.status == 0, outcome.stderr
        assert "ecli_pause" in congestion_controls()
        assert running.end().status == 0
