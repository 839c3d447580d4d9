"""The cache: one user's own, whole whatever happens, and looked after by `ecli-py cache`."""

from __future__ import annotations

import json
import os
import stat
import time
from pathlib import Path

import pytest

from ecli_py.fetch import FetchError, FetchOptions, fetch
from ecli_py.fetch.cache import Cache, Entry, cache_directory
from ecli_py.fetch.errors import CacheError
from tests.cli import Ecli
from tests.http_server import Server
from tests.machine import NOBODY, mounting


@pytest.fixture
def cache(cache_path: Path) -> Cache:
    return Cache(cache_path)


def put(cache: Cache, name: str, content: bytes, age_s: float = 0) -> str:
    """Keep something that was used some time ago; return its digest."""
    digest = cache.keep(content)
    cache.put(name, Entry(name, digest, len(content), fetched_at=1.0, checked_at=2.0))
    then = time.time() - age_s
    for path in (cache._entry_path(name), cache._blob_path(digest)):
        os.utime(path, (then, then))
    return digest


def test_what_is_kept_is_found_again(cache: Cache) -> None:
    digest = put(cache, "here", b"content")
    found = Cache(cache.directory).use("here")
    assert found is not None
    assert (found[0].digest, found[1]) == (digest, b"content")
    assert cache.use("there") is None
    modes = {stat.S_IMODE(path.stat().st_mode) for path in cache.directory.rglob("*")}
    assert modes == {0o700, 0o600}


@pytest.mark.parametrize("change", ["another", "cut", "gone"])
def test_what_was_changed_is_not_used(cache: Cache, change: str) -> None:
    path = cache._blob_path(put(cache, "here", b"content"))
    if change == "gone":
        path.unlink()
    else:
        path.write_bytes(b"another" if change == "another" else b"cont")
    assert cache.use("here") is None
    put(cache, "here", b"content")
    assert cache.use("here") is not None


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", "null", "[" * 100_000, '{"reference": 1, "digest": "sha256:..", "size": 1}', '{"reference": "a", "x": 1}'],
)
def test_a_damaged_entry_counts_as_none(cache: Cache, text: str) -> None:
    put(cache, "here", b"content")
    cache._entry_path("here").write_text(text, encoding="utf-8")
    assert cache.use("here") is None
    assert cache.entries() == []
    cache.prune(0)


def test_a_digest_that_is_a_path_leads_nowhere(cache: Cache, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"x")
    assert cache.blob(f"sha256:../../../../{tmp_path}/secret") is None


@pytest.mark.kernel
def test_what_belongs_to_another_user_is_not_used(cache: Cache) -> None:
    blob = cache._blob_path(put(cache, "here", b"content"))
    os.chown(blob, NOBODY, NOBODY)
    assert cache.use("here") is None
    os.chown(blob, 0, 0)
    blob.chmod(0o666)
    assert cache.use("here") is None
    blob.chmod(0o600)
    assert cache.use("here") is not None
    blob.rename(blob.with_name("elsewhere"))
    blob.symlink_to("elsewhere")
    assert cache.use("here") is None
    os.chown(cache.directory / "entries", NOBODY, NOBODY)
    with pytest.raises(CacheError, match="not a directory of this user"):
        Cache(cache.directory)


@pytest.mark.parametrize("part", ["", "blobs", "entries", "locks"])
def test_a_directory_that_others_can_write_is_not_used(cache: Cache, part: str) -> None:
    (cache.directory / part).chmod(0o777)
    with pytest.raises(CacheError, match="writable to others"):
        Cache(cache.directory)


def test_a_directory_in_one_that_others_can_write_is_not_used(cache: Cache) -> None:
    cache.directory.parent.chmod(0o777)
    with pytest.raises(CacheError, match="others can change"):
        Cache(cache.directory)
    cache.directory.parent.chmod(0o1777)
    Cache(cache.directory)


def test_a_cache_that_cannot_be_used_keeps_nobody_from_running(
    cache: Cache, server: Server, package: bytes, ecli: Ecli, tmp_path: Path
) -> None:
    cache.directory.chmod(0o777)
    url = server.serves("/tool.json", package)
    outcome = ecli("pull", url, "-o", "-")
    assert (outcome.status, outcome.stdout) == (0, package.decode())
    assert "writable to others" in outcome.stderr
    assert "nothing is kept" in outcome.stderr
    ecli("cache", "list").fails("writable to others", "chmod go-w")
    assert not list(cache.directory.glob("blobs/*"))


@pytest.mark.parametrize(
    "variables", [{"XDG_CACHE_HOME": "here"}, {"XDG_CACHE_HOME": "/proc/none"}, {"HOME": "", "XDG_CACHE_HOME": ""}]
)
def test_a_user_without_a_home(server: Server, package: bytes, ecli: Ecli, variables: dict[str, str], tmp_path: Path) -> None:
    before = set(tmp_path.iterdir())
    homeless = Ecli(tmp_path, environment={**ecli.environment, **variables})
    outcome = homeless("inspect", server.serves("/tool.json", package))
    assert outcome.status == 0, outcome.stderr
    assert "Traceback" not in outcome.stderr
    assert set(tmp_path.iterdir()) == before


@pytest.mark.kernel
def test_root_has_a_cache_of_its_own_with_the_home_of_another_user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    os.chown(tmp_path, NOBODY, NOBODY)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert tmp_path not in cache_directory().parents
    os.chown(tmp_path, 0, 0)
    assert tmp_path in cache_directory().parents


@pytest.mark.kernel
def test_a_full_disk(server: Server, package: bytes, ecli: Ecli, tmp_path: Path, environment: dict[str, str]) -> None:
    small = tmp_path / "small"
    small.mkdir()
    url = server.serves("/tool.json", package + b"\n" * 4_000_000)
    words = [
        word.replace("mount -t tmpfs none", "mount -t tmpfs -o size=1m,mode=700 none") for word in mounting(tmpfs=str(small))
    ]
    full = Ecli(tmp_path, prefix=words, environment={**environment, "XDG_CACHE_HOME": str(small)})
    full("pull", url, "-o", "-").fails("No space left on device", "cache clear")


def test_the_list(cache: Cache, ecli: Ecli) -> None:
    put(cache, "https://example.org/a.json", b"a" * 2048, age_s=7200)
    digest = put(cache, "https://example.org/b.json", b"b", age_s=5)
    put(cache, "https://example.org/b.json.minisig", b"")
    lines = ecli("cache", "list").stdout.splitlines()
    assert lines[0].split() == ["USED", "SIZE", "DIGEST", "REFERENCE"]
    assert lines[1].split()[1:] == ["ago", "1", "B", digest[:19], "https://example.org/b.json"]
    assert lines[2].split()[:4] == ["2h", "ago", "2.0", "KiB"]
    assert len(lines) == 3
    document = json.loads(ecli("cache", "list", "--json").stdout)
    assert [each["reference"] for each in document if each["size"]] == [
        "https://example.org/b.json",
        "https://example.org/a.json",
    ]
    assert ecli("cache", "path").stdout == f"{cache.directory}\n"


def test_a_list_of_nothing(ecli: Ecli, cache_path: Path) -> None:
    assert (ecli("cache", "list").stdout, ecli("cache", "list", "--json").stdout) == ("", "[]\n")
    assert json.loads(ecli("cache", "clear", "--json").stdout) == {"files": 0, "size": 0}
    assert not cache_path.exists()


def test_prune_removes_what_is_old_or_too_much(cache: Cache, ecli: Ecli) -> None:
    day = 86400
    for index in range(5):
        put(cache, f"tool{index}", bytes([index]) * 1000, age_s=index * 10 * day + 100)
    put(cache, "same", bytes([0]) * 1000, age_s=100)
    abandoned = cache.partial("x")
    abandoned.write_bytes(b"x")
    os.utime(abandoned, (1, 1))
    cache.partial("y").write_bytes(b"y")
    assert ecli("cache", "prune").stdout == "removed 3 files, 2.0 KiB\n"  # of 30 and 40 days, and the abandoned one
    assert {each.reference for each in cache.entries()} == {"tool0", "same", "tool1", "tool2"}
    assert not abandoned.exists()
    assert cache.partial("y").exists()
    assert json.loads(ecli("cache", "prune", "--keep", "2K", "--json").stdout) == {"files": 1, "size": 1000}
    assert ecli("cache", "prune", "--unused-for", "5d").stdout == "removed 1 file, 1000 B\n"
    assert ecli("cache", "clear").stdout == "removed 2 files, 1001 B\n"
    assert ecli("cache", "list").stdout.count("\n") == 1
    assert (cache.directory / "locks").is_dir()


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (("prune", "--unused-for", "soon"), 1, "for example 30d"),
        (("prune", "--keep", "1X"), 1, "for example 100M"),
        (("clear", "--keep", "1M"), 2, "leave them out"),
        (("eat",), 2, "choose from"),
        ((), 2, "ACTION"),
    ],
)
def test_wrong_words(ecli: Ecli, cache: Cache, words: tuple[str, ...], status: int, said: str) -> None:
    outcome = ecli("cache", *words)
    assert outcome.status == status
    assert said in outcome.stderr
    assert "Traceback" not in outcome.stderr


def test_what_is_cleared_while_it_is_used_is_fetched_again(server: Server, package: bytes, cache_path: Path) -> None:
    url = server.serves("/tool.json", package)
    fetch(url)
    Cache(cache_path).clear()
    with pytest.raises(FetchError, match="not in the cache"):
        fetch(url, options=FetchOptions(offline=True))
    assert fetch(url).content == package
