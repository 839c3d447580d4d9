"""Programs of control groups, and of the sockets that such a program puts into a map: attached, triggered, and each reports."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.cli import Ecli
from tests.corpus_programs import CORPUS
from tests.kernel.conftest import Attaching, Cgroup
from tests.machine import mounting

pytestmark = [pytest.mark.kernel, pytest.mark.compiler]

TALK = """
import socket
with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
    accepted = server.accept()[0]
    client.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    client.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    client.send(b"hello")
    assert accepted.recv(5) == b"hello"
    accepted.close()
open("/proc/sys/net/ipv4/ip_forward").read()
open("/dev/zero").read(1)
"""


@pytest.mark.parametrize(
    ("target", "hook"),
    [
        ("on_ingress={}", "CGROUP_INGRESS"),
        ("on_packets={}:egress", "CGROUP_EGRESS"),
        ("on_packets={}", "CGROUP_EGRESS"),
        ("on_sock_create={}", "SOCK_CREATE"),
        ("on_connect4={}", "CONNECT4"),
        ("on_getsockopt={}", "GETSOCKOPT"),
        ("on_setsockopt={}", "SETSOCKOPT"),
        ("on_sysctl={}", "SYSCTL"),
        ("on_device={}", "DEVICE"),
        ("on_sockops={}", "SOCKOPS"),
    ],
)
def test_a_process_of_the_group(attaching: Attaching, cgroup: Cgroup, target: str, hook: str) -> None:
    with attaching.started(target.format(cgroup.path)) as running:
        cgroup.python(TALK)
        assert hook in {each for each, _value in attaching.hits(running)}


def test_two_runs_on_one_group(attaching: Attaching, cgroup: Cgroup, tmp_path_factory: pytest.TempPathFactory) -> None:
    other = replace(attaching, ecli=replace(attaching.ecli, directory=tmp_path_factory.mktemp("other")))
    with attaching.started(f"on_connect4={cgroup.path}") as running, other.started(f"on_connect4={cgroup.path}") as second:
        cgroup.python(TALK)
        assert attaching.hits(running)
        assert other.hits(second)


@pytest.mark.parametrize(
    ("targets", "expected"),
    [
        (("on_message=sockets",), {"SK_MSG"}),
        (("on_verdict=sockets:verdict",), {"VERDICT"}),
        (("on_stream_verdict=sockets",), {"STREAM_VERDICT"}),
        (("on_stream_parser=sockets", "on_stream_verdict=sockets"), {"STREAM_PARSER", "STREAM_VERDICT"}),
    ],
)
def test_sockets_of_a_map(attaching: Attaching, cgroup: Cgroup, targets: tuple[str, ...], expected: set[str]) -> None:
    with attaching.started(f"on_sockops={cgroup.path}", *targets) as running:
        cgroup.python(TALK)
        assert expected <= {hook for hook, _value in attaching.hits(running)}


def test_the_shortcut_serves_all(build: Ecli, cgroup: Cgroup) -> None:
    assert build("build", CORPUS["sockbypass"], "-o", "bypass.json").status == 0
    build("run", "bypass.json").fails(
        'on_sockops: SEC("sockops") needs a control group', "--cgroup PATH or --attach on_sockops=PATH"
    )
    with build.start("run", "bypass.json", "--cgroup", cgroup.path, "--json") as running:
        cgroup.python(TALK)
        outcome = running.end()
    assert len(outcome.events) == 2  # both ends


def test_where_only_version_1_is_mounted(attaching: Attaching, cgroup: Cgroup) -> None:
    """The run mounts version 2 for itself; paths are those of a machine where it is mounted at the usual place."""
    prefix = ["unshare", "--mount", "--propagation", "private", "sh", "-ec"]
    prefix += [f'umount {cgroup.path.parent}; test ! -e {cgroup.path}; exec "$@"', "sh"]
    mounting()  # or skip
    hidden = replace(attaching, ecli=replace(attaching.ecli, prefix=prefix))
    with hidden.started(f"on_connect4=/sys/fs/cgroup/{cgroup.path.name}") as running:
        cgroup.python(TALK)
        assert hidden.hits(running)


def test_the_usual_path_where_it_is_mounted_elsewhere(attaching: Attaching, cgroup: Cgroup) -> None:
    with attaching.started(f"on_connect4=/sys/fs/cgroup/{cgroup.path.name}") as running:
        cgroup.python(TALK)
        assert attaching.hits(running)


def test_groups_that_there_are_not(attaching: Attaching, cgroup: Cgroup, tmp_path: Path) -> None:
    attaching.fails("on_connect4", 'SEC("cgroup/connect4") needs a control group', "--cgroup PATH or --attach on_connect4=PATH")
    attaching.fails(
        f"on_connect4={cgroup.path}x", f"there is no control group {cgroup.path}x", f"did you mean {cgroup.path.name}?"
    )
    attaching.fails(f"on_connect4={tmp_path}", f"{tmp_path} is no control group of version 2")
    attaching.fails("on_connect4", "--cgroup: there is no control group /nowhere", words=("--cgroup", "/nowhere"))
