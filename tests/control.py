"""Runs that are open for control, in a mount namespace of their own, and what is asked of them."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tests.cli import Ecli, Running, wait_until


def call(count: int = 1) -> None:
    """Make system calls that the package reports: one event each."""
    for _ in range(count):
        os.sched_get_priority_max(os.SCHED_IDLE)


@dataclass(frozen=True)
class Apart:
    """A mount namespace with an empty /run, so that there are no runs but those of the test.

    Attributes:
        prefix: Words that start a command in it.
        run: Its /run, as others reach it.
        ecli: The command line, in it.
    """

    prefix: list[str]
    run: Path
    ecli: Ecli

    @property
    def sockets(self) -> Path:
        return self.run / "ecli-py"

    @contextmanager
    def started(self, package: Path, *words: str, name: str = "one") -> Iterator[Running]:
        """Start a run that is open for control; several at a time need names of their own."""
        directory = self.ecli.directory / name
        directory.mkdir(exist_ok=True)
        with replace(self.ecli, directory=directory).start("run", package, "--json", "--control", *words) as running:
            yield running

    def ask(self, running: Running, request: bytes) -> dict[str, Any]:
        """Send bytes to the socket of a run and return its answer."""
        with self.connect(running) as connection:
            connection.sendall(request)
            return answer_of(connection)

    def connect(self, running: Running) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(str(self.sockets / f"{running.pid}.sock"))
        connection.settimeout(30)
        return connection


def answer_of(connection: socket.socket) -> dict[str, Any]:
    with connection.makefile("rb") as stream:
        found: dict[str, Any] = json.loads(stream.read())
        return found


def events(running: Running) -> list[dict[str, Any]]:
    return [json.loads(line) for line in running.stdout.splitlines(keepends=True) if line.endswith("\n")]


def wait_events(running: Running, count: int) -> list[dict[str, Any]]:
    """Wait for so many events in all, and return them."""
    wait_until(lambda: len(events(running)) >= count, f"{count} events")
    assert len(events(running)) == count
    return events(running)
