"""XDP, traffic control, netfilter, namespaces, sockets: each is attached, triggered, and reports; others' stay as they are."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from tests.bpf import held_by, living, wait_gone
from tests.cli import PATIENCE_S, Ecli, wait_until
from tests.corpus_programs import CORPUS
from tests.kernel.conftest import Attaching, Cgroup, Network

pytestmark = [pytest.mark.kernel, pytest.mark.compiler]


def filters(network: Network, direction: str) -> str:
    return network.run("tc", "filter", "show", "dev", "inside", direction)


def add_filter(network: Network, direction: str) -> None:
    """Add a filter as somebody else would: of classic BPF, and it matches nothing."""
    network.run("tc", "filter", "add", "dev", "inside", direction, "bpf", "bytecode", "1,6 0 0 0", "classid", "1:1")


def qdiscs(network: Network) -> str:
    return network.run("tc", "qdisc", "show", "dev", "inside")


def xdp_of(network: Network, interface: str) -> str:
    """Return in which mode an interface has an XDP program, or nothing (``ip -j link``: 1 native, 2 generic)."""
    (link,) = json.loads(network.run("ip", "-j", "-details", "link", "show", "dev", interface))
    return {1: "native", 2: "generic"}.get(link.get("xdp", {}).get("mode", 0), "")


@pytest.mark.parametrize(
    ("target", "interface", "mode"),
    [
        ("inside", "inside", "native"),
        ("inside:native", "inside", "native"),
        ("inside:generic", "inside", "generic"),
        ("lo", "lo", "generic"),
        ("1", "lo", "generic"),
    ],
)
def test_xdp(networked: Attaching, network: Network, target: str, interface: str, mode: str) -> None:
    with networked.started(f"on_xdp={target}") as running:
        assert xdp_of(network, interface) == mode
        network.send("127.0.0.1" if interface == "lo" else "10.9.0.2")
        assert ("XDP", 0) in networked.hits(running)
    assert xdp_of(network, interface) == ""


def test_an_xdp_program_of_somebody_else_stays(networked: Attaching, network: Network) -> None:
    with networked.started("on_xdp_with_function=inside") as running:
        second = replace(networked, ecli=replace(networked.ecli, directory=networked.ecli.directory.parent))
        second.fails(
            "on_xdp=inside", "cannot attach to interface inside: Device or resource busy", "another XDP program is there"
        )
        second.fails("on_xdp=inside:generic", "another XDP program is there")
        network.send()
        assert ("ORIGINAL", 0) in networked.hits(running)


def test_replacing_a_function_of_another_program(networked: Attaching, network: Network) -> None:
    with networked.started("on_xdp_with_function=inside") as running:
        (number,) = held_by(running.pid)["prog"]
        outcome = networked.ecli("run", networked.package, "--attach", f"replacement={number}", "--duration", "10ms", "--json")
    if outcome.status:
        # Where functions may not be patched this is refused, when it is loaded or when it is attached.
        assert "error: " in outcome.stderr
        pytest.skip(f"this kernel refuses freplace: {outcome.stderr}")


def test_functions_to_replace_that_there_are_not(networked: Attaching) -> None:
    networked.fails("replacement=4000000000:replaceable", "cannot open prog 4000000000: No such file or directory")
    networked.fails("replacement=/sys/fs/bpf/nothing", "cannot open prog /sys/fs/bpf/nothing: No such file or directory")
    networked.fails("replacement", "needs a program whose function it replaces", "=ID_OR_PIN:FUNCTION")


@pytest.mark.parametrize(
    ("target", "hook"),
    [
        ("on_tc=inside", "TC"),
        ("on_tc=inside:egress", "TC"),
        ("on_tcx_ingress=inside", "TCX_INGRESS"),
        ("on_tcx_egress=inside", "TCX_EGRESS"),
        ("on_tcx_ingress=inside:egress", "TCX_INGRESS"),
    ],
)
def test_tcx(networked: Attaching, network: Network, target: str, hook: str) -> None:
    before = qdiscs(network)
    with networked.started(target) as running:
        assert qdiscs(network) == before
        network.send()
        assert (hook, 0) in networked.hits(running)


@pytest.mark.parametrize("direction", ["ingress", "egress"])
def test_clsact(networked: Attaching, network: Network, direction: str) -> None:
    before = qdiscs(network)
    with networked.started(f"on_tc=inside:{direction}:clsact") as running:
        assert "direct-action" in filters(network, direction)
        network.send()
        assert ("TC", 0) in networked.hits(running)
    assert qdiscs(network) == before


def test_filters_of_others_stay(networked: Attaching, network: Network) -> None:
    network.run("tc", "qdisc", "add", "dev", "inside", "clsact")
    add_filter(network, "ingress")
    before, theirs = qdiscs(network), filters(network, "ingress")
    with networked.started("on_tc=inside:clsact", "on_tcx_egress=inside") as running:
        assert len(filters(network, "ingress")) > len(theirs)
        running.end(signal.SIGTERM)
    assert (qdiscs(network), filters(network, "ingress")) == (before, theirs)


def test_filters_that_others_add_to_our_clsact_stay(networked: Attaching, network: Network) -> None:
    with networked.started("on_tc=inside:clsact") as running:
        add_filter(network, "egress")
        theirs = filters(network, "egress")
        running.end()
    assert filters(network, "egress") == theirs != ""
    assert filters(network, "ingress") == ""


def test_somebody_removes_our_filter(networked: Attaching, network: Network) -> None:
    with networked.started("on_tc=inside:clsact") as running:
        network.run("tc", "qdisc", "delete", "dev", "inside", "clsact")
        assert running.end().status == 0
    with networked.started("on_tc=inside:clsact", "on_xdp=inside", "on_tcx_ingress=inside") as running:
        network.run("ip", "link", "delete", "inside")
        assert running.end().status == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_a_killed_run_leaves_nothing(networked: Attaching, network: Network, cgroup: Cgroup, number: signal.Signals) -> None:
    before = qdiscs(network)
    targets = ["on_xdp=inside", "on_tc=inside", "on_tcx_egress=inside", "on_netfilter=ipv4:input", "on_sk_lookup"]
    targets += ["on_flow_dissector", "on_socket_filter=any", f"on_connect4={cgroup.path}", f"on_sockops={cgroup.path}"]
    targets += ["on_message=sockets", "on_tracepoint=syscalls:sys_enter_getpgid", "on_uprobe=libc:getpgid", "on_perf_event"]
    with networked.started(*targets) as running:
        held = held_by(running.pid)
        assert len(held["prog"]) == len(targets)
        network.send()
        running.end(number)
    wait_gone(held)
    assert (qdiscs(network), xdp_of(network, "inside")) == (before, "")


@pytest.mark.parametrize("delay_s", [0.06, 0.1, 0.14, 0.18, 0.22])
def test_a_signal_at_any_time_leaves_nothing(networked: Attaching, network: Network, delay_s: float) -> None:
    before = qdiscs(network)
    words = ["-m", "ecli_py", "run", str(networked.package), "--attach", "on_tc=inside:clsact"]
    with subprocess.Popen(
        [*network.prefix, sys.executable, *words], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as process:
        time.sleep(delay_s)
        process.terminate()
        process.communicate(timeout=PATIENCE_S)
    assert process.returncode in (0, -signal.SIGTERM)  # in order, or before there was anything
    assert qdiscs(network) == before


def test_what_cannot_be_attached_leaves_nothing(networked: Attaching, network: Network) -> None:
    before, links = qdiscs(network), living("link")
    networked.fails("on_netkit=inside", "cannot attach", words=("--attach", "on_tc=inside:clsact", "--attach", "on_xdp=inside"))
    assert (qdiscs(network), xdp_of(network, "inside")) == (before, "")
    wait_until(lambda: living("link") <= links, "links to go")


def test_netfilter(networked: Attaching, network: Network) -> None:
    with networked.started("on_netfilter=ipv4:input:-5") as running:
        networked.fails("on_netfilter=ipv4:input:-5", "priority -5: Device or resource busy", "say another one")
        network.send("127.0.0.1")
        assert ("NETFILTER", 0) in networked.hits(running)


def test_sk_lookup(networked: Attaching, network: Network, attaching: Attaching) -> None:
    with networked.started("on_sk_lookup") as running:
        network.send("127.0.0.1", 4711)
        assert ("SK_LOOKUP", 4711) in networked.hits(running)
    with attaching.started(f"on_sk_lookup={network.path}") as running:
        network.send("127.0.0.1", 4712)
        assert ("SK_LOOKUP", 4712) in networked.hits(running)
    with attaching.started(f"on_sk_lookup={network.name}") as running:
        attaching.fails("on_sk_lookup=nothing", "cannot open /run/netns/nothing: No such file or directory")


# Finding the queue of a packet by its hash dissects it.
FANOUT = """
import socket
packets = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
packets.setsockopt(263, 18, 1)
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
    s.sendto(b"hello", ("10.9.0.2", 9))
packets.recv(100)
"""


def test_flow_dissector(networked: Attaching, network: Network) -> None:
    with networked.started("on_flow_dissector") as running:
        networked.fails("on_flow_dissector", "cannot attach to this network namespace", "another program is attached there")
        network.python(FANOUT)
        assert ("FLOW_DISSECTOR", 0) in networked.hits(running)


@pytest.mark.parametrize("target", ["lo", "any"])
def test_socket_filter(networked: Attaching, network: Network, target: str) -> None:
    with networked.started(f"on_socket_filter={target}") as running:
        network.send("127.0.0.1")
        assert ("SOCKET_FILTER", 0) in networked.hits(running)


CONGESTION = """
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

struct event {
	u32 number;
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} events SEC(".maps");

SEC("struct_ops") void BPF_PROG(begin, struct sock *sk)
{
	struct event event = { 7 };

	bpf_ringbuf_output(&events, &event, sizeof(event), 0);
}

SEC("struct_ops") u32 BPF_PROG(ssthresh, struct sock *sk) { return 10; }
SEC("struct_ops") void BPF_PROG(cong_avoid, struct sock *sk, u32 ack, u32 acked) {}
SEC("struct_ops") u32 BPF_PROG(undo_cwnd, struct sock *sk) { return 10; }

SEC("SECTION") struct tcp_congestion_ops ops = {
	.init = (void *)begin,
	.ssthresh = (void *)ssthresh,
	.cong_avoid = (void *)cong_avoid,
	.undo_cwnd = (void *)undo_cwnd,
	.name = "ecli_test",
};

char LICENSE[] SEC("license") = "GPL";
"""

CONNECT = """
import socket, sys
with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as client:
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"ecli_test")
    client.connect(server.getsockname())
"""


def congestion_controls() -> list[str]:
    return Path("/proc/sys/net/ipv4/tcp_available_congestion_control").read_text().split()


@pytest.mark.parametrize("section", [".struct_ops", ".struct_ops.link"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_struct_ops(build: Ecli, network: Network, section: str, number: signal.Signals) -> None:
    (build.directory / "tool.bpf.c").write_text(CONGESTION.replace("SECTION", section))
    assert build("build", "tool.bpf.c").status == 0
    with replace(build, prefix=network.prefix).start("run", "tool.json", "--json") as running:
        held = held_by(running.pid)
        assert "ecli_test" in congestion_controls()
        build("run", "tool.json").fails("ops: the kernel does not take these callbacks: File exists", "the same name")
        network.python(CONNECT)
        wait_until(lambda: '{"number":7}\n' in running.stdout, "the event")
        running.end(number)
    wait_until(lambda: "ecli_test" not in congestion_controls(), "the callbacks to go")
    wait_gone(held)
    build("run", "tool.json", "--disable", "ops").fails("nothing is left to attach")
    build("run", "tool.json", "--disable", "begin").fails("begin is a callback", "--disable names the map: ops")


def test_called_programs_are_not_attached(build: Ecli, network: Network) -> None:
    assert build("build", CORPUS["tcxchain"], "-o", "chain.json").status == 0
    with replace(build, prefix=network.prefix).start("run", "chain.json", "--iface", "inside", "--json") as running:
        held = held_by(running.pid)
        assert (len(held["prog"]), len(held["link"])) == (3, 1)
        network.send()
        outcome = running.end()
    assert {event["protocol"] for event in outcome.events} & {0x0800, 0x86DD}


def test_what_packages_say(build: Ecli, network: Network, hooks: Path) -> None:
    assert build("build", CORPUS["xdpguard"], "-o", "guard.json").status == 0
    inside = replace(build, prefix=network.prefix)
    inside("run", "guard.json").fails(
        'xdp_guard: SEC("xdp") needs a network interface', "--iface NAME or --attach xdp_guard=NAME"
    )
    document = json.loads((build.directory / "guard.json").read_text())
    upstream = {key: value for key, value in document.items() if key != "ecli"}
    (build.directory / "upstream.json").write_text(json.dumps(upstream))
    with inside.start("run", "upstream.json"):
        assert xdp_of(network, "lo") == "generic"  # upstream's default
    (link,) = json.loads(network.run("ip", "-j", "link", "show", "dev", "inside"))
    upstream["meta"]["bpf_skel"]["progs"][0] |= {"ifindex": link["ifindex"], "flags": 2}  # XDP_FLAGS_SKB_MODE
    (build.directory / "upstream.json").write_text(json.dumps(upstream))
    with inside.start("run", "upstream.json"):
        assert xdp_of(network, "inside") == "generic"
    with inside.start("run", "upstream.json", "--attach", "xdp_guard=inside"):
        assert xdp_of(network, "inside") == "native"


def test_targets_that_are_none(networked: Attaching) -> None:
    networked.fails("on_xdp=insied", "target 'insied': there is no network interface 'insied'", "interfaces: lo, inside")
    networked.fails("on_xdp=99", "there is no network interface '99'")
    networked.fails("on_xdp=lo:egress", "behind the interface goes one of generic, native, offload")
    networked.fails("on_tc=lo:egress:ingress", "behind the interface goes one of ingress, egress, clsact")
    networked.fails("on_netfilter", 'SEC("netfilter") needs a netfilter hook')
    networked.fails("on_netfilter=ipv4", "no netfilter hook", "ipv4:prerouting")
    networked.fails("on_netfilter=ipv4:input:high", "'high' is no priority")
    networked.fails("on_xdp", "--iface: there is no network interface 'nowhere'", words=("--iface", "nowhere"))
    networked.fails("on_netkit=inside", "cannot attach to interface inside (primary): ", "netkit pair")
    networked.fails("on_message=socket", "there is no map of sockets 'socket'", "did you mean sockets?")
    networked.fails("on_verdict=sockets", "one of parser, verdict or stream_verdict", "for example sockets:verdict")
    networked.fails("on_message", "needs a map of sockets", "--attach on_message=sockets or --attach on_message=others")
