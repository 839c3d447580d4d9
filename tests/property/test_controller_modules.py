"""Bytes as modules and damaged controllers: ``python -m tests.fuzz_controllers`` does it at length."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.conftest import ROOT


@pytest.mark.parametrize("seed", range(2))
def test_any_module_is_refused_or_runs(seed: int) -> None:
    command = [sys.executable, "-m", "tests.fuzz_controllers", "--count", "300", "--seed", str(seed)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("done: ")
