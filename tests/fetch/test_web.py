"""Packages from a web server that misbehaves on purpose: nothing bad is kept, and each failure says what it is."""

from __future__ import annotations

import base64
import contextlib
import gzip
import hashlib
import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ecli_py.fetch import (
    DigestError,
    Fetched,
    FetchError,
    FetchOptions,
    MissingError,
    UnreachableError,
    fetch,
)
from ecli_py.fetch.cache import Cache
from ecli_py.fetch.http import RedirectError
from tests.cli import Ecli, wait_until
from tests.http_server import Asked, Server, make_certificate
from tests.imports import imported_by, others

IMPATIENT = FetchOptions(patience_s=1.0)


@pytest.fixture
def package(small_package: Path) -> bytes:
    return small_package.read_bytes()


@pytest.fixture
def large(package: bytes) -> bytes:
    """A package that takes several reads."""
    return package + b"\n" * 2_000_000


@pytest.fixture(autouse=True)
def _nothing_bad_is_kept(cache_path: Path) -> Iterator[None]:
    """Whatever a test does, what is in the cache afterwards is whole."""
    yield
    for blob in cache_path.glob("blobs/*"):
        assert hashlib.sha256(blob.read_bytes()).hexdigest() == blob.name


def kept(cache_path: Path) -> list[Path]:
    """Return everything that a cache holds."""
    return [path for name in ("blobs", "entries") for path in cache_path.glob(f"{name}/*")]


def quiet(reference: str, options: FetchOptions = IMPATIENT) -> Fetched:
    """Fetch, with nothing to warn of."""

    def warn(text: str) -> None:
        raise AssertionError(text)

    return fetch(reference, options=FetchOptions(options.offline, options.insecure, patience_s=options.patience_s, warn=warn))


def chopped(content: bytes, size: int = 1000, pause_s: float = 0) -> Iterator[bytes]:
    for at in range(0, len(content), size):
        time.sleep(pause_s)
        yield content[at : at + size]


def dripping(part: bytes) -> Iterator[bytes]:
    """Yield some bytes again and again, slowly, for a minute."""
    for _ in range(600):
        time.sleep(0.1)
        yield part


# --- what works ---


def test_a_package_is_fetched_once_and_then_asked_for(server: Server, package: bytes) -> None:
    url = server.serves("/tool.json", package)
    first = quiet(url)
    assert first.content == package
    assert first.digest == f"sha256:{hashlib.sha256(package).hexdigest()}"
    assert (first.remote, first.source) == (True, server.host)
    assert quiet(url).content == package
    assert [each.headers.get("if-none-match") for each in server.asked] == [None, f'"{first.digest[7:23]}"']


def test_a_new_version_is_noticed(server: Server, package: bytes) -> None:
    url = server.serves("/tool.json", package)
    quiet(url)
    server.serves("/tool.json", package + b" ")
    assert quiet(url).content == package + b" "


def test_a_server_without_etags_says_when_it_was_changed(server: Server, package: bytes) -> None:
    date = "Tue, 24 Nov 2026 10:00:00 GMT"

    def answer(asked: Asked) -> None:
        if asked.headers.get("if-modified-since") == date:
            asked.answer(b"", 304)
        else:
            asked.answer(package, Last_Modified=date)

    url = server.serves("/tool.json", answer)
    assert quiet(url).content == quiet(url).content == package
    assert "if-modified-since" in server.asked[1].headers


def test_chunks_and_redirects_are_followed(server: Server, package: bytes) -> None:
    def chunked(asked: Asked) -> None:
        parts = [f"{len(part):x}\r\n".encode() + part + b"\r\n" for part in chopped(package)]
        asked.answer([*parts, b"0\r\n\r\n"], Transfer_Encoding="chunked")

    server.serves("/there", chunked)
    url = server.serves("/here", lambda asked: asked.answer(b"x" * 100_000, 302, Location="/there"))
    assert quiet(url).content == package


def test_what_comes_compressed_is_unpacked(server: Server, package: bytes) -> None:
    url = server.serves("/tool.json", lambda asked: asked.answer(gzip.compress(package), Content_Encoding="gzip"))
    assert quiet(url).content == package
    assert server.asked[0].headers["accept-encoding"] == "identity"


def test_netrc_has_the_login(server: Server, package: bytes, environment: dict[str, str], cache_path: Path) -> None:
    Path(environment["NETRC"]).write_text("machine 127.0.0.1 login me password secret\n", encoding="utf-8")
    Path(environment["NETRC"]).chmod(0o600)

    def answer(asked: Asked) -> None:
        asked.answer(package, 200 if asked.headers.get("authorization") == "Basic bWU6c2VjcmV0" else 401)

    assert quiet(server.serves("/tool.json", answer)).content == package


def test_a_password_in_a_url_is_used_and_not_shown(server: Server, package: bytes, cache_path: Path) -> None:
    def answer(asked: Asked) -> None:
        asked.answer(package, 200 if asked.headers.get("authorization") == "Basic bWU6c2VjcmV0" else 403)

    url = server.serves("/tool.json", answer).replace("http://", "http://me:secret@")
    fetched = quiet(url)
    assert "secret" not in str(fetched.reference) + fetched.source
    assert all(b"secret" not in path.read_bytes() for path in kept(cache_path))
    with pytest.raises(FetchError) as caught:
        quiet(url.replace("secret", "wrong!"))
    assert "wrong!" not in str(caught.value)


def test_a_signature_is_beside_the_package(server: Server, package: bytes) -> None:
    signature = b"untrusted comment: a\nRWQ=\ntrusted comment: b\nQUJD\n"
    url = server.serves("/tool.json", package) + "?version=1"
    assert quiet(url).signature() is None
    server.serves("/tool.json.minisig", signature)
    assert quiet(url).signature() == signature
    assert server.asked[-1].path == "/tool.json.minisig?version=1"
    assert quiet(url, FetchOptions(offline=True)).signature() == signature


def test_a_page_is_no_signature(server: Server, package: bytes) -> None:
    server.serves("/tool.json.minisig", b"<html>not found</html>")
    with pytest.raises(FetchError, match="no signature"):
        quiet(server.serves("/tool.json", package)).signature()


# --- what does not ---


@pytest.mark.parametrize(
    ("status", "kind", "said"),
    [
        (400, FetchError, "400"),
        (401, FetchError, "netrc"),
        (403, FetchError, "netrc"),
        (404, MissingError, "check the reference"),
        (410, MissingError, "check the reference"),
        (204, FetchError, "no package"),
        (304, FetchError, "no package"),
        (300, FetchError, "no package"),
    ],
)
def test_a_status_is_an_error_at_once(server: Server, cache_path: Path, status: int, kind: type[FetchError], said: str) -> None:
    url = server.serves("/tool.json", lambda asked: asked.answer(b"", status))
    with pytest.raises(kind) as caught:
        quiet(url)
    assert said in f"{caught.value} {caught.value.hint}"
    assert len(server.asked) == 1
    assert not kept(cache_path)


@pytest.mark.parametrize("status", [429, 500, 502, 503])
def test_a_server_in_trouble_is_asked_again(server: Server, package: bytes, status: int) -> None:
    counter = itertools.count()

    def answer(asked: Asked) -> None:
        asked.answer(package, status if next(counter) < 2 else 200)

    assert quiet(server.serves("/tool.json", answer)).content == package
    assert len(server.asked) == 3


def test_a_server_that_stays_in_trouble(server: Server, cache_path: Path) -> None:
    with pytest.raises(UnreachableError, match="500") as caught:
        quiet(server.serves("/tool.json", lambda asked: asked.answer(b"", 500)))
    assert "again later" in caught.value.hint
    assert len(server.asked) == 4
    assert not kept(cache_path)


def test_a_server_that_wants_us_to_wait_long(server: Server) -> None:
    with pytest.raises(UnreachableError) as caught:
        quiet(server.serves("/tool.json", lambda asked: asked.answer(b"", 503, Retry_After=3600)))
    assert "3600 s" in caught.value.hint
    assert len(server.asked) == 1


def drip(asked: Asked) -> None:
    asked.answer(dripping(b" "), Content_Length=600)


def drip_headers(asked: Asked) -> None:
    for _ in range(600):
        asked.handler.wfile.write(b"H")
        time.sleep(0.1)


def drip_the_length_of_a_chunk(asked: Asked) -> None:
    asked.answer(itertools.chain([b"1\r\n{\r\n"], dripping(b"0")), Transfer_Encoding="chunked")


def say_nothing(asked: Asked) -> None:
    time.sleep(60)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (drip, "less than 1024 bytes a second"),
        (drip_headers, "did not answer"),
        (drip_the_length_of_a_chunk, "less than 1024 bytes a second"),
        (say_nothing, "stopped sending|did not answer"),
    ],
)
def test_a_slow_server_is_given_up(server: Server, cache_path: Path, answer: object, said: str) -> None:
    url = server.serves("/tool.json", answer)  # type: ignore[arg-type]
    started = time.monotonic()
    with pytest.raises(UnreachableError, match=said):
        quiet(url)
    assert time.monotonic() - started < 20
    assert not kept(cache_path)


def test_what_is_cut_is_gone_on_with(server: Server, large: bytes) -> None:
    counter = itertools.count()

    def answer(asked: Asked) -> None:
        if next(counter) == 0:
            asked.answer([large[:1_500_000]], ETag='"1"', Content_Length=len(large))
        else:
            begin = int(asked.headers["range"].removeprefix("bytes=").removesuffix("-"))
            asked.answer(large[begin:], 206, ETag='"1"', Content_Range=f"bytes {begin}-{len(large) - 1}/{len(large)}")

    assert quiet(server.serves("/tool.json", answer)).content == large
    assert server.asked[1].headers["if-range"] == '"1"'
    assert server.asked[1].headers["range"] == f"bytes={1_500_000 - 4096}-"


def test_what_is_always_cut(server: Server, large: bytes, cache_path: Path) -> None:
    with pytest.raises(UnreachableError, match="cut"):
        quiet(server.serves("/tool.json", lambda asked: asked.answer([large[:1000]], Content_Length=len(large))))
    assert not kept(cache_path)


def test_another_version_under_the_same_etag_is_not_mixed_in(server: Server, large: bytes) -> None:
    other = large.replace(b"\n\n", b"\t\n")
    counter = itertools.count()

    def answer(asked: Asked) -> None:
        if next(counter) == 0:
            asked.answer([large[:1_500_000]], ETag='"1"', Content_Length=len(large))
        elif "range" in asked.headers:
            begin = int(asked.headers["range"].removeprefix("bytes=").removesuffix("-"))
            asked.answer(other[begin:], 206, ETag='"1"', Content_Range=f"bytes {begin}-{len(other) - 1}/{len(other)}")
        else:
            asked.answer(other, ETag='"1"')

    assert quiet(server.serves("/tool.json", answer)).content == other


def test_another_version_under_the_same_etag_is_not_what_a_digest_says(server: Server, package: bytes) -> None:
    url = server.serves("/tool.json", lambda asked: asked.answer(package, ETag='"1"'))
    quiet(url)
    other = package + b" "
    server.serves("/tool.json", lambda asked: asked.answer(other, 304 if "if-none-match" in asked.headers else 200, ETag='"1"'))
    assert quiet(f"{url}#sha256={hashlib.sha256(other).hexdigest()}").content == other


@pytest.mark.parametrize("said", ["bytes 0-9/10", "bytes 5-9/20", "nonsense", "bytes 1495904-1495905/99999999"])
def test_another_part_than_was_asked_for(server: Server, large: bytes, said: str) -> None:
    counter = itertools.count()

    def answer(asked: Asked) -> None:
        if next(counter) == 0:
            asked.answer([large[:1_500_000]], ETag='"1"', Content_Length=len(large))
        elif "range" in asked.headers:
            asked.answer(b"0123456789", 206, ETag='"1"', Content_Range=said)
        else:
            asked.answer(large, ETag='"1"')

    assert quiet(server.serves("/tool.json", answer)).content == large


@pytest.mark.parametrize("length", [100, 2000])
def test_a_length_that_is_too_small_cuts_the_package(server: Server, package: bytes, cache_path: Path, length: int) -> None:
    with pytest.raises(FetchError, match="no whole JSON document") as caught:
        quiet(server.serves("/tool.json", lambda asked: asked.answer(package, Content_Length=length)))
    assert "cut short" in caught.value.hint
    assert not kept(cache_path)


def test_a_digest_that_is_not_that_of_the_package(server: Server, package: bytes, cache_path: Path) -> None:
    url = server.serves("/tool.json", package)
    wrong = "0" * 64
    with pytest.raises(DigestError) as caught:
        quiet(f"{url}@sha256={wrong}")
    assert caught.value.expected == f"sha256:{wrong}"
    assert not kept(cache_path)
    right = hashlib.sha256(package).hexdigest()
    assert quiet(f"{url}@sha256={right}").content == package
    asked = len(server.asked)
    assert quiet(f"{url}#sha256={right.upper()}").content == package
    assert len(server.asked) == asked, "what is pinned and here needs no server"
    with pytest.raises(DigestError):
        quiet(f"{url}@sha256={wrong}")


@pytest.mark.parametrize("header", ["Repr_Digest", "Digest"])
def test_a_digest_that_the_server_says(server: Server, package: bytes, cache_path: Path, header: str) -> None:
    def said(content: bytes) -> str:
        digest = base64.b64encode(hashlib.sha256(content).digest()).decode()
        return f"sha-256=:{digest}:" if header == "Repr_Digest" else f"SHA-256={digest}"

    url = server.serves("/tool.json", lambda asked: asked.answer(package, **{header: said(b"another")}))
    with pytest.raises(DigestError):
        quiet(url)
    assert not kept(cache_path)
    server.serves("/tool.json", lambda asked: asked.answer(package, **{header: said(package)}))
    assert quiet(url).content == package


def test_redirects_that_go_round(server: Server, cache_path: Path) -> None:
    server.serves("/a", lambda asked: asked.answer(b"", 301, Location="/b"))
    with pytest.raises(RedirectError, match="more than 10 times"):
        quiet(server.serves("/b", lambda asked: asked.answer(b"", 307, Location="/a")))
    assert not kept(cache_path)


def test_tls(tmp_path: Path, package: bytes, monkeypatch: pytest.MonkeyPatch, server: Server, cache_path: Path) -> None:
    with Server(make_certificate(tmp_path)) as safe:
        url = safe.serves("/tool.json", package)
        with pytest.raises(FetchError, match="cannot prove that it is who it says") as caught:
            quiet(url)
        assert "REQUESTS_CA_BUNDLE" in caught.value.hint
        assert not kept(cache_path)
        with monkeypatch.context() as system:
            system.setenv("SSL_CERT_FILE", str(tmp_path / "public.pem"))  # where OpenSSL looks for those that the system trusts
            assert quiet(url).content == package
        with pytest.raises(FetchError, match="cannot prove"):
            quiet(url)
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "public.pem"))
        assert quiet(url).content == package
        unsafe = server.serves("/tool.json", package)
        for target in (unsafe, unsafe.removeprefix("http:").join(("HTTP:", ""))):
            downhill = safe.serves("/downhill", lambda asked, target=target: asked.answer(b"", 302, Location=target))  # type: ignore[misc]
            with pytest.raises(RedirectError, match="from https to http"):
                quiet(downhill)
        assert not server.asked
        uphill = server.serves("/uphill", lambda asked: asked.answer(b"", 302, Location=url))
        assert quiet(uphill).content == package


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://example.org/x", "javascript:1", "http://[", "http:///x"])
def test_redirects_to_nowhere(server: Server, target: str) -> None:
    with pytest.raises(FetchError):
        quiet(server.serves("/tool.json", lambda asked: asked.answer(b"", 302, Location=target)))


def test_a_redirect_whose_body_has_no_end(server: Server, package: bytes) -> None:
    server.serves("/there", package)
    url = server.serves("/here", lambda asked: asked.answer(itertools.repeat(bytes(1 << 16)), 302, Location="/there"))
    assert quiet(url).content == package


@pytest.mark.parametrize("length", [5 << 30, None])
def test_five_gigabytes(server: Server, cache_path: Path, length: int | None) -> None:
    def answer(asked: Asked) -> None:
        asked.answer(itertools.repeat(bytes(1 << 20), 5 << 10), Content_Length=length)

    url = server.serves("/tool.json", answer)
    with pytest.raises(FetchError, match="larger than 16 MiB"):
        fetch(url, options=FetchOptions(max_size_bytes=16 << 20))
    assert not kept(cache_path)
    assert not list(cache_path.glob("partial/*"))


def test_a_bomb_of_gzip(server: Server, cache_path: Path) -> None:
    bomb = gzip.compress(bytes(64 << 20))
    url = server.serves("/tool.json", lambda asked: asked.answer(bomb, Content_Encoding="gzip"))
    with pytest.raises(FetchError, match="unpacks from"):
        fetch(url, options=FetchOptions(max_size_bytes=16 << 20))
    assert not kept(cache_path)


@pytest.mark.parametrize(
    ("body", "encoding", "said"),
    [
        (b"abc", "gzip", "damaged"),
        (gzip.compress(b"{}")[:-4], "gzip", "does not end"),
        (gzip.compress(b"{}") * 2, "gzip", "does not end"),
        (b"abc", "br", "compressed"),
        (b"abc", "gzip, gzip", "compressed"),
    ],
)
def test_other_encodings(server: Server, cache_path: Path, body: bytes, encoding: str, said: str) -> None:
    with pytest.raises(FetchError, match=said):
        quiet(server.serves("/tool.json", lambda asked: asked.answer(body, Content_Encoding=encoding)))
    assert not kept(cache_path)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "is empty"),
        (b"\n<!DOCTYPE html><title>Log in</title>", "a web page"),
        (gzip.compress(b"{}"), "a gzip file"),
        (b"hello", "no package"),
        (b'{"bpf_object": ', "no whole JSON document"),
        (b"[" * 100_000, "no package"),
        (b'{"a":' * 100_000, "no whole JSON document"),
        (bytes(257) + b"ustar" + bytes(2000), "tar"),
    ],
)
def test_what_is_no_package(server: Server, cache_path: Path, body: bytes, said: str) -> None:
    with pytest.raises(FetchError, match=said):
        quiet(server.serves("/tool.json", body))
    assert not kept(cache_path)


@pytest.mark.parametrize(
    "words",
    [b"\0\0\0\0", b"HTTP/9.9 abc\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n{", b"SSH-2.0-x\r\n"],
)
def test_answers_that_are_not_http(server: Server, cache_path: Path, words: bytes) -> None:
    url = server.serves("/tool.json", lambda asked: asked.handler.wfile.write(words))
    with pytest.raises(FetchError):
        quiet(url)
    assert not kept(cache_path)


# --- a dead network ---


def test_a_dead_network_does_not_keep_a_copy_from_running(server: Server, package: bytes) -> None:
    url = server.serves("/tool.json", package)
    quiet(url)
    server.stop()
    warnings: list[str] = []
    started = time.monotonic()
    assert fetch(url, options=FetchOptions(warn=warnings.append)).content == package
    assert time.monotonic() - started < 5
    assert len(warnings) == 1
    assert "using the copy" in warnings[0]
    with pytest.raises(UnreachableError, match="no connection"):
        quiet(f"{url}x")


@pytest.mark.parametrize("answer", [say_nothing, drip_headers])
def test_a_silent_server_does_not_either(server: Server, package: bytes, answer: object) -> None:
    url = server.serves("/tool.json", package)
    quiet(url)
    server.serves("/tool.json", answer)  # type: ignore[arg-type]
    warnings: list[str] = []
    started = time.monotonic()
    assert fetch(url, options=FetchOptions(warn=warnings.append)).content == package
    assert time.monotonic() - started < 6
    assert "using the copy" in warnings[0]


def test_a_server_in_trouble_does_not_either_but_one_that_says_no_does(server: Server, package: bytes) -> None:
    url = server.serves("/tool.json", package)
    quiet(url)
    server.serves("/tool.json", lambda asked: asked.answer(b"", 503))
    warnings: list[str] = []
    assert fetch(url, options=FetchOptions(warn=warnings.append)).content == package
    assert "503" in warnings[0]
    server.serves("/tool.json", lambda asked: asked.answer(b"", 404))
    with pytest.raises(MissingError) as caught:
        quiet(url)
    assert "--offline uses the copy" in caught.value.hint
    assert quiet(url, FetchOptions(offline=True)).content == package


def test_offline_asks_nobody(server: Server, package: bytes) -> None:
    url = server.serves("/tool.json", package)
    with pytest.raises(FetchError, match="not in the cache"):
        quiet(url, FetchOptions(offline=True))
    quiet(url)
    asked = len(server.asked)
    assert quiet(url, FetchOptions(offline=True)).content == package
    assert len(server.asked) == asked


# --- proxies, and terminals ---


def test_a_proxy_is_asked_for_other_machines_only(server: Server, package: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", server.url(""))
    server.serves("http://tools.example/tool.json", package)
    assert quiet("http://tools.example/tool.json").content == package
    assert quiet(server.serves("/tool.json", package)).content == package
    monkeypatch.setenv("no_proxy", "tools.example")
    with pytest.raises(UnreachableError, match="no such host"):
        quiet("http://tools.example/other.json")


def test_a_registry_elsewhere_is_asked_over_plain_http_only_if_that_is_wanted(
    server: Server, ecli: Ecli, environment: dict[str, str]
) -> None:
    environment |= {"http_proxy": server.url(""), "https_proxy": server.url("")}
    server.serves("http://tools.example:5000/v2/x/tags/list", b'{"tags": ["1.0"]}')
    ecli("tags", "tools.example:5000/x").fails("proxy")
    assert ecli("tags", "tools.example:5000/x", "--insecure").stdout == "1.0\n"
    server.serves("http://tools/v2/a.b/x/tags/list", b'{"tags": ["2.0"]}')
    assert ecli("tags", "oci://tools/a.b/x", "--insecure").stdout == "2.0\n"


@pytest.mark.parametrize("is_terminal", [True, False])
def test_a_bar_is_shown_on_a_terminal(
    server: Server, large: bytes, tmp_path: Path, environment: dict[str, str], is_terminal: bool
) -> None:
    url = server.serves("/tool.json", lambda asked: asked.answer(chopped(large, 50_000, 0.03), Content_Length=len(large)))
    reader, writer = os.openpty() if is_terminal else os.pipe()
    shown = b""
    words = [sys.executable, "-m", "ecli_py", "pull", url, "-o", "x.json"]
    with subprocess.Popen(
        words, cwd=tmp_path, env={**os.environ, **environment, "TERM": "xterm"}, stdout=subprocess.DEVNULL, stderr=writer
    ) as process:
        os.close(writer)
        with contextlib.suppress(OSError):  # a terminal that nobody writes to any more
            while part := os.read(reader, 4096):
                shown += part
    os.close(reader)
    assert process.returncode == 0
    assert (b"tool.json" in shown and b"/2.0 MB" in shown) if is_terminal else shown == b""


def test_what_is_here_needs_nothing_that_speaks_to_a_network(server: Server, package: bytes) -> None:
    url = server.serves("/tool.json", package)
    digest = quiet(url).digest.replace(":", "=")
    for words in ((url, "--offline"), (f"{url}#{digest}",)):
        modules = others(imported_by("inspect", *words))
        assert not {"requests", "urllib3", "oras", "rich", "jsonschema"} & modules


# --- many at once, and sudden ends ---


def test_twenty_first_runs_at_once(server: Server, ecli: Ecli, large: bytes, cache_path: Path) -> None:
    def answer(asked: Asked) -> None:
        asked.answer(chopped(large, 20_000, 0.002), ETag='"1"', Content_Length=len(large))

    url = server.serves("/tool.json", answer)
    with ThreadPoolExecutor(20) as pool:
        outcomes = list(pool.map(lambda _: ecli("pull", url, "-o", "-"), range(20)))
    assert [each.status for each in outcomes] == [0] * 20, outcomes
    assert {each.stdout for each in outcomes} == {large.decode()}
    assert len(server.requests_of("/tool.json")) == 1
    assert [path.name for path in cache_path.glob("blobs/*")] == [hashlib.sha256(large).hexdigest()]
    assert not list(cache_path.glob("partial/*"))


def test_whoever_waits_for_another_download_is_told(
    server: Server, package: bytes, cache_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ecli_py.fetch.cache._LONG_WAIT_S", 0.2)
    url = server.serves("/tool.json", package)
    warnings: list[str] = []
    with ThreadPoolExecutor(1) as pool:
        with Cache(cache_path).lock(url, lambda: None):
            waiting = pool.submit(fetch, url, options=FetchOptions(warn=warnings.append))
            wait_until(lambda: bool(warnings), "a warning")
            assert not server.asked
        assert waiting.result().content == package
    assert warnings == [f"another ecli-py of yours downloads {url}; waiting for it"]


def test_a_download_that_was_killed_is_gone_on_with(
    server: Server, ecli: Ecli, large: bytes, cache_path: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    counter = itertools.count()

    def answer(asked: Asked) -> None:
        if next(counter) == 0:
            asked.answer(
                itertools.chain([large[:1_500_000]], dripping(b"")),
                ETag='"1"',
                Content_Length=len(large),
            )
        else:
            begin = int(asked.headers["range"].removeprefix("bytes=").removesuffix("-"))
            asked.answer(large[begin:], 206, ETag='"1"', Content_Range=f"bytes {begin}-{len(large) - 1}/{len(large)}")

    url = server.serves("/tool.json", answer)
    process = subprocess.Popen(
        [sys.executable, "-m", "ecli_py", "pull", url], cwd=tmp_path, env={**environment, "PATH": "/usr/bin:/bin"}
    )
    try:
        wait_until(lambda: any(path.stat().st_size > 1_000_000 for path in cache_path.glob("partial/*")), "downloading")
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert not kept(cache_path)
    outcome = ecli("pull", url, "-o", "-")
    assert outcome.status == 0, outcome.stderr
    assert outcome.stdout == large.decode()
    assert not list(cache_path.glob("partial/*"))


# --- as a user sees it ---


@pytest.mark.kernel
def test_run_from_a_url(server: Server, ecli: Ecli, package: bytes) -> None:
    url = server.serves("/tool.json", package)
    for words in ((url,), (url, "--offline"), (f"{url}#sha256={hashlib.sha256(package).hexdigest()}",)):
        outcome = ecli("run", *words, "--allow-unsigned", "--duration", "50ms")
        assert outcome.status == 0, outcome.stderr
    assert [each.path for each in server.asked] == ["/tool.json", "/tool.json.minisig"]


def test_errors_have_hints_and_no_tracebacks(server: Server, ecli: Ecli) -> None:
    ecli("run", server.url("/absent.json")).fails("404", "check the reference")
    ecli("inspect", server.serves("/page", b"<html>")).fails("a web page")
    ecli("schema", "https://no-such-host.invalid/x").fails("proxy")
    ecli("run", "gopher://x/y").fails("nothing is fetched by gopher://")
