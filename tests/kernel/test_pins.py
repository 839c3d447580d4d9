"""Pins: made on request only, they keep programs attached, and `ecli-py unpin` says what it removes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.bpf import held_by, living, wait_gone
from tests.cli import Ecli, wait_until
from tests.conftest import ROOT
from tests.kernel.conftest import Attaching, Network
from tests.kernel.test_kill import kept
from tests.kernel.test_privileges import has_only, with_rights
from tests.machine import mounting

pytestmark = [pytest.mark.kernel, pytest.mark.compiler]

DIRECTORY = "/sys/fs/bpf/ours"


class Pinning:
    """A mount namespace with a BPF file system of its own, and what attaches there."""

    def __init__(self, attaching: Attaching, network: Network, pid: int) -> None:
        prefix = ["nsenter", f"--mount=/proc/{pid}/ns/mnt", *network.prefix[1:]]
        self.ecli = replace(attaching.ecli, prefix=prefix)
        self.attaching = replace(attaching, ecli=self.ecli)
        self.root = Path(f"/proc/{pid}/root")
        self.directory = self.root / DIRECTORY[1:]

    def run(self, *targets: str) -> dict[str, set[int]]:
        """Run programs with pins, end that, and return what the run held."""
        words = [word for target in targets for word in ("--attach", target)]
        with self.ecli.start("run", self.attaching.package, "--json", "--pin", DIRECTORY, *words) as running:
            held = held_by(running.pid)
            outcome = running.end()
        assert outcome.status == 0, outcome.stderr
        assert f"pinned in {DIRECTORY}, until `ecli-py unpin {DIRECTORY}`\n" in outcome.stderr
        return held


@pytest.fixture
def pinning(attaching: Attaching, network: Network) -> Iterator[Pinning]:
    words = mounting(bpf="/sys/fs/bpf", tracefs="/sys/kernel/tracing")
    with kept(*words, "sh", "-c", "echo ready; read line") as holder:
        yield Pinning(attaching, network, holder.pid)


def test_pinned_programs_stay_until_they_are_unpinned(pinning: Pinning, network: Network) -> None:
    targets = ("on_xdp=inside", "on_tracepoint=syscalls:sys_enter_getpgid", "on_uprobe=libc:getpgid", "on_perf_event")
    held = pinning.run(*targets)
    assert held["link"] <= living("link")
    names = sorted(each.name for each in (pinning.directory / "links").iterdir())
    events = [f"on_perf_event-{number}" if number else "on_perf_event" for number in range(len(names) - 3)]
    assert names == sorted(["on_xdp", "on_tracepoint", "on_uprobe", *events])
    maps = {each.name for each in (pinning.directory / "maps").iterdir()}
    assert {"hits", "sockets"} <= maps
    assert '"xdp"' in network.run("ip", "-j", "link", "show", "dev", "inside")
    outcome = pinning.ecli("unpin", DIRECTORY)
    assert (outcome.status, outcome.stderr) == (0, "")
    assert "link on_xdp (xdp, program " in outcome.stdout
    assert "link on_tracepoint (perf, program " in outcome.stdout
    assert "map hits (ringbuf, id " in outcome.stdout
    assert len(outcome.stdout.splitlines()) == len(names) + len(maps)
    wait_gone(held)
    assert not pinning.directory.exists()


def test_what_is_pinned_cannot_be_paused(pinning: Pinning) -> None:
    words = ("--json", "--control", "--pin", DIRECTORY, "--attach", "on_xdp=inside")
    with pinning.ecli.start("run", pinning.attaching.package, *words) as running:
        assert has_only(running)
        pinning.ecli("pause", str(running.pid)).fails("cannot pause: what is pinned stays attached", "ecli-py unpin")
        assert running.end().status == 0
    assert pinning.ecli("unpin", DIRECTORY).status == 0


def test_a_pinned_program_still_runs(pinning: Pinning) -> None:
    """Its events are read by whoever opens the pinned map; here, its buffer fills."""
    held = pinning.run("on_tracepoint=syscalls:sys_enter_getpgid")
    (program,) = held["prog"]
    assert program in living("prog")
    for _ in range(1000):
        os.getpgid(0)
    pinning.ecli("run", pinning.attaching.package, "--pin", DIRECTORY, "--attach", "on_xdp=lo").fails(
        f"--pin: {DIRECTORY} is not empty", f"`ecli-py unpin {DIRECTORY}`"
    )
    assert pinning.ecli("unpin", DIRECTORY).status == 0
    wait_gone(held)


def test_pins_of_somebody_with_rights(pinning: Pinning, ordinary_user: Ecli) -> None:
    package = ordinary_user.directory / "hooks.json"
    package.write_bytes(pinning.attaching.package.read_bytes())
    package.chmod(0o644)
    able, unable = with_rights(ordinary_user, "bpf", "net_admin"), with_rights(ordinary_user)
    able, unable = (replace(each, prefix=[*pinning.ecli.prefix, *each.prefix]) for each in (able, unable))
    words = ("run", package, "--attach", "on_xdp=lo", "--duration", "10ms", "--pin", DIRECTORY)
    assert able(*words).status == 0
    outcome = unable("unpin", DIRECTORY)
    assert (outcome.status, "link on_xdp (xdp, program " in outcome.stdout) == (0, True), outcome.stderr
    pinning.run("on_xdp=lo")  # by root
    unable("unpin", DIRECTORY).fails(f"error: cannot unpin {DIRECTORY}/", "Permission denied", "hint: run it as root (sudo)")
    able(*words).fails(f"error: --pin: {DIRECTORY} cannot be read: Permission denied", "name a new one")
    assert pinning.ecli("unpin", DIRECTORY).status == 0


def test_without_a_request_nothing_is_pinned(pinning: Pinning) -> None:
    before = sorted((pinning.root / "sys/fs/bpf").iterdir())
    with pinning.attaching.started("on_xdp=lo", "on_tracepoint=syscalls:sys_enter_getpgid") as running:
        assert sorted((pinning.root / "sys/fs/bpf").iterdir()) == before
        running.end(signal.SIGKILL)
    assert sorted((pinning.root / "sys/fs/bpf").iterdir()) == before


def test_what_cannot_be_pinned_leaves_nothing(pinning: Pinning) -> None:
    def fails(*targets: str, text: str) -> None:
        words = [word for target in targets for word in ("--attach", target)]
        links = living("link")
        pinning.ecli("run", pinning.attaching.package, "--pin", DIRECTORY, *words).fails(text, "pinned are links")
        assert not pinning.directory.exists()
        wait_until(lambda: living("link") <= links, "links to go")

    fails("on_xdp=lo", "on_tc=lo:clsact", text="on_tc: what keeps it attached is no link")
    fails("on_xdp=lo", "on_socket_filter=any", text="on_socket_filter: cannot be pinned at ")


def test_directories_that_are_none(pinning: Pinning, ecli: Ecli, tmp_path: Path) -> None:
    package = pinning.attaching.package
    for directory in (tmp_path / "here", "/sys/fs/bpf/no/such/parent"):
        pinning.ecli("run", package, "--pin", directory, "--attach", "on_xdp=lo").fails(
            "--pin: ", "for example --pin /sys/fs/bpf/NAME"
        )
    pinning.ecli("unpin", "/sys/fs/bpf").fails("/sys/fs/bpf: no run has pinned anything there")
    ecli("unpin", tmp_path).fails("no run has pinned anything there")


def test_what_others_have_pinned_stays(pinning: Pinning) -> None:
    pinning.run("on_xdp=lo")
    (pinning.directory / "theirs").mkdir()
    os.link(pinning.directory / "maps" / "hits", pinning.directory / "links" / "a_map")
    outcome = pinning.ecli("unpin", DIRECTORY)
    assert outcome.status == 0
    assert "map hits (ringbuf, id " in outcome.stdout
    assert [f"warning: {DIRECTORY}/{each} stays: no run has pinned it" for each in ("links/a_map", "theirs")] == (
        outcome.stderr.splitlines()
    )
    assert {each.name for each in pinning.directory.iterdir()} == {"theirs", "links", "made-by"}
    (pinning.directory / "links" / "a_map").unlink()
    assert pinning.ecli("unpin", DIRECTORY).status == 0
    assert [each.name for each in pinning.directory.iterdir()] == ["theirs"]


def test_a_directory_of_others_is_refused(pinning: Pinning) -> None:
    for part in ("links", "maps/held"):
        (pinning.directory / part).mkdir(parents=True)
    pinning.ecli("unpin", DIRECTORY).fails(f"{DIRECTORY}: no run has pinned anything there")
    words = ("run", pinning.attaching.package, "--pin", DIRECTORY, "--attach", "on_xdp=lo")
    pinning.ecli(*words).fails(f"--pin: {DIRECTORY} is not empty", "name a new one")
    assert {each.name for each in pinning.directory.iterdir()} == {"links", "maps"}


def test_what_is_pinned_needs_no_right_to_stay(pinning: Pinning) -> None:
    words = ("--pin", DIRECTORY, "--attach", "on_xdp=lo", "--attach", "on_uprobe=libc:getpgid")
    with pinning.ecli.start("run", pinning.attaching.package, "--json", *words) as running:
        held = held_by(running.pid)
        assert has_only(running)
        assert running.end(signal.SIGKILL).status == -signal.SIGKILL
    assert held["link"] <= living("link")
    assert pinning.ecli("unpin", DIRECTORY).status == 0
    wait_gone(held)


def test_a_pinned_flood_does_not_keep_the_run(pinning: Pinning) -> None:
    words = ("--pin", DIRECTORY, "--attach", "on_raw_tracepoint=sys_enter", "--duration", "300ms")
    with subprocess.Popen([sys.executable, "-c", "import os\nwhile True: os.getpgid(0)"]) as process:
        try:
            outcome = pinning.ecli("run", pinning.attaching.package, "--json", *words)
        finally:
            process.kill()
    assert (outcome.status, len(outcome.events) > 1000) == (0, True), outcome.stderr
    assert pinning.ecli("unpin", DIRECTORY).status == 0


def test_no_limit_for_what_stays_attached(pinning: Pinning) -> None:
    words = ("--pin", DIRECTORY, "--max-overhead", "1%", "--attach", "on_xdp=lo")
    outcome = pinning.ecli("run", pinning.attaching.package, *words)
    assert (outcome.status, "--pin and --max-overhead exclude each other" in outcome.stderr) == (2, True)


FROM_PYTHON = """
import os, sys, time
import ecli_py
from ecli_schemas.errors import EcliError
from tests.bpf import held_by, living
from ecli_runtime.pins import unpin
package, directory = sys.argv[1:]
attach = {"on_xdp": "lo", "on_uprobe": "libc:getpgid", "on_perf_event": "software:cpu-clock@9Hz"}
with ecli_py.open(package, attach=attach, pin=directory) as tool:
    links = held_by(os.getpid())["link"]
assert links and links <= living("link")
print([what.split()[1] for what, is_removed in unpin(directory) if is_removed and what.startswith("link")])
deadline = time.monotonic() + 30
while links & living("link"):  # this process holds none of them
    assert time.monotonic() < deadline
    time.sleep(0.01)
try:
    ecli_py.open(package, attach={"on_tc": "lo:clsact"}, pin=directory)
except EcliError as error:
    print(error)
assert not os.path.exists(directory) and not held_by(os.getpid())["prog"]
"""


def test_pins_from_python(pinning: Pinning) -> None:
    words = [*pinning.ecli.prefix, sys.executable, "-c", FROM_PYTHON, str(pinning.attaching.package), DIRECTORY]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    names, error = done.stdout.splitlines()
    assert names.startswith("['on_perf_event', ")
    assert names.endswith("'on_uprobe', 'on_xdp']")
    assert error == "on_tc: what keeps it attached is no link, which could be pinned"
