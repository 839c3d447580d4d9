"""`ecli-py doctor` says what this machine can do, and what to do about the rest."""

from __future__ import annotations

import json
import os
import platform
from typing import Any

import pytest

from tests.cli import Ecli

pytestmark = pytest.mark.kernel


def findings(ecli: Ecli) -> tuple[dict[str, dict[str, Any]], int]:
    """Return what doctor finds, by name, and its exit status."""
    outcome = ecli("doctor", "--json")
    assert outcome.stderr == ""
    document = json.loads(outcome.stdout)
    assert document["runs_packages"] == (outcome.status == 0)
    return {each["name"]: each for each in document["findings"]}, outcome.status


def test_root_is_told_what_loads_and_what_does_not(ecli: Ecli) -> None:
    found, status = findings(ecli)
    assert status == 0
    assert platform.release() in found["kernel"]["detail"]
    for name in ("libbpf", "kernel BTF", "capabilities", "tracepoint", "ring buffer"):
        assert found[name]["verdict"] == "ok", found[name]
    for each in found.values():
        assert each["verdict"] in ("ok", "gap", "unknown")
        assert (each["hint"] != "") >= (each["verdict"] == "gap"), each


def test_people_read_a_table_with_what_to_do(ecli: Ecli) -> None:
    outcome = ecli("doctor")
    lines = outcome.stdout.splitlines()
    assert [line for line in lines if line and line[0] != " "] == ["Machine", "Rights", "Mounts", "Programs", "Maps"]
    gaps = [index for index, line in enumerate(lines) if line.startswith("  gap ")]
    assert all(lines[index + 1].lstrip().startswith("-> ") for index in gaps)
    assert "\x1b" not in outcome.stdout


def test_an_ordinary_user_is_told_that_nothing_runs(ordinary_user: Ecli) -> None:
    assert os.geteuid() == 0  # the others' rights are those of root
    found, status = findings(ordinary_user)
    assert status == 1
    assert found["capabilities"]["verdict"] == "stop"
    assert "CAP_BPF" in found["capabilities"]["detail"]
    assert "sudo" in found["capabilities"]["hint"]
