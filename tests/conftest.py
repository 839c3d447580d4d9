"""Fixtures for all tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli import Ecli
from tests.machine import need_compiler, need_kernel

ROOT = Path(__file__).parents[1]
DATA = ROOT / "tests" / "data"


@pytest.fixture(autouse=True)
def _what_the_test_needs(request: pytest.FixtureRequest) -> None:
    """Skip or fail a test whose markers say that it needs what this machine lacks."""
    if request.node.get_closest_marker("kernel"):
        need_kernel()
    if request.node.get_closest_marker("compiler"):
        need_compiler()


@pytest.fixture
def ecli(tmp_path: Path) -> Ecli:
    """The command line, run in an empty directory."""
    return Ecli(tmp_path)


@pytest.fixture(scope="session")
def caches(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Variables that give the session caches of its own."""
    return {"XDG_CACHE_HOME": str(tmp_path_factory.mktemp("cache"))}


@pytest.fixture(scope="session")
def packages(tmp_path_factory: pytest.TempPathFactory, caches: dict[str, str]) -> Path:
    """A directory with the packages of the samples: ``execsnoop.json`` and so on."""
    need_compiler()
    directory = tmp_path_factory.mktemp("packages")
    build = Ecli(directory, environment=caches)
    for source in sorted(ROOT.glob("samples/*/*.bpf.c")):
        outcome = build("build", source, "-o", f"{source.parent.name}.json")
        assert outcome.status == 0, outcome.stderr
    return directory


@pytest.fixture
def build(tmp_path: Path, caches: dict[str, str]) -> Ecli:
    """The command line for building, with a cache of the session's own."""
    need_compiler()
    return Ecli(tmp_path, environment=caches)


@pytest.fixture(scope="session")
def small_package() -> Path:
    """A package that needs no compiler: program ``on_exec``, map ``out``, struct ``evt``, option ``only_pid`` (int)."""
    return DATA / "upstream-minimal.json"
