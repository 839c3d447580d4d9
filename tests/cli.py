"""The command line as a user meets it: a process with arguments, output, error output and an exit status."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# How long anything may take before it counts as hung. Nothing else depends on it.
PATIENCE_S = 60.0


def wait_until(holds: Callable[[], bool], what: str) -> None:
    """Wait until something holds; fail when it never does."""
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline, f"it took too long: {what}"
        time.sleep(0.005)


@dataclass(frozen=True)
class Outcome:
    """How a command ended; a negative status is the signal that killed it."""

    stdout: str
    stderr: str
    status: int

    @property
    def events(self) -> list[dict[str, Any]]:
        """The events that ``--json`` wrote."""
        return [event for event in self._lines if not event.keys() & {"@hook", "@lost", "@stats"}]

    def marks(self, name: str) -> list[dict[str, Any]]:
        """What the marks of one name say that ``--json`` wrote."""
        return [line[name] for line in self._lines if name in line]

    @property
    def _lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.stdout.splitlines()]

    @property
    def closing_line(self) -> str:
        """The last line of the error output."""
        return self.stderr.splitlines()[-1]

    def fails(self, *texts: str, hint: bool = True) -> str:
        """Assert that it failed as a command should, with these texts in the error output, and return that.

        Args:
            texts: What the error output must hold.
            hint: There must be a hint; a compiler's diagnostics are enough without.
        """
        assert self.status == 1, self.stderr
        assert self.stdout == ""
        lines = self.stderr.splitlines()
        assert "Traceback" not in self.stderr
        assert sum(line.startswith("error: ") for line in lines) == 1, self.stderr
        assert sum(line.startswith("hint: ") and len(line) > len("hint: ") for line in lines) == hint, self.stderr
        for text in texts:
            assert text in self.stderr
        return self.stderr


class Running:
    """A command that runs."""

    def __init__(self, process: subprocess.Popen[bytes], stdout: Path, stderr: Path) -> None:
        self.process = process
        self._stdout, self._stderr = stdout, stderr

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def stdout(self) -> str:
        """What it wrote until now."""
        return self._stdout.read_text(encoding="utf-8")

    @property
    def stderr(self) -> str:
        """What it wrote until now."""
        return self._stderr.read_text(encoding="utf-8")

    @property
    def is_attached(self) -> bool:
        return any(line.startswith("attached") for line in self.stderr.splitlines(keepends=True) if line.endswith("\n"))

    def wait_attached(self) -> None:
        """Wait until its programs are attached."""
        wait_until(lambda: self.is_attached or self.process.poll() is not None, "attaching")
        assert self.is_attached, f"it ended before it was attached: {self.stderr}"

    def wait(self) -> Outcome:
        """Wait until it ends."""
        status = self.process.wait(PATIENCE_S)
        return Outcome(self.stdout, self.stderr, status)

    def end(self, number: signal.Signals = signal.SIGINT) -> Outcome:
        """Send a signal and wait until it ends."""
        self.process.send_signal(number)
        return self.wait()


@dataclass
class Ecli:
    """Runs ``ecli-py``.

    Attributes:
        directory: Working directory, also of the files that hold the output of a running command.
        prefix: Words before the command: something that starts it in another environment.
        python: The interpreter.
        environment: Variables on top of the test's own.
        user: Who runs it, a number; ``None`` for whoever runs the test.
    """

    directory: Path
    prefix: Sequence[str] = ()
    python: str = sys.executable
    environment: Mapping[str, str] = field(default_factory=dict)
    user: int | None = None

    def __call__(self, *words: str | os.PathLike[str], stdin: bytes = b"") -> Outcome:
        """Run a command until it ends."""
        done = subprocess.run(
            self._command(words),
            cwd=self.directory,
            env=self._environment(),
            input=stdin,
            capture_output=True,
            user=self.user,
            group=self.user,
            extra_groups=None if self.user is None else (),
            timeout=PATIENCE_S,
            check=False,
        )
        return Outcome(done.stdout.decode(), done.stderr.decode(), done.returncode)

    @contextmanager
    def start(self, *words: str | os.PathLike[str]) -> Iterator[Running]:
        """Start a command, wait until its programs are attached, and kill it afterwards if it still runs."""
        stdout, stderr = self.directory / "stdout", self.directory / "stderr"
        with stdout.open("wb") as out, stderr.open("wb") as err:
            process = subprocess.Popen(
                self._command(words),
                cwd=self.directory,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
            )
        try:
            running = Running(process, stdout, stderr)
            running.wait_attached()
            yield running
        finally:
            process.kill()
            process.wait()

    def _command(self, words: Sequence[str | os.PathLike[str]]) -> list[str]:
        return [*self.prefix, self.python, "-m", "ecli_py", *(os.fspath(word) for word in words)]

    def _environment(self) -> dict[str, str]:
        return {**os.environ, **self.environment}
