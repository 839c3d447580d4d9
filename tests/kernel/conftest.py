"""Fixtures for tests that need a kernel: somebody without privileges, a program of each type, networks, control groups."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

import ecli_packager
import ecli_py
import ecli_runtime
import ecli_schemas
from ecli_schemas.read import read_package
from tests.bpf import held_by, wait_gone
from tests.cli import Ecli, Running, wait_until
from tests.conftest import DATA
from tests.control import Apart
from tests.machine import NOBODY, missing, mounting, need_compiler, need_kernel, python_for_anybody

_numbers = itertools.count()


@pytest.fixture
def ordinary_user() -> Iterator[Ecli]:
    """The command line for somebody who may do nothing, with copies of all that root's directories hide from him."""
    python = python_for_anybody()
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        for each in (ecli_py, ecli_packager, ecli_runtime, ecli_schemas):
            assert each.__file__
            shutil.copytree(Path(each.__file__).parent, directory / each.__name__)
        directory.chmod(0o755)
        yield Ecli(directory, python=python, environment={"PYTHONPATH": name, "HOME": name}, user=NOBODY)


@pytest.fixture(scope="session")
def hooks(tmp_path_factory: pytest.TempPathFactory, caches: dict[str, str]) -> Path:
    """A package with an optional program of each type that can be attached."""
    need_kernel()
    need_compiler()
    directory = tmp_path_factory.mktemp("hooks")
    outcome = Ecli(directory, environment=caches)("build", DATA / "hooks.bpf.c", "-o", "hooks.json")
    assert outcome.status == 0, outcome.stderr
    return directory / "hooks.json"


@dataclass(frozen=True)
class Attaching:
    """Runs programs of the package of hooks, and sees that nothing of them is left.

    Attributes:
        ecli: The command line.
        package: The package.
    """

    ecli: Ecli
    package: Path

    @contextmanager
    def started(self, *targets: str, words: tuple[str, ...] = ()) -> Iterator[Running]:
        """Attach programs, and end the run afterwards if the test has not."""
        attach = [word for target in targets for word in ("--attach", target)]
        with self.ecli.start("run", self.package, "--json", *attach, *words) as running:
            held = held_by(running.pid)
            assert held["prog"]
            yield running
            if running.process.poll() is None:
                running.end()
        wait_gone(held)

    def hits(self, running: Running) -> list[tuple[str, int]]:
        """End a run, and return what it reported: which program ran, and a value."""
        outcome = running.end()
        assert (outcome.status, " 0 lost, " in outcome.closing_line) == (0, True), outcome.stderr
        return [(event["hook"], event["value"]) for event in outcome.events]

    def fails(self, target: str, *texts: str, words: tuple[str, ...] = ()) -> str:
        """Assert that a target is refused with these texts."""
        return self.ecli("run", self.package, "--attach", target, *words).fails(*texts)


@pytest.fixture
def attaching(ecli: Ecli, hooks: Path) -> Attaching:
    return Attaching(ecli, hooks)


class Network:
    """A network namespace with ``inside`` (10.9.0.1), one end of a veth pair; ``outside`` (10.9.0.2) is in another one."""

    def __init__(self) -> None:
        number = f"{os.getpid()}-{next(_numbers)}"
        self.name, self.other = f"ecli-{number}", f"ecli-{number}-other"

    def make(self) -> None:
        for name in (self.name, self.other):
            _run("ip", "netns", "add", name)
        _run("ip", "-n", self.name, "link", "add", "inside", "type", "veth", "peer", "outside", "netns", self.other)
        for name, link, number in ((self.name, "inside", 1), (self.other, "outside", 2)):
            _run("ip", "-n", name, "link", "set", "lo", "up")
            _run("ip", "-n", name, "link", "set", link, "up")
            _run("ip", "-n", name, "address", "add", f"10.9.0.{number}/24", "dev", link)

    def remove(self) -> None:
        for name in (self.name, self.other):
            subprocess.run(["ip", "netns", "delete", name], capture_output=True, check=False)

    @property
    def path(self) -> str:
        return f"/run/netns/{self.name}"

    @property
    def prefix(self) -> list[str]:
        """Words that start a command in it. Not ``ip netns exec``, which hides what is mounted in /sys."""
        return ["nsenter", f"--net={self.path}"]

    def run(self, *words: str) -> str:
        """Run a command in it, and return its output."""
        return _run(*self.prefix, *words)

    def python(self, script: str, *arguments: str) -> str:
        """Run a script in it."""
        return self.run(sys.executable, "-Ic", script, *arguments)

    def send(self, address: str = "10.9.0.2", port: int = 9) -> None:
        """Send a datagram. From the other side comes an answer: nobody listens."""
        self.python(SEND, address, str(port))


SEND = """
import socket, sys
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
    s.connect((sys.argv[1], int(sys.argv[2])))
    s.send(b"hello")
    s.settimeout(10)
    try:
        s.recv(1)
    except ConnectionRefusedError:
        pass
"""


def _run(*words: str) -> str:
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def network() -> Iterator[Network]:
    try:
        subprocess.run(["ip", "-V"], capture_output=True, check=False)
        subprocess.run(["tc", "-V"], capture_output=True, check=False)
    except FileNotFoundError:
        missing("iproute2")
    made = Network()
    try:
        made.make()
        yield made
    finally:
        made.remove()


@pytest.fixture
def networked(attaching: Attaching, network: Network) -> Attaching:
    """What attaches, in a network namespace."""
    return replace(attaching, ecli=replace(attaching.ecli, prefix=network.prefix))


class Cgroup:
    """A control group of version 2."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def run(self, *words: str) -> str:
        """Run a command in it."""
        return _run("sh", "-ec", f'echo $$ > {self.path}/cgroup.procs; exec "$@"', "sh", *words)

    def python(self, script: str, *arguments: str) -> str:
        """Run a script in it, in a network namespace of its own with loopback."""
        alone = ["unshare", "-n", "sh", "-ec", 'ip link set lo up; exec "$@"', "sh"]
        return self.run(*alone, sys.executable, "-Ic", script, *arguments)


@pytest.fixture
def cgroup() -> Iterator[Cgroup]:
    with open("/proc/self/mountinfo") as file:
        mounts = [line.split()[4] for line in file if " - cgroup2 " in line]
    if not mounts:
        missing("control groups of version 2")
    path = Path(mounts[0]) / f"ecli-{os.getpid()}-{next(_numbers)}"
    path.mkdir()
    try:
        yield Cgroup(path)
    finally:
        path.rmdir()


LOOP = """
#include <unistd.h>
volatile unsigned long sum;
__attribute__((noinline)) void spin_inside(void) { for (unsigned long i = 0; i < 1000000; i++) sum += i; sum++; }
__attribute__((noinline)) void spin_outside(void) { for (;;) { spin_inside(); sum++; } }
int main(void) { write(1, "ready", 5); spin_outside(); return 0; }
"""


@pytest.fixture(scope="session")
def profile(tmp_path_factory: pytest.TempPathFactory, caches: dict[str, str]) -> Path:
    """The package of the starter of `ecli-py init --kind profile`."""
    need_kernel()
    need_compiler()
    directory = tmp_path_factory.mktemp("profile")
    build = Ecli(directory, environment=caches)
    assert build("init", "profile", "--kind", "profile").status == 0
    (source,) = directory.rglob("*.bpf.c")
    outcome = build("build", source, "-o", "profile.json")
    assert outcome.status == 0, outcome.stderr
    return directory / "profile.json"


@pytest.fixture(scope="session")
def loop_binary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A program that runs ``spin_inside`` all the time."""
    compiler = next(filter(None, map(shutil.which, ("gcc", "cc", "clang"))), None) or missing("C compiler (apt-get install gcc)")
    directory = tmp_path_factory.mktemp("loop")
    (directory / "loop.c").write_text(LOOP)
    subprocess.run([compiler, "-O0", "-fno-omit-frame-pointer", "-o", "busyloop", "loop.c"], cwd=directory, check=True)
    return directory / "busyloop"


@pytest.fixture(scope="session")
def controllable(tmp_path_factory: pytest.TempPathFactory, caches: dict[str, str]) -> Path:
    """A package named ``control``, with variables of each kind and two programs."""
    need_kernel()
    need_compiler()
    directory = tmp_path_factory.mktemp("control")
    outcome = Ecli(directory, environment=caches)("build", DATA / "control.bpf.c", "-o", "control.json")
    assert outcome.status == 0, outcome.stderr
    return directory / "control.json"


@pytest.fixture
def apart(ecli: Ecli) -> Iterator[Apart]:
    holder = subprocess.Popen([*mounting(tmpfs="/run"), "sleep", "infinity"])
    try:
        comm = Path(f"/proc/{holder.pid}/comm")
        wait_until(lambda: comm.read_text() == "sleep\n", "the mount")
        prefix = ["nsenter", f"--mount=/proc/{holder.pid}/ns/mnt", f"--wdns={ecli.directory}"]
        yield Apart(prefix, Path(f"/proc/{holder.pid}/root/run"), replace(ecli, prefix=prefix))
    finally:
        holder.kill()
        holder.wait()


@pytest.fixture(scope="session")
def controller(tmp_path_factory: pytest.TempPathFactory, caches: dict[str, str]) -> Path:
    """A controller, which loads eBPF itself: tests/data/controller, as a Wasm module."""
    need_compiler()
    directory = tmp_path_factory.mktemp("controller")
    outcome = Ecli(directory, environment=caches)("build", DATA / "controller" / "controller.bpf.c", "-o", "controller.json")
    assert outcome.status == 0, outcome.stderr
    data = read_package((directory / "controller.json").read_bytes()).object
    (directory / "object.inc").write_text(",".join(map(str, data)))
    # Nothing in its name says what it is.
    words = ["cc", "--target=wasm32-wasi", "-O2", "-s", "-Wl,--export-table", "-Wl,-z,stack-size=65536"]
    words += [f"-I{directory}", str(DATA / "controller" / "controller.c"), "-o", str(directory / "controller")]
    subprocess.run([sys.executable, "-m", "ziglang", *words], check=True, env={**os.environ, **caches})
    return directory / "controller"
