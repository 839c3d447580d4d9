"""The verdicts of ``ecli-py check`` against what happened: each cell of the matrix, by a snapshot that was made in the guest."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest

from ecli_runtime.attach.options import AttachOptions, parse_targets
from ecli_runtime.portability.snapshot import read_snapshot
from ecli_runtime.portability.verdict import check_package
from ecli_schemas.read import read_package
from tests.guest import kernels
from tests.matrix.conftest import TIMEOUT_S, Matrix, wanted
from tests.matrix.rows import ROWS

pytestmark = [pytest.mark.kernel, pytest.mark.compiler, pytest.mark.slow, pytest.mark.timeout(4 * TIMEOUT_S)]
MOST_WRONG_FAILS = 0.02
# Rows → text of the run's error: what is not the kernel's, so a snapshot of it cannot tell.
NOT_THE_KERNEL = {
    "pygc": "/usr/bin/python3",  # has no such probes, or is not there
    "*": "the trigger failed",
}


@dataclass(frozen=True)
class Cell:
    """A package on a kernel.

    Attributes:
        kernel: Name of the kernel.
        row: Name of the row.
        really: Why it did not run; empty: it did.
        verdict: Why it does not run, as the verdict has it; empty: it does.
    """

    kernel: str
    row: str
    really: str
    verdict: str

    @property
    def counts(self) -> bool:
        """Whether what really happened was up to the kernel."""
        return not any(text in self.really for row, text in NOT_THE_KERNEL.items() if row in ("*", self.row))


def _options(words: tuple[str, ...], packages: Path) -> AttachOptions:
    """Return what a row's words say of targets; places of the guest need not be there."""
    pairs = list(pairwise(words))
    shop = next(packages.glob("shop-*"))
    targets = [text.format(cgroup="/", pid=1, shop=shop) for word, text in pairs if word == "--attach"]
    return AttachOptions(parse_targets(targets), tuple(text for word, text in pairs if word == "--disable"))


def _cells(kernel: str, matrix: Matrix) -> Iterator[Cell]:
    column = matrix[kernel]
    snapshot = read_snapshot(column.snapshot.encode(), kernel)
    for row in ROWS:
        if row.name not in column.cells:
            continue
        package = read_package((matrix.packages / f"{row.package}.json").read_bytes())
        values = {
            option.name: text.format(pid=1) if "{" in text else text
            for option in package.options
            for word, text in pairwise(row.words)
            if word == f"--{option.long}"
        }
        verdict = check_package(package, snapshot, _options(row.words, matrix.packages), values)
        said = "; ".join(problem.text for _program, problem in verdict.reasons()) if verdict.outcome == "fails" else ""
        yield Cell(kernel, row.name, column.cells[row.name].get("reason", ""), said)


@pytest.fixture(scope="module")
def cells(matrix: Matrix) -> list[Cell]:
    """The cells of the kernels of this architecture, for which alone verdicts are compared."""
    native = [name for name in wanted() if kernels.kernel(name).is_native]
    return [cell for kernel in native for cell in _cells(kernel, matrix) if cell.counts]


def test_what_is_said_to_run_runs(cells: list[Cell]) -> None:
    wrong = [f"{cell.kernel}, {cell.row}: {cell.really}" for cell in cells if cell.really and not cell.verdict]
    assert not wrong, "\n".join(wrong)


def test_what_is_said_to_fail_fails(cells: list[Cell]) -> None:
    wrong = [f"{cell.kernel}, {cell.row}: {cell.verdict}" for cell in cells if cell.verdict and not cell.really]
    assert len(wrong) <= MOST_WRONG_FAILS * len(cells), "\n".join(wrong)
