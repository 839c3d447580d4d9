"""Fixtures for tests of what comes over the network: all of it on this machine's own addresses."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli import Ecli
from tests.http_server import Server
from tests.registry import RunningRegistry, run_registry


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """A home, a cache and a configuration of the test's own, for commands and for this process; a proxy that nobody may ask."""
    home = tmp_path / "home"
    home.mkdir()
    variables = {
        "HOME": str(home),
        "XDG_CACHE_HOME": str(home / "cache"),
        "XDG_CONFIG_HOME": str(home / "config"),
        "DOCKER_CONFIG": str(home / "docker"),
        "NETRC": str(home / "netrc"),
        **dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), "http://127.0.0.1:9"),
        "no_proxy": "",
        "NO_PROXY": "",
    }
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return variables


@pytest.fixture
def cache_path(environment: dict[str, str]) -> Path:
    """Where the test's cache is."""
    return Path(environment["XDG_CACHE_HOME"]) / "ecli-py" / "fetch"


@pytest.fixture
def ecli(tmp_path: Path, environment: dict[str, str]) -> Ecli:
    """The command line, with a cache of its own."""
    return Ecli(tmp_path, environment=environment)


@pytest.fixture
def server() -> Iterator[Server]:
    """A web server that does as it is told."""
    with Server() as running:
        yield running


@pytest.fixture(scope="session")
def open_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningRegistry]:
    """A registry for everybody."""
    with run_registry(tmp_path_factory.mktemp("registry"), with_login=False) as running:
        yield running


@pytest.fixture(scope="session")
def closed_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningRegistry]:
    """A registry that wants a login."""
    with run_registry(tmp_path_factory.mktemp("registry"), with_login=True) as running:
        yield running


@pytest.fixture
def package(small_package: Path) -> bytes:
    return small_package.read_bytes()


@pytest.fixture
def large(package: bytes) -> bytes:
    """A package that takes several reads."""
    return package + b"\n" * 2_000_000


@pytest.fixture
def nothing_bad_is_kept(cache_path: Path) -> Iterator[None]:
    """Whatever a test does, what is in the cache afterwards is whole."""
    yield
    for blob in cache_path.glob("blobs/*"):
        assert hashlib.sha256(blob.read_bytes()).hexdigest() == blob.name
