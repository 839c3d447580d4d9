"""The verdicts of ``ecli-py check`` against what happened: each cell of the matrix, from the files that running it leaves.

``build/matrix`` (or ``ECLI_MATRIX_RESULTS``) has the packages in ``packages``, and for each kernel what the driver wrote,
``KERNEL.jsonl``, and ``KERNEL.snapshot.json``, which ``ecli-py snapshot`` made in that guest.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from ecli_runtime.attach.options import AttachOptions, parse_targets
from ecli_runtime.portability.snapshot import Snapshot, read_snapshot
from ecli_runtime.portability.verdict import check_package
from ecli_schemas.read import read_package
from tests.conftest import ROOT

RESULTS = Path(os.environ.get("ECLI_MATRIX_RESULTS", ROOT / "build" / "matrix"))
KERNELS = sorted(path.stem for path in RESULTS.glob("*.jsonl"))
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


def _options(words: tuple[str, ...]) -> AttachOptions:
    """Return what a row's words say of targets; places of the guest need not be there."""
    pairs = list(pairwise(words))
    targets = [text.format(cgroup="/", pid=1, shop=RESULTS / "packages" / "shop") for word, text in pairs if word == "--attach"]
    return AttachOptions(parse_targets(targets), tuple(text for word, text in pairs if word == "--disable"))


def _cells(kernel: str) -> Iterator[Cell]:
    rows: dict[str, Any] = {row.name: row for row in import_module("tests.matrix.rows").ROWS}
    path = RESULTS / f"{kernel}.snapshot.json"
    snapshot: Snapshot = read_snapshot(path.read_bytes(), str(path))
    for line in (RESULTS / f"{kernel}.jsonl").read_text().splitlines()[1:]:
        cell = json.loads(line)
        row = rows[cell["row"]]
        package = read_package((RESULTS / "packages" / f"{row.package}.json").read_bytes())
        values = {
            option.name: text.format(pid=1) if "{" in text else text
            for option in package.options
            for word, text in pairwise(row.words)
            if word == f"--{option.long}"
        }
        verdict = check_package(package, snapshot, _options(row.words), values)
        said = "; ".join(problem.text for _program, problem in verdict.reasons()) if verdict.outcome == "fails" else ""
        yield Cell(kernel, row.name, cell.get("reason", ""), said)


@cache
def cells() -> list[Cell]:
    if not KERNELS:
        pytest.skip(f"the matrix has not run: {RESULTS} has no results")
    return [cell for kernel in KERNELS for cell in _cells(kernel) if cell.counts]


def test_what_is_said_to_run_runs() -> None:
    wrong = [f"{cell.kernel}, {cell.row}: {cell.really}" for cell in cells() if cell.really and not cell.verdict]
    assert not wrong, "\n".join(wrong)


def test_what_is_said_to_fail_fails() -> None:
    wrong = [f"{cell.kernel}, {cell.row}: {cell.verdict}" for cell in cells() if cell.verdict and not cell.really]
    assert len(wrong) <= MOST_WRONG_FAILS * len(cells()), "\n".join(wrong)
