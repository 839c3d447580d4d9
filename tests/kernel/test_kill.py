"""A run ends badly in the middle of 50,000 events a second: nothing of it is left in the kernel, and all of others' is.

What is left is asked of the kernel itself: ids of programs, maps, types and links by bpf(2), what `ip` and `tc` show, pins in
their file system, and probes in tracefs.
"""

from __future__ import annotations

import fcntl
import json
import os
import pty
import signal
import subprocess
import sys
import termios
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.bpf import held_by, wait_gone
from tests.cli import PATIENCE_S, Ecli, wait_until
from tests.kernel.conftest import Attaching, Cgroup, Network
from tests.machine import mounting

pytestmark = [pytest.mark.kernel, pytest.mark.compiler]

RATE = 50_000
# Says how many calls it has made, a line each time.
PRODUCER = f"""
import os, time
begin, made = time.monotonic(), 0
while True:
    for _ in range(1000):
        os.getpgid(0)
    made += 1000
    if made % {RATE // 10} == 0:
        print(made / (time.monotonic() - begin), flush=True)
    time.sleep(max(begin + made / {RATE * 1.2} - time.monotonic(), 0))
"""

# Somebody else's XDP program on loopback, by bpf(2): BPF_PROG_LOAD and BPF_LINK_CREATE of enum bpf_cmd.
FOREIGN = """
import ctypes, platform, struct, sys
bpf = {"x86_64": 321, "s390x": 351}.get(platform.machine(), 280)
syscall = ctypes.CDLL(None, use_errno=True).syscall
code = ctypes.create_string_buffer(struct.pack("=BBhiBBhi", 0xB7, 0, 0, 2, 0x95, 0, 0, 0))  # return XDP_PASS
licence = ctypes.create_string_buffer(b"GPL")
load = struct.pack("=IIQQIIQII16sII", 6, 2, ctypes.addressof(code), ctypes.addressof(licence), 0, 0, 0, 0, 0, b"foreign", 0, 37)
prog = syscall(bpf, 5, load, len(load))
create = struct.pack("=IIII", prog, 1, 37, 2)  # BPF_XDP, XDP_FLAGS_SKB_MODE
assert prog >= 0 and syscall(bpf, 28, create, len(create)) >= 0, ctypes.get_errno()
print("attached", flush=True)
sys.stdin.read()
"""


@contextmanager
def kept(*words: str) -> Iterator[subprocess.Popen[str]]:
    """Run a command until its first line, and kill it in the end."""
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline(), words
            yield process
        finally:
            process.kill()


@dataclass(frozen=True)
class Place:
    """Network and mount namespaces, and what others have there.

    Attributes:
        network: The network.
        root: The root directory, as seen from here; of its own it has pins, tracefs, and a small disk on ``/mnt``.
        prefix: Words that start a command there.
        producer: Process that makes the events.
    """

    network: Network
    root: Path
    prefix: list[str]
    producer: subprocess.Popen[str]

    def state(self, pid: int = -1) -> dict[str, str]:
        """Return what is in the network, pinned, and of a process in tracefs."""
        filters = ("tc", "filter", "show", "dev", "inside")
        found = {direction: self.network.run(*filters, direction) for direction in ("ingress", "egress")}
        found["qdiscs"] = self.network.run("tc", "qdisc", "show")
        links = json.loads(self.network.run("ip", "-j", "-details", "link", "show"))
        found["XDP"] = str({link["ifname"]: link.get("xdp") for link in links})
        found["pins"] = str(sorted(str(each) for each in (self.root / "sys/fs/bpf").rglob("*")))
        for name in ("kprobe_events", "uprobe_events"):
            with suppress(FileNotFoundError):  # a kernel without
                lines = (self.root / "sys/kernel/tracing" / name).read_text().splitlines()
                found[name] = "\n".join(line for line in lines if str(pid) in line)
        return found


@pytest.fixture
def place(network: Network) -> Iterator[Place]:
    network.run("tc", "qdisc", "add", "dev", "inside", "clsact")
    network.run("tc", "filter", "add", "dev", "inside", "ingress", "bpf", "bytecode", "1,6 0 0 0", "classid", "1:1")
    words = mounting(bpf="/sys/fs/bpf", tracefs="/sys/kernel/tracing")
    words = [word.replace('exec "$@"', 'mount -t tmpfs -o size=64m none /mnt\nexec "$@"') for word in words]
    with (
        kept(*words, "sh", "-c", "echo ready; read line") as holder,
        kept(*network.prefix, sys.executable, "-Ic", FOREIGN),
        kept(sys.executable, "-Ic", PRODUCER) as producer,
    ):
        (Path(f"/proc/{holder.pid}/root/sys/fs/bpf") / "theirs").mkdir()
        prefix = ["nsenter", f"--mount=/proc/{holder.pid}/ns/mnt", *network.prefix[1:]]
        yield Place(network, Path(f"/proc/{holder.pid}/root"), prefix, producer)


CLSACT = "on_tc=inside:ingress:clsact"
TARGETS = ("on_tracepoint=syscalls:sys_enter_getpgid", "on_uprobe=libc:getpgid", "on_perf_event", "on_socket_filter=any")
NETWORK_TARGETS = ("on_xdp=inside", "on_tcx_egress=inside", "on_netfilter=ipv4:input", "on_sk_lookup")


def command(place: Place, attaching: Attaching, cgroup: Cgroup, *more: str) -> list[str]:
    """Return the words of a run that is attached to all sorts of things."""
    words = ["run", str(attaching.package), "--json", "--only_pid", str(place.producer.pid)]
    for target in (*TARGETS, *NETWORK_TARGETS, f"on_connect4={cgroup.path}", *more):
        words += ["--attach", target]
    return [*place.prefix, sys.executable, "-m", "ecli_py", *words]


@contextmanager
def started(place: Place, words: list[str], directory: Path, stdout: int, **settings: Any) -> Iterator[subprocess.Popen[bytes]]:
    """Start a run and wait until it is attached; when it has been ended, see that nothing is left of it."""
    before = place.state()
    stderr = directory / "stderr"
    with stderr.open("wb") as err:
        settings = {"stdin": subprocess.DEVNULL, **settings}
        process = subprocess.Popen(words, cwd=directory, stdout=stdout, stderr=err, **settings)
    try:
        wait_until(lambda: b"attached" in stderr.read_bytes() or process.poll() is not None, "attaching")
        assert process.poll() is None, stderr.read_text()
        held = held_by(process.pid)
        assert all(held.values()), held
        assert place.state(process.pid) != before
        assert place.producer.stdout is not None
        assert max(float(place.producer.stdout.readline()) for _ in range(8)) >= RATE
        yield process
        process.wait(PATIENCE_S)
    finally:
        process.kill()
        process.wait()
    wait_gone(held)
    assert place.state(process.pid) == before
    assert "sys/fs/bpf/theirs" in before["pins"]
    assert "Traceback" not in stderr.read_text()


def wait_large(path: Path) -> None:
    """Wait until a run has written many events."""
    wait_until(lambda: path.stat().st_size > 1_000_000, "events")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGKILL])
def test_a_signal(place: Place, attaching: Attaching, cgroup: Cgroup, ecli: Ecli, number: signal.Signals) -> None:
    # What nobody can handle leaves a filter of clsact behind, which belongs to nobody: README says so.
    more = () if number == signal.SIGKILL else (CLSACT,)
    path = ecli.directory / "out"
    with (
        path.open("wb") as out,
        started(place, command(place, attaching, cgroup, *more), ecli.directory, out.fileno()) as process,
    ):
        wait_large(path)
        process.send_signal(number)
    assert process.returncode == (-number if number == signal.SIGKILL else 0)


def test_the_reader_goes_away(place: Place, attaching: Attaching, cgroup: Cgroup, ecli: Ecli) -> None:
    with started(place, command(place, attaching, cgroup, CLSACT), ecli.directory, subprocess.PIPE) as process:
        assert process.stdout is not None
        assert len(process.stdout.read(500_000)) == 500_000
        process.stdout.close()
    assert process.returncode == 0


def test_the_disk_is_full(place: Place, attaching: Attaching, cgroup: Cgroup, ecli: Ecli) -> None:
    disk = place.root / "mnt"
    words = command(place, attaching, cgroup, CLSACT)
    with (disk / "out").open("wb") as out, started(place, words, ecli.directory, out.fileno()) as process:
        wait_large(disk / "out")
        with suppress(OSError), (disk / "rest").open("wb", buffering=0) as rest:
            while True:
                rest.write(bytes(1 << 20))
    assert process.returncode == 1
    said = (ecli.directory / "stderr").read_text()
    assert "error: cannot write to standard output: No space left on device\nhint: " in said


def test_the_terminal_is_closed(place: Place, attaching: Attaching, cgroup: Cgroup, ecli: Ecli) -> None:
    master, slave = pty.openpty()
    settings = {"stdin": slave, "start_new_session": True, "preexec_fn": lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0)}
    seen = b""

    def read() -> None:  # what nobody reads would stop the run
        nonlocal seen
        with suppress(OSError):
            while len(seen) < 1_000_000:
                seen += os.read(master, 65536)
        os.close(master)

    reader = threading.Thread(target=read)
    with started(place, command(place, attaching, cgroup, CLSACT), ecli.directory, slave, **settings) as process:
        os.close(slave)
        reader.start()
    reader.join()
    assert len(seen) >= 1_000_000
    assert process.returncode in (0, 1)  # what is left in the buffers cannot be written
