"""README tells the truth: its tool builds, its options are those that there are, its Python runs."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from ecli_schemas.read import read_package
from tests.cli import Ecli
from tests.conftest import ROOT

README = (ROOT / "README.md").read_text()


def block(language: str) -> str:
    """Return the first code block of a language."""
    found = re.search(rf"```{language}\n(.*?)```", README, re.DOTALL)
    assert found is not None
    return found[1]


def table(heading: str) -> set[str]:
    """Return the options that the first table under a heading lists."""
    section = README.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    return set(re.findall(r"^\| `(--[a-z-]+)", section, re.MULTILINE))


def listed(ecli: Ecli, *words: str) -> set[str]:
    return set(re.findall(r"^  (?:-\w(?: \w+)?, )?(--[a-z-]+)", ecli(*words, "--help").stdout, re.MULTILINE))


@pytest.mark.compiler
def test_the_tool_builds(build: Ecli, tmp_path: Path) -> None:
    (tmp_path / "tool.bpf.c").write_text(block("c"))
    outcome = build("build", "tool.bpf.c")
    assert (outcome.stdout, outcome.stderr, outcome.status) == ("", "", 0)
    package = read_package((tmp_path / "tool.json").read_bytes())
    assert [(option.name, option.default, option.help) for option in package.options] == [
        ("only_pid", 0, "Only report this process.")
    ]
    assert [event_type.name for event_type in package.exports[0].types] == ["event"]


@pytest.mark.parametrize(
    ("command", "heading"),
    [
        ("run", "Running a package"),
        ("replay", "Recording a run"),
        ("inspect", "Before you run a package"),
        ("build", "Building a package"),
    ],
)
def test_the_options_are_those_that_there_are(ecli: Ecli, command: str, heading: str) -> None:
    assert table(heading) | {"--help"} == listed(ecli, command)


@pytest.mark.kernel
def test_the_python_runs(packages: Path) -> None:
    code = block("python").replace("duration_s=10", "duration_s=0.2")
    done = subprocess.run([sys.executable, "-c", code], cwd=packages, capture_output=True, text=True, check=False)
    assert (done.stderr, done.returncode) == ("", 0)
    assert re.search(r"^\d+ 0$", done.stdout, re.MULTILINE)
