"""Finding runs and asking them."""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from contextlib import ExitStack

from ecli_py.control.places import Directory
from ecli_py.control.server import MAX_ANSWER_BYTES
from ecli_schemas.errors import EcliError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar

    T = TypeVar("T")

PATIENCE_S = 5.0  # for an answer
END_S = 60.0  # for a run to end: what is queued is shown first
_LIST_S = 2.0  # for all runs together to say what they are
_READ_BYTES = 1 << 16
_GREATEST = 1 << 64


class Run:
    """A run that is open for control.

    Attributes:
        pid: Its process.
        path: Directory of its socket.
        status: What it says of itself; ``None``: it did not answer.
    """

    def __init__(self, pid: int, path: str, status: dict[str, Any] | None) -> None:
        self.pid, self.path, self.status = pid, path, status

    @property
    def name(self) -> str:
        """Name of its package; empty: it is not known."""
        return str(self.status.get("name", "")) if self.status else ""

    def __str__(self) -> str:
        return f"{self.pid} ({self.name})" if self.name else str(self.pid)


def find_runs() -> list[Run]:
    """Return all runs that this user may control, and remove the sockets that dead ones have left.

    Raises:
        EcliError: The directory of their sockets is not as it should be.
    """
    found = []
    deadline = time.monotonic() + _LIST_S
    asked: list[tuple[int, str, socket.socket | None]] = []
    for directory in Directory.all():
        with directory:
            if directory.owner == os.geteuid():
                directory.sweep()
            for pid in directory.pids():
                try:
                    connection = _send(directory, pid, {"do": "status"}, deadline)
                except ConnectionRefusedError:
                    _remove_stale(directory, pid)
                    continue
                except FileNotFoundError:  # it has just ended
                    continue
                except (OSError, EcliError):
                    asked.append((pid, directory.path, None))
                    continue
                asked.append((pid, directory.path, connection))
    for pid, path, waiting in asked:  # they answer at the same time
        status = None
        if waiting is not None:
            try:
                status = understood(_checked_status, _receive(waiting, deadline))
            except (OSError, EcliError):
                status = None
        found.append(Run(pid, path, status))
    return sorted(found, key=lambda run: run.pid)


def _remove_stale(directory: Directory, pid: int) -> None:
    if directory.owner == os.geteuid():
        directory.remove(pid)
        sys.stderr.write(f"run {pid} was killed: its socket is removed\n")


def find_run(text: str) -> Run:
    """Return the run that a user means.

    Args:
        text: Its pid, or the name of its package, if only one has it.

    Raises:
        EcliError: There is none, or there are several.
    """
    runs = find_runs()
    for run in runs:
        if text == str(run.pid):
            return run
    named = [run for run in runs if run.name == text]
    if len(named) == 1:
        return named[0]
    if named:
        pids = ", ".join(f"{run.pid} (for {run.status['age_s']:.0f} s)" for run in named if run.status)
        raise EcliError(f"{len(named)} runs are named {text!r}", f"say which by its pid: {pids}")
    if not runs:
        raise EcliError(f"there is no run {text!r}", "`ecli-py run --control` opens one for control")
    raise EcliError(f"there is no run {text!r}", f"runs: {', '.join(map(str, runs))}")


def ask(run: Run, request: dict[str, Any], timeout_s: float = PATIENCE_S) -> dict[str, Any]:
    """Send a request to a run, and return what came of it.

    Raises:
        EcliError: The run refused it, does not answer, or has ended.
    """
    deadline = time.monotonic() + timeout_s
    for directory in Directory.all():
        with directory:
            if directory.path != run.path:
                continue
            try:
                return _receive(_send(directory, run.pid, request, deadline), deadline)
            except (TimeoutError, BlockingIOError) as error:
                hint = "it may be stopped, or whoever reads its output does not: `ecli-py ps` shows when it goes on"
                raise EcliError(f"run {run} does not answer within {timeout_s:.0f} s", hint) from error
            except OSError as error:
                raise _ended(run) from error
    raise _ended(run)


def understood(reader: Callable[[dict[str, Any]], T], answer: dict[str, Any]) -> T:
    """Return what a function makes of an answer, which anything may have sent.

    Raises:
        EcliError: It is not what a run answers.
    """
    try:
        return reader(answer)
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise _no_run() from error


def _checked_status(status: dict[str, Any]) -> dict[str, Any]:
    """Return a status whose members are as docs/control.md says; more of them may come."""
    texts, counts, quantities = ("name", "state"), ("events", "lost"), ("age_s", "events_per_s", "cpu")
    if not all(isinstance(status[name], str) for name in texts) or not all(isinstance(status[name], int) for name in counts):
        raise TypeError
    if not all(0 <= status[name] < _GREATEST for name in (*counts, *quantities)):  # neither infinite nor none
        raise ValueError
    return status


def _no_run() -> EcliError:
    return EcliError("what answers is no run of this version of ecli-py", "`ecli-py --version` says which this is")


def _ended(run: Run) -> EcliError:
    return EcliError(f"run {run} has ended", "`ecli-py ps` shows those that there are")


def _send(directory: Directory, pid: int, request: dict[str, Any], deadline: float) -> socket.socket:
    """Send a request and return the connection, the caller's; errors as :meth:`Directory.connect`."""
    with ExitStack() as stack:
        connection = stack.enter_context(directory.connect(pid, _left(deadline)))
        connection.settimeout(_left(deadline))
        connection.sendall(json.dumps(request).encode("ascii") + b"\n")
        stack.pop_all()  # it stays open
    return connection


def _left(deadline: float) -> float:
    return max(deadline - time.monotonic(), 0.001)


def _receive(connection: socket.socket, deadline: float) -> dict[str, Any]:
    """Return the answer, and close the connection.

    Raises:
        OSError: It did not come whole.
        EcliError: It is a refusal, or none at all.
    """
    data = bytearray()
    with connection:
        while not data.endswith(b"\n"):
            connection.settimeout(_left(deadline))
            part = connection.recv(_READ_BYTES)
            if not part:
                raise ConnectionResetError
            data += part
            if len(data) > MAX_ANSWER_BYTES:
                raise _no_run()
    try:
        answer = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise _no_run() from error
    if isinstance(answer, dict) and isinstance(answer.get("ok"), dict):
        ok: dict[str, Any] = answer["ok"]
        return ok
    if isinstance(answer, dict) and isinstance(answer.get("error"), str):
        raise EcliError(answer["error"], str(answer.get("hint") or ""))
    raise _no_run()
