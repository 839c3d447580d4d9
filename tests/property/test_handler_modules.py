"""Bytes as modules and damaged handlers: ``python -m tests.fuzz_handlers`` does it at length."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.conftest import ROOT
from tests.handler_modules import wat


@pytest.mark.parametrize("seed", range(2))
def test_any_module_is_refused_or_runs(seed: int) -> None:
    wat("(module)")
    command = [sys.executable, "-m", "tests.fuzz_handlers", "--count", "300", "--seed", str(seed)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("done: ")
