"""Runs the rows of the matrix in the running kernel, and writes a line of JSON about each; at the end what a snapshot has of it.

The project's own command line runs each of them, in a process that is forked off and has it all imported already: under
emulation a fresh interpreter takes a second to get there.
"""

from __future__ import annotations

import contextlib
import fnmatch
import hashlib
import importlib
import json
import os
import pkgutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import ecli_py.cli
import ecli_py.commands.run
import ecli_py.output
import ecli_py.tool
import ecli_runtime
from ecli_runtime.libbpf._ffi import lib
from ecli_runtime.portability.capture import take_snapshot
from ecli_runtime.portability.snapshot import write_snapshot
from tests.matrix.rows import ROWS, Row
from tests.matrix.triggers import Shop

ATTACH_S = 60.0
REPORT_S = 5.0
END_S = 30.0


class Run:
    """A process that runs a package."""

    def __init__(self, words: list[str], directory: Path, home: Path) -> None:
        self._stdout, self._stderr = directory / "stdout", directory / "stderr"
        self._stdout.write_bytes(b"")
        self._stderr.write_bytes(b"")
        self._status: int | None = None
        self.pid = os.fork()
        if self.pid == 0:
            self._be(words, home)

    def _be(self, words: list[str], home: Path) -> None:
        status = 70
        try:
            # Not in the control group that programs are attached to: only triggers are.
            (home / "cgroup.procs").write_text(str(os.getpid()))
            for descriptor, path in ((1, self._stdout), (2, self._stderr)):
                os.dup2(os.open(path, os.O_WRONLY), descriptor)
            status = ecli_py.cli.main(words)
            sys.stdout.flush()
            sys.stderr.flush()
        except SystemExit as error:
            status = error.code if isinstance(error.code, int) else 2
        except BaseException:
            import traceback

            traceback.print_exc()
            raise
        finally:
            os._exit(status)

    @property
    def stderr(self) -> str:
        return self._stderr.read_text(errors="replace")

    @property
    def is_attached(self) -> bool:
        return any(line.startswith("attached") for line in self.stderr.splitlines())

    def events(self, row: Row) -> int:
        """Return how many events there are that have what the row asks for."""
        count = 0
        for line in self._stdout.read_text(errors="replace").split("\n")[:-1]:
            event = json.loads(line)
            if not event.keys() & {"@lost", "@stats"}:
                count += all(event.get(name) == value for name, value in row.event.items())
        return count

    def poll(self) -> bool:
        """Tell whether it has ended."""
        if self._status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self._status = os.waitstatus_to_exitcode(status)
        return self._status is not None

    def end(self, number: signal.Signals) -> int:
        """End it, if it has not by itself, and return its status."""
        if not self.poll():
            os.kill(self.pid, number)
            deadline = time.monotonic() + END_S
            while not self.poll():
                if time.monotonic() > deadline:
                    os.kill(self.pid, signal.SIGKILL)
                time.sleep(0.005)
        assert self._status is not None
        return self._status


def run_row(row: Row, words: list[str], directory: Path, home: Path) -> dict[str, object]:
    """Run a row; returns its cell."""
    began = time.monotonic()
    run = Run(words, directory, home)
    try:
        while not run.is_attached and not run.poll() and time.monotonic() < began + ATTACH_S:
            time.sleep(0.005)
        deadline = time.monotonic() + REPORT_S
        trouble = ""
        while time.monotonic() < deadline:
            if not run.poll() and run.is_attached:
                try:
                    row.trigger()
                except OSError as error:
                    trouble = f"the trigger failed: {error}"
            if run.poll() or row.runs or run.events(row):
                break
            time.sleep(0.05)
    finally:
        status = run.end(signal.SIGINT)
    cell: dict[str, object] = {"row": row.name, "events": run.events(row), "seconds": round(time.monotonic() - began, 1)}
    warnings = [line for line in run.stderr.splitlines() if line.startswith("warning: ")]
    if status:
        cell["reason"] = run.stderr.strip() or f"status {status}"
    elif not row.runs and not cell["events"]:
        cell["reason"] = "\n".join(filter(None, ["no events", trouble, *warnings]))
    return cell


@contextlib.contextmanager
def cgroup() -> Iterator[tuple[Path, Path]]:
    """Make a control group and join it; gives the group and the one that we came from."""
    with open("/proc/self/mountinfo") as file:
        (mount, *_) = [Path(line.split()[4]) for line in file if " - cgroup2 " in line]
    with open("/proc/self/cgroup") as file:
        home = mount / next(line[4:].strip() for line in file if line.startswith("0::/"))
    made = mount / f"ecli-matrix-{os.getpid()}"
    made.mkdir()
    (made / "cgroup.procs").write_text(str(os.getpid()))
    try:
        yield made, home
    finally:
        Shop.close()
        (home / "cgroup.procs").write_text(str(os.getpid()))
        made.rmdir()


def import_everything() -> None:
    """Import what runs import lazily, so that each of them need not."""
    for module in pkgutil.walk_packages(ecli_runtime.__path__, "ecli_runtime."):
        with contextlib.suppress(ImportError):  # of libraries that are optional
            importlib.import_module(module.name)


def main() -> None:
    """Run the rows whose packages are in a directory: ``driver.py DIRECTORY [PATTERN…]``."""
    import_everything()
    packages = Path(sys.argv[1])
    patterns = sys.argv[2:] or ["*"]
    digests = {path.stem: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(packages.glob("*.json"))}
    together = hashlib.sha256("".join(digests.values()).encode()).hexdigest()
    system = os.uname()
    Shop.path = str(packages / f"shop-{system.machine}")
    head = {"release": system.release, "machine": system.machine, "libbpf": lib.version, "digest": together}
    print(json.dumps(head), flush=True)
    with tempfile.TemporaryDirectory() as scratch, cgroup() as (group, home):
        places = {"cgroup": group, "pid": os.getpid(), "shop": Shop.path}
        for row in ROWS:
            if any(fnmatch.fnmatchcase(row.name, pattern) for pattern in patterns):
                words = [word.format(**places) if "{" in word else word for word in row.words]
                run = ["run", str(packages / f"{row.package}.json"), "--json", *words]
                print(json.dumps(run_row(row, run, Path(scratch), home)), flush=True)
    print(json.dumps({"snapshot": write_snapshot(take_snapshot()).decode()}), flush=True)


if __name__ == "__main__":
    main()
