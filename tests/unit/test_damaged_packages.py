"""Packages that were damaged at random: an error or none, but no traceback and no crash."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import DATA, ROOT
from tests.machine import system_libbpf

COUNT = 400


def assert_survives(package: Path, what: str, seed: int) -> None:
    """Open damaged copies of a package in a process of its own, and assert that it comes to its end."""
    words = [sys.executable, "-m", "tests.damage", str(package), str(seed), str(COUNT), what]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, errors="replace", timeout=120, check=False)
    last = f"seed {seed}, number {(re.findall(r'^[0-9]+$', done.stdout, re.MULTILINE) or ['?'])[-1]}"
    assert done.returncode >= 0, f"{last}: signal {-done.returncode}"
    assert done.returncode == 0, f"{last}:\n{done.stderr}"
    assert done.stdout.count("\nfine\n") < COUNT  # some of them were noticed


@pytest.mark.parametrize("what", ["document", "object"])
def test_small_package(what: str) -> None:
    assert_survives(DATA / "upstream-minimal.json", what, 1)


def test_small_package_with_the_systems_libbpf(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ECLI_LIBBPF", system_libbpf())
    assert_survives(DATA / "upstream-minimal.json", "object", 9)  # number 47 names a type that there is not


@pytest.mark.compiler
@pytest.mark.parametrize("what", ["document", "object"])
@pytest.mark.parametrize("sample", ["execsnoop", "opensnoop", "runqlat"])
def test_samples(packages: Path, sample: str, what: str) -> None:
    assert_survives(packages / f"{sample}.json", what, 2)
