"""Networks that are dead, proxies, many runs at once and sudden ends, with packages from a web server."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ecli_py.fetch import (
    FetchError,
    FetchOptions,
    MissingError,
    UnreachableError,
    fetch,
)
from ecli_py.fetch.cache import Cache
from tests.cli import Ecli, wait_until
from tests.fetching import (
    chopped,
    drip_headers,
    dripping,
    kept,
    quiet,
    say_nothing,
)
from tests.http_server import Asked, Server
from tests.imports import imported_by, others

pytestmark = pytest.mark.usefixtures("nothing_bad_is_kept")

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
    # Whoever inspects what is pinned is told who has signed it, and for that the server is asked.
    for words in (("inspect", url, "--offline"), ("schema", url, "--offline"), ("schema", f"{url}#{digest}")):
        modules = others(imported_by(*words))
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
