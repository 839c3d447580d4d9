"""Any text is a reference, or an error of ours."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ecli_py.fetch import FetchError, FetchOptions, ReferenceFormatError, fetch, parse_reference
from ecli_py.fetch.references import parse_host, parse_registry

_PIECES = st.sampled_from(
    [
        *("oci://", "https://", "http://", "file://", "example.org", "localhost", ":5000", "/", "tool", ":", "1.0", "@", "#"),
        *("sha256:", "sha256=", "a" * 64, "[::1]", "[", "]", "..", "?", "%00", "\0", "\n", "-", "é", "\ud800", "user:pw@", " "),
        *("\\", "99999"),
    ]
)
_TEXTS = st.one_of(st.text(), st.lists(_PIECES, max_size=10).map("".join))


@given(_TEXTS)
@example("https://[::1]:99999999999999999999/")
@example("http://①/")
@example("oci://example.org:\u0665/x:1")
def test_any_text_is_a_reference_or_an_error(text: str) -> None:
    try:
        found = parse_reference(text)
    except ReferenceFormatError:
        return
    assert found.source
    assert "pw" not in str(found) or found.kind != "url" or "@" not in text
    if found.kind == "oci":
        again = parse_reference(str(found))
        assert (again.location, again.tag, again.digest) == (found.location, found.tag, found.digest)


@given(_TEXTS)
def test_any_text_is_a_place_in_a_registry_or_an_error(text: str) -> None:
    for parse in (parse_registry, parse_host):
        with contextlib.suppress(ReferenceFormatError):
            parse(text)


@pytest.fixture(scope="module", autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@given(_TEXTS)
def test_any_text_is_fetched_or_an_error(text: str) -> None:
    if parse_ends(text):
        return
    with contextlib.suppress(FetchError):
        fetch(text, options=FetchOptions(offline=True))


def parse_ends(text: str) -> bool:
    """Tell whether a text is standard input, which a test has none of."""
    try:
        return parse_reference(text).kind == "stdin"
    except ReferenceFormatError:
        return False
