"""Locks: what is pinned, and damaged ones."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ecli_py.trust.lock import LockError, Pin, lock_name, parse_lock, read_lock, write_lock

DIGEST = "sha256:" + "1" * 64


def test_what_is_written_is_read(tmp_path: Path) -> None:
    pins = {"b": Pin(DIGEST, DIGEST, "https://example.org/b.json", "RW"), "a.json": Pin(DIGEST)}
    path = str(tmp_path / "ecli.lock")
    assert read_lock(path) is None
    write_lock(pins, path)
    assert read_lock(path) == pins
    first = Path(path).read_bytes()
    write_lock(dict(reversed(pins.items())), path)
    assert Path(path).read_bytes() == first  # one order, for version control


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "ecli.lock:1: this is no JSON"),
        ("[]", "ecli.lock: $: expected a lock (a JSON object), got a list"),
        ('{"lock": 2, "packages": {}}', "$.lock: expected the integer 1, got 2"),
        ('{"lock": 1}', "$.packages: missing"),
        ('{"lock": 1, "packages": {"a": {"digest": "sha256:12"}}}', "$.packages.a.digest: expected sha256: and 64"),
        ("[" * 100_000, "ecli.lock is no lock"),
        ("\udcff", "ecli.lock is no lock"),
    ],
)
def test_a_damaged_lock(text: str, message: str) -> None:
    with pytest.raises(LockError) as caught:
        parse_lock(text.encode(errors="surrogateescape"), "ecli.lock")
    assert message in str(caught.value)
    assert caught.value.hint


def test_a_pipe_is_no_lock(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "ecli.lock")
    with pytest.raises(LockError, match=r"ecli\.lock is no file"):
        read_lock(str(tmp_path / "ecli.lock"))


def test_files_are_named_by_their_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here" / "tools").mkdir(parents=True)
    (tmp_path / "outside.json").touch()
    (tmp_path / "here" / "tools" / "a.json").touch()
    monkeypatch.chdir(tmp_path / "here")
    for reference in ("tools/a.json", "./tools/a.json", str(tmp_path / "here/tools/a.json"), "tools/../tools/a.json"):
        assert lock_name(reference) == "tools/a.json"
    assert lock_name("../outside.json") == str(tmp_path / "outside.json")
    for reference in ("https://example.org/a.json", "execsnoop", "missing.json"):
        assert lock_name(reference) == reference
    with pytest.raises(LockError, match="standard input"):
        lock_name("-")
