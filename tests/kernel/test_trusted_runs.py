"""Packages from a web server and a catalogue, run for real: what is signed and observes runs, what does more does not."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import ecli_py
from ecli_py.trust.places import TrustError
from ecli_schemas.write import write_package
from tests.cli import Ecli
from tests.corpus_programs import built
from tests.http_server import Server
from tests.machine import mounting

pytestmark = pytest.mark.kernel


def test_a_signed_package_runs_by_its_name(packages: Path, tmp_path: Path) -> None:
    ecli = Ecli(tmp_path, environment={"XDG_CONFIG_HOME": str(tmp_path / "c"), "XDG_CACHE_HOME": str(tmp_path / "cache")})
    (tmp_path / "xdpguard.json").write_bytes(write_package(built("xdpguard").package))
    assert ecli("keygen", "-W", "key").status == 0
    assert ecli("trust", "add", "me", "key.pub").status == 0
    outcome = ecli("publish", "site", packages / "execsnoop.json", "xdpguard.json", "--key", "key")
    assert outcome.status == 0, outcome.stderr
    with Server(directory=tmp_path / "site") as server:
        url = server.url("")
        (tmp_path / "c/ecli-py/policy.toml").write_text(f'catalogues = ["{url}/catalogue.json"]\n')
        outcome = ecli("run", "execsnoop", "--duration", "100ms", "--json")
        assert outcome.status == 0, outcome.stderr
        assert outcome.stderr.startswith("attached\n")
        refused = ecli("run", "xdpguard", "--iface", "lo").fails("can drop or redirect packets (--allow network): xdp_guard")
        assert "attached" not in refused
        outcome = ecli("run", "xdpguard", "--iface", "lo:generic", "--allow", "network", "--duration", "100ms")
        assert outcome.status == 0, outcome.stderr


def test_from_python(packages: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    shutil.copy(packages / "execsnoop.json", tmp_path)
    (tmp_path / "guard.json").write_bytes(write_package(built("xdpguard").package))
    with Server(directory=tmp_path) as server:
        url = server.url("")
        with pytest.raises(TrustError, match="it is not signed"):
            ecli_py.open(f"{url}/execsnoop.json")
        with ecli_py.open(f"{url}/execsnoop.json", allow_unsigned=True) as tool:
            assert list(tool.events(duration_s=0.01, count=1)) is not None
        with pytest.raises(TrustError, match="can drop or redirect packets"):
            ecli_py.open(f"{url}/guard.json", allow_unsigned=True, iface="lo")
    with pytest.raises(TrustError, match="can drop or redirect packets"):
        ecli_py.open(tmp_path / "guard.json", allow=["observe"], iface="lo")


def test_the_policy_of_the_machine_holds_for_all(packages: Path, tmp_path: Path) -> None:
    """It is where a user has no say: /etc/ecli-py, here in a mount namespace of its own."""
    settings = tmp_path / "etc"
    settings.mkdir()
    (settings / "policy.toml").write_text('[limits]\nprogram_types = ["xdp"]\n')
    (tmp_path / "c/ecli-py").mkdir(parents=True)
    (tmp_path / "c/ecli-py/policy.toml").write_text('[limits]\nprogram_types = ["*"]\n')
    over = tmp_path / "over"
    over.mkdir()
    script = (
        f"mount -t tmpfs none {over}; mkdir {over}/upper {over}/work; "
        f"mount -t overlay -o lowerdir=/etc,upperdir={over}/upper,workdir={over}/work overlay /etc; "
        f'mkdir -p /etc/ecli-py; mount --bind {settings} /etc/ecli-py; exec "$@"'
    )
    prefix = [*mounting(), "sh", "-ec", script, "sh"]
    ecli = Ecli(tmp_path, prefix=prefix, environment={"XDG_CONFIG_HOME": str(tmp_path / "c")})
    ecli("run", packages / "execsnoop.json", "--allow", "all").fails(
        "is beyond the limits of /etc/ecli-py/policy.toml", "is of type tracepoint (program_types)"
    )
