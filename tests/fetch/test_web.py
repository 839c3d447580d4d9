"""Packages from a web server that misbehaves on purpose: nothing bad is kept, and each failure says what it is."""

from __future__ import annotations

import base64
import gzip
import hashlib
import itertools
import time
from pathlib import Path

import pytest

from ecli_py.fetch import (
    DigestError,
    FetchError,
    FetchOptions,
    MissingError,
    UnreachableError,
    fetch,
)
from ecli_py.fetch.http import RedirectError
from tests.fetching import (
    chopped,
    drip,
    drip_headers,
    drip_the_length_of_a_chunk,
    kept,
    quiet,
    say_nothing,
)
from tests.http_server import Asked, Server, make_certificate

pytestmark = pytest.mark.usefixtures("nothing_bad_is_kept")

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
