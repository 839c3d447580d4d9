"""The trust store, and the commands that make and use keys."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from ecli_py.trust.minisign import generate
from tests.cli import Ecli
from tests.machine import NOBODY, missing


@pytest.fixture
def trusting(tmp_path: Path) -> Ecli:
    """The command line with settings and keys of its own."""
    return Ecli(
        tmp_path, environment={"XDG_CONFIG_HOME": str(tmp_path / "config"), "MINISIGN_CONFIG_DIR": str(tmp_path / "keys")}
    )


def made(trusting: Ecli, name: str = "tool") -> Path:
    """Make a key without a password, trust it as ``name``, and return its secret key."""
    secret = trusting.directory / f"{name}.key"
    assert trusting("keygen", "-W", secret).status == 0
    assert trusting("trust", "add", name, secret.with_suffix(".pub")).status == 0
    return secret


def test_a_key_is_made_where_minisign_has_it(trusting: Ecli) -> None:
    outcome = trusting("keygen", "-W")
    assert outcome.status == 0, outcome.stderr
    secret = trusting.directory / "keys" / "minisign.key"
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    (line,) = [line for line in outcome.stdout.splitlines() if "trust add" in line]
    key = line.split()[-1]
    assert key in (trusting.directory / "keys" / "minisign.pub").read_text()
    trusting("keygen", "-W").fails("minisign.key is there already")
    assert trusting("keygen", "-W", "--force").status == 0
    trusting("keygen", stdin=b"").fails("is there already")
    trusting("keygen", "other.key", stdin=b"").fails("no password")
    trusting("keygen", "other.key", stdin=b"\n").fails("empty password")
    assert not (trusting.directory / "other.key").exists()


def test_signing_and_verifying(trusting: Ecli) -> None:
    secret = made(trusting, "acme")
    file = trusting.directory / "tool.json"
    file.write_bytes(b'{"a": 1}')
    outcome = trusting("sign", "--key", secret, "tool.json", "--comment", "first of all")
    assert (outcome.stdout, outcome.status) == ("tool.json.minisig\n", 0), outcome.stderr
    outcome = trusting("verify", "tool.json")
    assert outcome.stdout.startswith("signed by acme (key ")
    assert "trusted comment: first of all\n" in outcome.stdout
    assert trusting("verify", "tool.json", "--key", "acme").status == 0
    assert trusting("verify", "tool.json", "--key", "acme.pub").status == 0
    assert trusting("trust", "remove", "acme").status == 0
    trusting("verify", "tool.json").fails("which is not trusted here")
    trusting("verify", "tool.json", "--key", "nobody.pub").fails("cannot read nobody.pub")
    file.write_bytes(b'{"a": 2}')
    trusting("verify", "tool.json", "--key", "acme.pub").fails("not what was signed")
    (trusting.directory / "tool.json.minisig").unlink()
    trusting("verify", "tool.json").fails("tool.json is not signed")
    trusting("sign", "--key", "acme.pub", "tool.json").fails("no secret key")
    trusting("sign", "--key", "no.key", "tool.json").fails("cannot read the secret key no.key")


def test_a_password_is_read_from_standard_input(trusting: Ecli) -> None:
    assert trusting("keygen", "locked.key", stdin=b"secret\n").status == 0
    (trusting.directory / "file").write_bytes(b"{}")
    trusting("sign", "--key", "locked.key", "file", stdin=b"Secret\n").fails("password of the secret key is wrong")
    outcome = trusting("sign", "--key", "locked.key", "file", stdin=b"secret\n")
    assert outcome.status == 0, outcome.stderr
    assert trusting("verify", "file", "--key", "locked.pub").status == 0


def test_names_and_keys_are_one_to_one(trusting: Ecli) -> None:
    made(trusting, "acme")
    public = trusting.directory / "acme.pub"
    assert trusting("trust", "add", "acme", public).status == 0
    trusting("trust", "add", "other", public).fails("trusted already, as acme")
    trusting("trust", "add", "acme", str(generate().public())).fails("acme has another key")
    trusting("trust", "add", "../acme", public).fails("is no name for a key")
    trusting("trust", "add", "x", "RWx").fails("cannot read RWx")
    trusting("trust", "remove", "x").fails("there is no key named x")
    assert trusting("trust", "list").stdout.startswith("acme  ")
    assert '"name": "acme"' in trusting("trust", "list", "--json").stdout


def test_a_damaged_store(trusting: Ecli) -> None:
    made(trusting, "acme")
    (trusting.directory / "config/ecli-py/keys/broken.pub").write_text("?")
    trusting("trust", "list").fails("broken.pub: this is no public key")


def test_keys_that_others_can_change_do_not_count(trusting: Ecli) -> None:
    made(trusting, "acme")
    keys = trusting.directory / "config/ecli-py/keys"
    (keys / "acme.pub").chmod(0o666)
    trusting("trust", "list").fails("acme.pub decides what is trusted, and anybody may write to it")
    (keys / "acme.pub").chmod(0o644)
    if os.geteuid():
        missing("root")
    os.chown(keys, NOBODY, NOBODY)
    trusting("trust", "list").fails(f"keys decides what is trusted, and belongs to user {NOBODY}")
