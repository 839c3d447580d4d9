"""Packages of other machines: who must have signed them, and what happens if nobody has.

Whether a package was admitted shows in what is complained of: an option that is wrong is noticed behind that, and before anything
is loaded.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ecli_py.trust.minisign import SecretKey, generate
from tests.http_server import Server
from tests.site import ADMITTED, WRONG, Site, answer


@pytest.fixture
def site(tmp_path: Path, small_package: Path) -> Iterator[Site]:
    (tmp_path / "site").mkdir()
    with Server(directory=tmp_path / "site") as server:
        yield Site(tmp_path, server.url(""), small_package.read_bytes())


def other(package: bytes) -> bytes:
    """Return another package, as good as the first."""
    document: dict[str, Any] = json.loads(package)
    document["meta"]["eunomia_version"] = "0.0.1"
    return json.dumps(document).encode()


def test_unsigned_is_refused_where_nobody_can_be_asked(site: Site) -> None:
    site.refuses("tool.json: it is not signed", "hint: ecli-py inspect http://", "--allow-unsigned")
    site.admits("--allow-unsigned")
    site.ecli("run", site.url, "--allow-unsigned", *WRONG).fails(ADMITTED)
    assert site.ecli("inspect", site.url).status == 0


def test_signed_by_a_trusted_key_is_admitted(site: Site) -> None:
    key = site.trust("acme")
    site.publish(site.package, key.sign(site.package, "ours"))
    site.admits()
    assert site.ecli("verify", site.url).stdout.startswith("signed by acme")


def test_a_key_that_is_not_trusted(site: Site) -> None:
    site.trust("acme")
    stranger = generate()
    site.publish(site.package, stranger.sign(site.package, "of a stranger"))
    site.refuses(f"it is signed with the key {stranger.public().name}, which is not trusted here", "ecli-py trust add")
    site.admits("--allow-unsigned")


def test_whoever_takes_the_id_of_a_trusted_key_is_refused(site: Site) -> None:
    key = site.trust("acme")
    forged = SecretKey(key.id, generate().seed)
    site.publish(site.package, forged.sign(site.package, "forged"))
    for options in ((), ("--allow-unsigned",)):
        site.refuses("the content is not what was signed", "hint: do not use it", options=options)


def test_an_altered_byte_is_refused(site: Site) -> None:
    key = site.trust("acme")
    site.publish(site.package.replace(b'"on_exec"', b'"on_exeC"'), key.sign(site.package, "ours"))
    for options in ((), ("--allow-unsigned",)):
        site.refuses("the content is not what was signed", options=options)


def test_the_signature_of_another_package_is_refused(site: Site) -> None:
    key = site.trust("acme")
    site.publish(site.package, key.sign(other(site.package), "of another"))
    for options in ((), ("--allow-unsigned",)):
        site.refuses("the content is not what was signed", options=options)


def test_what_is_no_signature_is_refused(site: Site) -> None:
    site.publish(site.package, b"untrusted comment: x\nRWS=\ntrusted comment: y\nAA==\n")
    site.refuses("no signature of minisign's", options=("--allow-unsigned",))


def test_a_policy_says_whose_keys_count(site: Site) -> None:
    key, _other_key = site.trust("acme"), site.trust("ops")
    host = site.base.removeprefix("http://")
    site.policy(f'[[source]]\nhost = "{host}"\nkeys = ["ops", "release"]\n')
    site.refuses("must be signed by ops or release", "policy.toml:1): it is not signed", options=("--allow-unsigned",))
    site.publish(site.package, key.sign(site.package, "not by ops"))
    site.refuses("must be signed by ops or release", "it is signed by acme", options=("--allow-unsigned",))
    site.policy(f'[[source]]\nhost = "{host}"\nkeys = ["acme"]\n')
    site.admits()


def test_a_policy_says_what_happens_to_what_is_not_signed(site: Site) -> None:
    site.policy('[[source]]\nhost = "127.0.0.1:*"\nunsigned = "run"\n')
    site.admits()
    site.policy('[[source]]\nhost = "127.0.0.1:*"\nunsigned = "refuse"\n')
    site.refuses("must be signed (", "policy.toml:1): it is not signed", options=("--allow-unsigned",))


def test_a_broken_policy_stops_all(site: Site, small_package: Path) -> None:
    site.policy("[[source]]\nhost = 3\n")
    for reference in (site.url, str(small_package)):
        site.refuses("policy.toml:2: source[0].host: expected HOST or HOST:PORT", reference=reference)
    site.policy("")
    site.admits(reference=str(small_package))
    (site.settings / "policy.toml").chmod(0o666)
    site.refuses("policy.toml decides what is trusted, and anybody may write to it", reference=str(small_package))


def test_somebody_on_a_terminal_is_asked(site: Site) -> None:
    status, said = answer(site, "y")
    assert status == 1
    assert "tool.json: it is not signed" in said
    assert "sha256:" in said
    assert ADMITTED in said
    for no in ("n", "", "yesterday"):
        status, said = answer(site, no)
        assert status == 1
        assert "error: " in said
        assert ADMITTED not in said


# --- locks ---


def forget(site: Site) -> None:
    assert site.ecli("cache", "clear").status == 0


def test_a_lock_is_obeyed(site: Site) -> None:
    key = site.trust("acme")
    site.publish(site.package, key.sign(site.package, "ours"))
    outcome = site.ecli("lock", site.url)
    assert outcome.status == 0, outcome.stderr
    assert outcome.stdout.startswith(f"{site.url}: sha256:")
    assert outcome.stdout.endswith(", signed\n")
    site.admits()
    assert site.ecli("lock", "--check").status == 0
    changed = other(site.package)
    site.publish(changed, key.sign(changed, "ours, and newer"))
    site.admits()  # what is pinned, from the cache
    site.ecli("lock", "--check").fails("not all is as ecli.lock has it:", site.url, ", was sha256:")
    outcome = site.ecli("lock")
    assert outcome.status == 0, outcome.stderr
    assert ", was sha256:" in outcome.stdout
    assert site.ecli("lock", "--check").status == 0


def test_what_is_not_in_the_lock_is_refused_if_it_is_no_file(site: Site, small_package: Path) -> None:
    assert site.ecli("lock", small_package).status == 0
    site.refuses("tool.json is not in ecli.lock", "hint: ecli-py lock http://", options=("--allow-unsigned",))
    site.admits(reference=str(small_package))
    (site.ecli.directory / "mine.json").write_bytes(site.package)
    site.admits(reference="mine.json")


def test_a_file_that_was_changed_is_refused(site: Site) -> None:
    file = site.ecli.directory / "tool.json"
    file.write_bytes(site.package)
    assert site.ecli("lock", "./tool.json").status == 0
    for reference in ("tool.json", "./tool.json", str(file)):
        site.admits(reference=reference)
    file.write_bytes(other(site.package))
    for reference in ("tool.json", "./tool.json", str(file)):
        site.refuses("has the digest sha256:", "and ecli.lock pins sha256:", "hint: ecli-py lock", reference=reference)
    assert site.ecli("lock", "--remove", "tool.json").status == 0
    site.admits(reference="tool.json")
    site.ecli("lock", "--remove", "tool.json").fails("tool.json is not in ecli.lock")


def test_a_lock_pins_the_key(site: Site) -> None:
    first, second = site.trust("acme"), site.trust("ops")
    site.publish(site.package, first.sign(site.package, "ours"))
    assert site.ecli("lock", site.url).status == 0
    site.publish(site.package, second.sign(site.package, "ours, too"))
    site.admits()  # the signature is in the cache, as the package is
    forget(site)
    site.refuses(f"it is signed with the key {second.public().name}", "ecli.lock pins that key")
    (site.directory / "tool.json.minisig").unlink()
    forget(site)
    site.refuses("is not signed, and ecli.lock pins the key")
    (site.ecli.directory / "ecli.lock").write_text("{")
    site.refuses("ecli.lock:1: this is no JSON")
    (site.ecli.directory / "ecli.lock").unlink()
    site.ecli("lock").fails("there is no ecli.lock here")


# --- catalogues ---


def catalogue(site: Site, *packages: dict[str, Any]) -> None:
    site.publish(json.dumps({"catalogue": 1, "packages": packages}).encode(), name="catalogue.json")
    site.policy(f'catalogues = ["{site.base}/catalogue.json"]\n')


def test_a_site_is_published_searched_and_run_from(site: Site) -> None:
    first, second = (site.ecli.directory / name for name in ("one.json", "two.json"))
    first.write_bytes(site.package)
    key = site.ecli.directory / "key"
    assert site.ecli("keygen", "-W", key).status == 0
    assert site.ecli("trust", "add", "me", key.with_suffix(".pub")).status == 0
    outcome = site.ecli("publish", site.directory, first, "--key", key)
    assert outcome.status == 0, outcome.stderr
    assert {each.name for each in site.directory.iterdir()} >= {"catalogue.json", "catalogue.json.minisig", "index.html"}
    site.policy(f'catalogues = ["{site.base}/catalogue.json"]\n[[source]]\nhost = "127.0.0.1:*"\nkeys = ["me"]\n')
    (entry,) = json.loads(site.ecli("search", "--json").stdout)
    name = entry["name"]
    assert entry["digest"].startswith("sha256:")
    assert site.ecli("search", name.upper()).stdout.startswith(name)
    site.ecli("search", "no such thing").fails("nothing is called 'no such thing'")
    site.admits(reference=name)
    assert site.ecli("inspect", name).status == 0
    site.refuses(f"there is no version 9 of {name}", reference=f"{name}@9")
    site.refuses("there is no file nothing, and no package of that name", reference="nothing")
    # The same version with other contents; without the key the signature would not hold any more.
    second.write_bytes(other(site.package))
    site.ecli("publish", site.directory, second).fails("is there already, and has other contents")
    before = (site.directory / "catalogue.json").read_bytes()
    assert site.ecli("publish", site.directory).status == 0
    assert (site.directory / "catalogue.json").read_bytes() == before
    # A catalogue that was changed is refused.
    site.publish(before + b" ", name="catalogue.json")
    site.refuses("the content is not what was signed", reference=name)


def test_the_newest_version_is_run_and_its_digest_counts(site: Site) -> None:
    key = site.trust("acme")
    for version in ("9", "10", "10-rc1"):
        site.publish(site.package, key.sign(site.package, "ours"), name=f"{version}.json")
    digest = f"sha256:{hashlib.sha256(site.package).hexdigest()}"
    good = {"name": "tool", "digest": digest}
    wrong = {**good, "version": "9", "url": "9.json", "digest": "sha256:" + "0" * 64}
    catalogue(
        site, wrong, {**good, "version": "10", "url": "10.json"}, {**good, "version": "10-rc1", "url": f"{site.base}/10-rc1.json"}
    )
    assert site.ecli("lock", "tool").status == 0
    assert "/10.json" in (site.ecli.directory / "ecli.lock").read_text()
    site.admits(reference="tool")
    (site.ecli.directory / "ecli.lock").unlink()
    site.admits(reference="tool@10-rc1")
    site.refuses("has the digest sha256:", reference="tool@9")


@pytest.mark.parametrize(
    ("package", "message"),
    [
        ({"name": "a/b", "digest": "sha256:" + "0" * 64, "url": "x"}, "$.packages[0].name: expected a name"),
        ({"name": "a", "digest": "0", "url": "x"}, "$.packages[0].digest: expected sha256:"),
        (
            {"name": "a", "digest": "sha256:" + "0" * 64, "url": "file:///etc/passwd"},
            "a package cannot be at 'file:///etc/passwd'",
        ),
        ({"name": "a", "digest": "sha256:" + "0" * 64, "url": "-"}, ""),
        ({"name": "a", "digest": "sha256:" + "0" * 64}, "$.packages[0].url: missing"),
    ],
)
def test_a_catalogue_that_lies(site: Site, package: dict[str, Any], message: str) -> None:
    catalogue(site, package)
    site.refuses(message, options=("--allow-unsigned",), reference="a")


def test_catalogues_that_cannot_be_had(site: Site) -> None:
    site.ecli("search").fails("no catalogue is configured", "hint: a policy names them")
    site.policy(f'catalogues = ["{site.base}/none.json"]\n')
    site.ecli("search").fails("404")
    site.publish(b"<html>", name="page.json")
    site.ecli("search", "--catalogue", f"{site.base}/page.json").fails("is no catalogue: it is not JSON")
