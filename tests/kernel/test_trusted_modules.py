"""Wasm modules that load eBPF, from a web server and a registry, run for real: confirmed, and held to what they may do."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import ecli_py
from ecli_py.trust.places import TrustError
from ecli_schemas.errors import EcliError
from tests.cli import Ecli, wait_until
from tests.fetching import kept
from tests.http_server import Server
from tests.registry import RunningRegistry, run_registry

pytestmark = [pytest.mark.kernel, pytest.mark.compiler]

TRUSTED = ("--allow-unsigned", "--allow-wasm")


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningRegistry]:
    """A registry for everybody."""
    with run_registry(tmp_path_factory.mktemp("registry"), with_login=False) as running:
        yield running


@pytest.fixture
def user(ecli: Ecli, tmp_path: Path) -> Ecli:
    """Somebody with settings and a cache of his own."""
    return replace(ecli, environment={"XDG_CONFIG_HOME": str(tmp_path / "c"), "XDG_CACHE_HOME": str(tmp_path / "cache")})


def sees_programs(user: Ecli, *words: str) -> None:
    """Run a module until it has shown that a program was started."""
    with user.start("run", *words, "events", "execs") as running:

        def shown() -> bool:
            return any(line.split()[:1] == ["execs"] and "true" in line for line in running.stdout.splitlines())

        subprocess.run(["true"], check=True)
        wait_until(shown, "an event")
        outcome = running.end()
    assert (outcome.status, outcome.stderr) == (0, "attached\n")


def test_a_module_from_a_registry(user: Ecli, controller: Path, registry: RunningRegistry) -> None:
    reference = f"{registry.host}/tools/controller:1"
    outcome = user("push", controller, reference)
    assert outcome.status == 0, outcome.stderr
    user("run", "--allow-unsigned", reference, "maps").fails(
        "loads eBPF programs itself, and says where they are attached", "on_packet", "tp/sched/sched_process_exec", "--allow-wasm"
    )
    sees_programs(user, *TRUSTED, reference)
    sees_programs(user, *TRUSTED, "--offline", reference)


def test_a_module_that_a_trusted_key_has_signed(user: Ecli, controller: Path, tmp_path: Path) -> None:
    """Nobody needs to confirm it; a policy may still say no."""
    (tmp_path / "site").mkdir()
    module = tmp_path / "site" / "tool.wasm"
    module.write_bytes(controller.read_bytes())
    assert user("keygen", "-W", "key").status == 0
    assert user("trust", "add", "me", "key.pub").status == 0
    assert user("sign", "--key", "key", module).status == 0
    with Server(directory=tmp_path / "site") as server:
        url = server.url("/tool.wasm")
        assert " by me (key " in user("inspect", url).stdout
        sees_programs(user, url)
        (tmp_path / "c/ecli-py/policy.toml").write_text('[wasm]\nrun = "handlers"\n')
        user("run", url, "maps").fails("allows event handlers only")


def test_a_package_from_python_without_a_network(
    packages: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, registry: RunningRegistry
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    reference = f"{registry.host}/tools/execsnoop:1"
    outcome = Ecli(tmp_path)("push", packages / "execsnoop.json", reference)
    assert outcome.status == 0, outcome.stderr
    with pytest.raises(EcliError, match="is not in the cache"):
        ecli_py.open(reference, offline=True, allow_unsigned=True)
    with pytest.raises(TrustError, match="it is not signed"):
        ecli_py.open(reference, insecure=True)
    with ecli_py.open(reference, offline=True, allow_unsigned=True) as tool:
        assert list(tool.events(duration_s=0.01, count=1)) is not None
    assert kept(tmp_path / "cache" / "ecli-py" / "fetch")
