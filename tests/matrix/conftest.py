"""Runs the guests of the matrix, two at a time, and shows the table at the end."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from ecli_packager.kernel_image import read_kernel_image
from tests.guest import kernels
from tests.guest.errors import GuestError
from tests.guest.machine import Guest, check
from tests.machine import missing, need_compiler, need_kernel
from tests.matrix.build_packages import ROOT, build_all
from tests.matrix.table import Column, table

TIMEOUT_S = 900.0
_COLUMNS = pytest.StashKey[dict[str, Column]]()


def wanted() -> list[str]:
    """Return the kernels of this run: ``ECLI_MATRIX=all``, names with commas, or this architecture's and one more."""
    named = os.environ.get("ECLI_MATRIX", "")
    if named == "all":
        return kernels.names()
    if named:
        return named.split(",")
    return [name for name in kernels.names() if kernels.kernel(name).is_native or name.endswith("/6.12")]


@dataclass
class Matrix:
    """The guests of this run.

    Attributes:
        packages: Directory with all packages.
        columns: What has come of guests.
    """

    packages: Path
    columns: dict[str, Future[Column]] = field(default_factory=dict)

    def __getitem__(self, kernel: str) -> Column:
        """Return what a guest said, when it has ended."""
        return self.columns[kernel].result()


def _run(name: str, packages: Path) -> Column:
    kernel = kernels.kernel(name)
    output, errors = bytearray(), bytearray()
    python = sys.executable if kernel.is_native else "python3"
    paths = {"PYTHONPATH": ":".join(str(ROOT / each) for each in ("", "runtime", "schemas"))}
    guest = Guest(kernel, directory=ROOT, shares=[packages], environment=paths, timeout_s=TIMEOUT_S)
    ended = guest.run([python, "-m", "tests.matrix.driver", str(packages)], output.extend, errors.extend)
    lines: list[dict[str, Any]] = [json.loads(line) for line in output.decode(errors="replace").split("\n")[:-1]]
    said = errors.decode(errors="replace").strip()
    trouble = "" if ended.status == 0 else f"status {ended.status}\n{said}\n{ended.console}"
    snapshot = next((str(line["snapshot"]) for line in lines if "snapshot" in line), "")
    return Column(name, lines[0] if lines else {}, {str(line["row"]): line for line in lines if "row" in line}, trouble, snapshot)


@pytest.fixture(scope="session")
def matrix(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Matrix]:
    need_kernel()
    need_compiler()
    chosen = [kernels.kernel(name) for name in wanted()]
    packages = tmp_path_factory.mktemp("matrix")
    try:
        for kernel in chosen:
            check(kernel)
            kernels.prepare(kernel)
        btf = _types_of_other_machines(chosen, packages)
    except GuestError as error:
        missing(f"guest: {error}; {error.hint}")
    build_all(packages, (os.uname().machine, *btf), btf)
    found = Matrix(packages)
    columns = request.config.stash.setdefault(_COLUMNS, {})
    with ThreadPoolExecutor(2) as pool:
        for name in wanted():
            found.columns[name] = pool.submit(_run, name, packages)
        yield found
        for future in found.columns.values():
            future.cancel()
    columns.update({name: future.result() for name, future in found.columns.items() if future.done() and not future.exception()})


def _types_of_other_machines(chosen: list[kernels.Kernel], directory: Path) -> dict[str, Path]:
    """Return files with the types that packages are built with for other architectures, Linux 6.12's: machine → file."""
    found = {}
    for architecture in {kernel.architecture for kernel in chosen if not kernel.is_native}:
        image = kernels.prepare(kernels.Kernel("6.12", architecture)).image
        types = read_kernel_image(image.read_bytes(), str(image))
        found[types.machine] = directory / f"{types.machine}.btf"
        found[types.machine].write_bytes(types.btf)
    return found


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    columns = config.stash.get(_COLUMNS, {})
    if columns:
        text = table([columns[name] for name in wanted() if name in columns])
        terminalreporter.section("kernels")
        terminalreporter.write_line(text)
        (ROOT / "build").mkdir(exist_ok=True)
        (ROOT / "build" / "kernels.md").write_text(text + "\n")
