"""Packages in a real registry."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import stat
from pathlib import Path

import pytest

from ecli_py.fetch.references import parse_registry
from ecli_py.fetch.registry import INDEX, MANIFEST, Registry
from tests.cli import Ecli
from tests.conftest import DATA
from tests.http_server import Asked, Server
from tests.registry import PASSWORD, USER, RunningRegistry, run_registry

WASM = b"\0asm\x01\0\0\0"
SIGNATURE = b"untrusted comment: signature\nRWQ=\ntrusted comment: tool\nQUJD\n"


@pytest.fixture
def tool(tmp_path: Path, small_package: Path) -> Path:
    """A package in the working directory."""
    path = tmp_path / "tool.json"
    path.write_bytes(small_package.read_bytes())
    return path


def digest_of(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def push(ecli: Ecli, *words: str | Path) -> str:
    """Push; return the reference with the digest that the command prints."""
    outcome = ecli("push", *words)
    assert outcome.status == 0, outcome.stderr
    return outcome.stdout.strip()


def test_push_tags_pull_and_inspect_by_tag_and_by_digest(ecli: Ecli, tool: Path, open_registry: RunningRegistry) -> None:
    repository = f"{open_registry.host}/tools/first"
    pinned = push(ecli, tool, f"{repository}:1.0")
    assert pinned.startswith(f"oci://{repository}:1.0@sha256:")
    push(ecli, tool, f"oci://{repository}")
    assert ecli("tags", repository).stdout == "1.0\nlatest\n"
    assert json.loads(ecli("tags", f"oci://{repository}", "--json").stdout) == ["1.0", "latest"]
    for reference in (f"{repository}:1.0", f"oci://{repository}", pinned, f"oci://{repository}@{pinned.rpartition('@')[2]}"):
        pulled = ecli("pull", reference, "-o", "-")
        assert (pulled.status, pulled.stderr) == (0, "")
        assert pulled.stdout.encode() == tool.read_bytes()
        assert "on_exec" in ecli("inspect", reference).stdout
    assert push(ecli, tool, f"{repository}:1.0") == pinned, "the same package is the same artifact"


@pytest.mark.kernel
def test_run_by_tag_and_by_digest(ecli: Ecli, tool: Path, open_registry: RunningRegistry) -> None:
    pinned = push(ecli, tool, f"{open_registry.host}/tools/run:1")
    for reference in (f"{open_registry.host}/tools/run:1", pinned):
        outcome = ecli("run", reference, "--allow-unsigned", "--duration", "50ms")
        assert outcome.status == 0, outcome.stderr
        assert "attached" in outcome.stderr


@pytest.mark.kernel
def test_what_a_trusted_key_has_signed_runs(ecli: Ecli, tool: Path, open_registry: RunningRegistry) -> None:
    reference = f"{open_registry.host}/tools/signed:1"
    assert ecli("keygen", "-W", "key").status == 0
    assert ecli("sign", "--key", "key", tool).status == 0
    push(ecli, tool, reference)
    ecli("run", reference).fails("which is not trusted here")
    assert ecli("trust", "add", "me", "key.pub").status == 0
    outcome = ecli("run", reference, "--duration", "50ms")
    assert outcome.status == 0, outcome.stderr
    assert ecli("verify", reference).stdout.startswith("signed by me")
    assert ecli("lock", reference).status == 0
    assert ecli("run", reference, "--duration", "50ms", "--offline").status == 0
    # The signature of another package, pushed with this one.
    other = tool.with_name("other.json")
    other.write_bytes(tool.read_bytes() + b" ")
    tool.with_name("tool.json.minisig").rename(tool.with_name("other.json.minisig"))
    push(ecli, other, f"{open_registry.host}/tools/replayed:1")
    (tool.parent / "ecli.lock").unlink()
    ecli("run", f"{open_registry.host}/tools/replayed:1", "--allow-unsigned").fails("not what was signed")


def test_a_login_is_needed_tried_and_kept(
    ecli: Ecli, tool: Path, closed_registry: RunningRegistry, environment: dict[str, str]
) -> None:
    host = closed_registry.host
    reference = f"{host}/team/tool:1"
    for command in (("push", tool, reference), ("pull", reference), ("tags", f"{host}/team/tool")):
        ecli(*command).fails("denies", f"hint: ecli-py login {host}")
    ecli("login", host, "-u", USER, "--password-stdin", stdin=b"wrong\n").fails("refuses this name and password")
    config = Path(environment["DOCKER_CONFIG"]) / "config.json"
    assert not config.exists()
    outcome = ecli("login", host, "-u", USER, "--password-stdin", stdin=f"{PASSWORD}\n".encode())
    assert (outcome.status, outcome.stdout) == (0, f"{host}: logged in as {USER}\n")
    assert "not encrypted" in outcome.stderr
    assert stat.S_IMODE(config.stat().st_mode) == 0o600
    pinned = push(ecli, tool, reference)
    assert ecli("pull", pinned, "-o", "-").stdout.encode() == tool.read_bytes()
    assert ecli("tags", f"{host}/team/tool").stdout == "1\n"
    assert ecli("login", host, "--logout").stdout == f"{host}: the login is forgotten\n"
    ecli("tags", f"{host}/team/tool").fails("denies")


def test_a_login_keeps_what_else_is_in_the_configuration(
    ecli: Ecli, closed_registry: RunningRegistry, environment: dict[str, str]
) -> None:
    config = Path(environment["DOCKER_CONFIG"]) / "config.json"
    config.parent.mkdir()
    config.write_text('{"psFormat": "x", "auths": {"other.example": {"auth": "YTpi"}}}', encoding="utf-8")
    assert ecli("login", closed_registry.host, "-u", USER, "--password-stdin", stdin=PASSWORD.encode()).status == 0
    document = json.loads(config.read_text(encoding="utf-8"))
    assert document["psFormat"] == "x"
    assert set(document["auths"]) == {"other.example", closed_registry.host}


def test_a_credential_helper_is_asked(
    ecli: Ecli, tool: Path, closed_registry: RunningRegistry, environment: dict[str, str], tmp_path: Path
) -> None:
    helper = tmp_path / "bin" / "docker-credential-test"
    helper.parent.mkdir()
    helper.write_text(
        f"""#!/bin/sh
read server
echo "$1 $server" >> {tmp_path}/asked
case $1 in get) echo '{{"Username": "{USER}", "Secret": "{PASSWORD}"}}';; esac
""",
        encoding="utf-8",
    )
    helper.chmod(0o755)
    config = Path(environment["DOCKER_CONFIG"]) / "config.json"
    config.parent.mkdir()
    config.write_text(json.dumps({"credHelpers": {closed_registry.host: "test"}}), encoding="utf-8")
    environment["PATH"] = f"{helper.parent}:{os.environ['PATH']}"
    push(ecli, tool, f"{closed_registry.host}/team/helped:1")
    assert f"get {closed_registry.host}" in (tmp_path / "asked").read_text(encoding="utf-8")
    assert ecli("login", closed_registry.host, "-u", USER, "--password-stdin", stdin=PASSWORD.encode()).status == 0
    assert "store {" in (tmp_path / "asked").read_text(encoding="utf-8")
    assert "auths" not in json.loads(config.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "no JSON document"),
        ("[]", "no JSON object"),
        ('{"auths": []}', ""),
        ('{"auths": 7}', "auths is no JSON object"),
        ('{"auths": {"HOST": {"auth": "?"}}}', "cannot be read"),
        ('{"auths": {"HOST": {"identitytoken": "x"}}}', "identity token"),
        ('{"credsStore": "../evil"}', "no name of a credential helper"),
        ('{"credsStore": "missing-here"}', "docker-credential-missing-here is not installed"),
    ],
)
def test_a_broken_configuration_is_an_error(
    ecli: Ecli, closed_registry: RunningRegistry, environment: dict[str, str], text: str, said: str
) -> None:
    config = Path(environment["DOCKER_CONFIG"]) / "config.json"
    config.parent.mkdir()
    config.write_text(text.replace("HOST", closed_registry.host), encoding="utf-8")
    ecli("tags", f"{closed_registry.host}/team/tool").fails(said)


def test_a_tampered_blob_is_refused(ecli: Ecli, tool: Path, open_registry: RunningRegistry, cache_path: Path) -> None:
    reference = f"{open_registry.host}/tools/tampered:1"
    other = tool.with_name("other.json")
    other.write_bytes(tool.read_bytes() + b" ")
    push(ecli, other, reference)
    blob = open_registry.blob(digest_of(other.read_bytes()))
    blob.write_bytes(other.read_bytes().replace(b"on_exec", b"on_evil"))
    for command in ("pull", "inspect", "run"):
        ecli(command, reference).fails("has the digest sha256:", "not " + digest_of(other.read_bytes()), "nothing was kept")
    assert not list(cache_path.glob("blobs/*"))
    assert not list(cache_path.glob("entries/*"))
    assert not list(cache_path.glob("partial/*"))


def test_a_tampered_manifest_is_refused(ecli: Ecli, tool: Path, open_registry: RunningRegistry) -> None:
    pinned = push(ecli, tool, f"{open_registry.host}/tools/manifest:1", "--annotation", "a=b")
    blob = open_registry.blob(pinned.rpartition("@")[2])
    blob.write_bytes(blob.read_bytes().replace(b'"a":"b"', b'"a":"c"'))
    ecli("inspect", pinned).fails("digest")


def test_what_is_pushed_says_what_it_is(ecli: Ecli, tool: Path, open_registry: RunningRegistry) -> None:
    pinned = push(ecli, tool, f"{open_registry.host}/tools/types:1", "--annotation", "org.opencontainers.image.version=3")
    manifest = json.loads(open_registry.blob(pinned.rpartition("@")[2]).read_bytes())
    assert manifest["artifactType"] == "application/vnd.ecli.package.v1+json"
    assert manifest["config"]["mediaType"] == "application/vnd.oci.empty.v1+json"
    assert [layer["mediaType"] for layer in manifest["layers"]] == ["application/vnd.ecli.package.layer.v1+json"]
    assert manifest["annotations"]["org.opencontainers.image.title"] == "tool.json"
    assert manifest["annotations"]["org.opencontainers.image.version"] == "3"


def test_a_module_is_pushed_as_upstream_does(ecli: Ecli, tmp_path: Path, open_registry: RunningRegistry) -> None:
    (tmp_path / "app.wasm").write_bytes(WASM)
    pinned = push(ecli, "app.wasm", f"{open_registry.host}/modules/app:1")
    manifest = json.loads(open_registry.blob(pinned.rpartition("@")[2]).read_bytes())
    assert manifest["config"]["mediaType"] == "application/vnd.wasm.config.v1+json"
    assert open_registry.blob(manifest["config"]["digest"]).read_bytes() == b"{}"
    assert [layer["mediaType"] for layer in manifest["layers"]] == ["application/vnd.wasm.content.layer.v1+wasm"]
    assert ecli("pull", pinned, "-o", "again.wasm").stdout.startswith("again.wasm sha256:")
    assert (tmp_path / "again.wasm").read_bytes() == WASM


def test_a_package_that_upstream_pushed_as_a_module_is_told_by_its_bytes(
    ecli: Ecli, tool: Path, open_registry: RunningRegistry
) -> None:
    registry = Registry(parse_registry(f"{open_registry.host}/modules/trick"), False, 10)
    config = registry.upload(b"{}", "application/vnd.wasm.config.v1+json")
    layer = registry.upload(tool.read_bytes(), "application/vnd.wasm.content.layer.v1+wasm")
    registry.put_manifest({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [layer]}, "1")
    registry.close()
    assert "on_exec" in ecli("inspect", f"{open_registry.host}/modules/trick:1").stdout


def test_a_signature_travels_with_the_package(ecli: Ecli, tool: Path, open_registry: RunningRegistry) -> None:
    reference = f"{open_registry.host}/tools/carried:1"
    push(ecli, tool, reference)
    assert "(signed)" not in ecli("pull", reference, "-o", "unsigned.json").stdout
    tool.with_name("tool.json.minisig").write_bytes(SIGNATURE)
    push(ecli, tool, reference)
    assert "(signed)" in ecli("pull", reference, "-o", "pulled.json").stdout
    assert tool.with_name("pulled.json.minisig").read_bytes() == SIGNATURE
    assert ecli("tags", reference).stdout == "1\n", "the list of signatures has a tag that people do not see"
    tool.with_name("pulled.json.minisig").unlink()
    assert "(signed)" in ecli("pull", reference, "-o", "pulled.json", "--offline").stdout


def test_something_else_is_not_pushed(ecli: Ecli, tmp_path: Path, open_registry: RunningRegistry) -> None:
    (tmp_path / "page.html").write_text("<html>", encoding="utf-8")
    (tmp_path / "other.json").write_text("{}", encoding="utf-8")
    reference = f"{open_registry.host}/tools/wrong:1"
    ecli("push", "page.html", reference).fails("no package")
    ecli("push", "other.json", reference).fails("neither a package")
    ecli("push", "missing.json", reference).fails("missing.json")
    assert ecli("push", "other.json", f"{reference}@sha256:{'0' * 64}").status == 2


def test_what_is_not_there(ecli: Ecli, tool: Path, open_registry: RunningRegistry) -> None:
    push(ecli, tool, f"{open_registry.host}/tools/there:1")
    ecli("inspect", f"{open_registry.host}/tools/there:2").fails("no such thing", f"ecli-py tags oci://{open_registry.host}")
    ecli("inspect", f"{open_registry.host}/tools/absent:1").fails("no such thing")
    ecli("inspect", f"{open_registry.host}/tools/there@sha256:{'0' * 64}").fails("no such thing")
    ecli("tags", f"{open_registry.host}/tools/absent").fails("no such thing")


def test_a_container_image_is_no_package(ecli: Ecli, open_registry: RunningRegistry, tmp_path: Path) -> None:
    registry = Registry(parse_registry(f"{open_registry.host}/images/busybox:1"), False, 10)
    config = registry.upload(b"{}", "application/vnd.oci.image.config.v1+json")
    layers = [registry.upload(b"x", "application/vnd.oci.image.layer.v1.tar+gzip")]
    registry.put_manifest({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers}, "1")
    registry.close()
    ecli("run", f"{open_registry.host}/images/busybox:1").fails("a container image, not a package", "podman")


def test_a_package_that_is_here_needs_no_registry(ecli: Ecli, tool: Path, tmp_path: Path) -> None:
    directory = tmp_path / "registry"
    directory.mkdir()
    with run_registry(directory, with_login=False) as registry:
        reference = f"{registry.host}/tools/gone:1"
        pinned = push(ecli, tool, reference)
        by_digest = f"oci://{registry.host}/tools/gone@{pinned.rpartition('@')[2]}"
        for each in (reference, by_digest):
            assert ecli("inspect", each).status == 0
    again = ecli("inspect", reference)
    assert again.status == 0
    assert "using the copy" in again.stderr
    by_content = f"{registry.host}/tools/gone:0@sha256={digest_of(tool.read_bytes())[7:]}"
    for words in ((by_digest,), (by_content,), (reference, "--offline"), (by_content, "--offline")):
        quiet = ecli("inspect", *words)
        assert (quiet.status, quiet.stderr) == (0, "")
    ecli("inspect", f"{registry.host}/tools/gone:2", "--offline").fails("not in the cache")
    ecli("inspect", f"{registry.host}/tools/gone:2").fails("no connection")


def test_a_registry_on_another_machine_is_not_asked_over_plain_http(ecli: Ecli) -> None:
    # 192.0.2.0/24 is nobody's (RFC 5737); the proxy of the tests answers nothing either.
    ecli("tags", "192.0.2.1:5000/tools/x").fails("proxy")


# --- packages for several machines ---


@pytest.mark.compiler
def test_a_package_for_several_machines_is_split(ecli: Ecli, open_registry: RunningRegistry, tmp_path: Path) -> None:
    source = DATA / "flood.bpf.c"
    built = ecli("build", source, "-o", "both.json", "--arch", "x86_64", "--arch", "aarch64")
    assert built.status == 0, built.stderr
    reference = f"{open_registry.host}/tools/split:1"
    pinned = push(ecli, "both.json", reference, "--split")
    index = json.loads(open_registry.blob(pinned.rpartition("@")[2]).read_bytes())
    assert index["mediaType"] == "application/vnd.oci.image.index.v1+json"
    assert [each["platform"] for each in index["manifests"]] == [
        {"os": "linux", "architecture": "arm64"},
        {"os": "linux", "architecture": "amd64"},
    ]
    machine = os.uname().machine
    for each in (reference, pinned):
        objects = json.loads(ecli("inspect", each, "--json").stdout)["objects"]
        assert [one["arches"] for one in objects] == [[machine]]
    ecli("push", "both.json", "both.json", reference).fails("not for one machine")
    one = ecli("build", source, "-o", "one.json", "--arch", "aarch64")
    assert one.status == 0, one.stderr
    ecli("push", "one.json", reference, "--split").fails("not for several machines")
    ecli("push", "one.json", "one.json", reference).fails("two of the packages are for aarch64")


def test_an_index_without_this_machine(ecli: Ecli, tool: Path, open_registry: RunningRegistry) -> None:
    reference = f"{open_registry.host}/tools/elsewhere"
    pinned = push(ecli, tool, f"{reference}:there")
    registry = Registry(parse_registry(reference), False, 10)
    manifest = registry.manifest(pinned.rpartition("@")[2])
    descriptor = {**manifest.descriptor(), "platform": {"os": "linux", "architecture": "pdp11"}}
    registry.put_manifest({"schemaVersion": 2, "mediaType": INDEX, "manifests": [descriptor]}, "index")
    registry.close()
    ecli("inspect", f"{reference}:index").fails("has no package for", "it has one for pdp11")


# --- registries that misbehave, and those with tokens ---


class FakeRegistry:
    """A registry with one package, that can be made to misbehave.

    Args:
        server: The server behind it.
        content: The package.
    """

    def __init__(self, server: Server, content: bytes) -> None:
        self.server, self.content = server, content
        layer = {
            "mediaType": "application/vnd.ecli.package.layer.v1+json",
            "digest": digest_of(content),
            "size": len(content),
        }
        self.manifest: dict[str, object] = {"schemaVersion": 2, "mediaType": MANIFEST, "layers": [layer]}
        self.reference = f"{server.host}/x:1"
        server.serves(f"/v2/x/blobs/{digest_of(content)}", lambda asked: asked.answer(content))
        server.serves("/v2/x/manifests/1", lambda asked: asked.answer(json.dumps(self.manifest).encode(), Content_Type=MANIFEST))


@pytest.fixture
def fake(server: Server, tool: Path) -> FakeRegistry:
    return FakeRegistry(server, tool.read_bytes())


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "no manifest"),
        (b"<html>", "no manifest"),
        (b"[]", "no manifest"),
        (b"[" * 100_000, "no manifest"),
        (b"{}", "0 layers"),
        (b'{"layers": 7}', "0 layers"),
        (b'{"layers": [7, {"digest": "sha256:x", "size": 1}]}', "0 layers"),
        (b'{"layers": [{"digest": "sha256:' + b"0" * 64 + b'", "size": -1}]}', "0 layers"),
        (b'{"layers": [{"digest": "sha256:' + b"0" * 64 + b'", "size": 1000000000000}]}', "larger than 256 MiB"),
        (b'{"manifests": {}}', "no package for"),
        (b'{"manifests": [{"platform": 7, "digest": 5}]}', "no package for"),
        (b" " * (5 << 20), "larger than 4 MiB"),
    ],
)
def test_what_is_no_manifest(ecli: Ecli, fake: FakeRegistry, body: bytes, said: str, cache_path: Path) -> None:
    fake.server.serves("/v2/x/manifests/1", lambda asked: asked.answer(body))
    ecli("inspect", fake.reference).fails(said)
    assert not list(cache_path.glob("blobs/*"))


def test_a_manifest_that_is_not_what_the_registry_says(ecli: Ecli, fake: FakeRegistry) -> None:
    answer = json.dumps(fake.manifest).encode()
    fake.server.serves("/v2/x/manifests/1", lambda asked: asked.answer(answer, Docker_Content_Digest=f"sha256:{'0' * 64}"))
    ecli("inspect", fake.reference).fails("has the digest")


def test_a_token_is_fetched_with_the_login(ecli: Ecli, fake: FakeRegistry, environment: dict[str, str]) -> None:
    """As Docker's token specification has it: the registry names a server that gives tokens for names and passwords."""

    def guarded(asked: Asked) -> None:
        if asked.headers.get("authorization") == "Bearer tokenfor/me":
            asked.answer(json.dumps(fake.manifest).encode(), Content_Type=MANIFEST)
        else:
            challenge = f'Bearer realm="{fake.server.url("/token")}",service="here",scope="repository:x:pull"'
            asked.answer(b'{"errors": [{"message": "log in first"}]}', 401, WWW_Authenticate=challenge)

    def token(asked: Asked) -> None:
        assert asked.path == "/token?service=here&scope=repository%3Ax%3Apull"
        ok = asked.headers.get("authorization") == "Basic bWU6c2VjcmV0"
        asked.answer(b'{"token": "tokenfor/me"}' if ok else b'{"token": "anonymous"}')

    fake.server.serves("/v2/x/manifests/1", guarded)
    fake.server.serves("/token", token)
    ecli("inspect", fake.reference).fails("denies it: log in first", "ecli-py login")
    config = Path(environment["DOCKER_CONFIG"]) / "config.json"
    config.parent.mkdir()
    config.write_text(json.dumps({"auths": {fake.server.host: {"auth": "bWU6c2VjcmV0"}}}), encoding="utf-8")
    assert ecli("inspect", fake.reference).status == 0
    for answer in (b"", b"[]", b"{}", b'{"token": 7}', b'{"token": "a\\nb: c"}'):
        fake.server.serves("/token", lambda asked, answer=answer: asked.answer(answer))  # type: ignore[misc]
        ecli("inspect", fake.reference).fails("the answer to the login")


@pytest.mark.parametrize("realm", ["file:///etc/passwd", "", "javascript:x"])
def test_a_login_is_not_sent_anywhere(ecli: Ecli, fake: FakeRegistry, realm: str) -> None:
    challenge = f'Bearer realm="{realm}",service="x"'
    fake.server.serves("/v2/x/manifests/1", lambda asked: asked.answer(b"", 401, WWW_Authenticate=challenge))
    ecli("inspect", fake.reference).fails("not safe")


def test_a_blob_elsewhere_does_not_get_the_login(ecli: Ecli, fake: FakeRegistry, environment: dict[str, str], tool: Path) -> None:
    config = Path(environment["DOCKER_CONFIG"]) / "config.json"
    config.parent.mkdir()
    config.write_text(json.dumps({"auths": {fake.server.host: {"auth": "bWU6c2VjcmV0"}}}), encoding="utf-8")
    with Server() as elsewhere:
        elsewhere.serves("/blob", tool.read_bytes())

        def guarded(asked: Asked) -> None:
            if "authorization" in asked.headers:
                asked.answer(b"", 307, Location=elsewhere.url("/blob"))
            else:
                asked.answer(b"", 401, WWW_Authenticate='Basic realm="x"')

        fake.server.serves(f"/v2/x/blobs/{digest_of(fake.content)}", guarded)
        assert ecli("inspect", fake.reference).status == 0
        assert [each.headers.get("authorization") for each in elsewhere.asked] == [None]


def test_a_list_of_tags_without_end(ecli: Ecli, fake: FakeRegistry) -> None:
    fake.server.serves("/v2/x/tags/list", lambda asked: asked.answer(b'{"tags": 7}'))
    ecli("tags", f"{fake.server.host}/x").fails("cannot be read")
    fake.server.serves("/v2/x/tags/list", lambda asked: asked.answer(b"{"))
    ecli("tags", f"{fake.server.host}/x").fails("cannot be read")
    link = '</v2/x/tags/list?last=a>; rel="next"'
    fake.server.serves("/v2/x/tags/list", lambda asked: asked.answer(b'{"tags": ["a"]}', Link=link))
    assert ecli("tags", f"{fake.server.host}/x").stdout == "a\n"
    counter = itertools.count()

    def more(asked: Asked) -> None:
        asked.answer(json.dumps({"tags": [f"t{next(counter)}" for _ in range(4000)]}).encode(), Link=link)

    fake.server.serves("/v2/x/tags/list", more)
    ecli("tags", f"{fake.server.host}/x").fails("more than 10000 tags")
