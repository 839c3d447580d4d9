"""What packages are referred to by."""

from __future__ import annotations

import pytest

from ecli_py.fetch import ReferenceFormatError, parse_reference

A = "a" * 64
DIGEST = f"sha256:{A}"


@pytest.mark.parametrize(
    ("text", "kind", "location", "more"),
    [
        ("tool.json", "file", "tool.json", {}),
        ("tools/exec.json", "file", "tools/exec.json", {}),
        ("./a.b/c:1", "file", "./a.b/c:1", {}),
        ("../a.b/c:1", "file", "../a.b/c:1", {}),
        ("/srv/tools/x:1", "file", "/srv/tools/x:1", {}),
        ("my.dir/tool.json", "file", "my.dir/tool.json", {}),
        ("a:b", "file", "a:b", {}),
        ("tool@home.json", "file", "tool@home.json", {}),
        ("file:///srv/a%20b.json", "file", "/srv/a b.json", {}),
        (f"tool.json@sha256={A}", "file", "tool.json", {"pin": DIGEST}),
        (f"tool.json#sha256={A.upper()}", "file", "tool.json", {"pin": DIGEST}),
        ("-", "stdin", "-", {}),
        (f"-@sha256={A}", "stdin", "-", {"pin": DIGEST}),
        ("https://example.org/tool.json?v=1", "url", "https://example.org/tool.json?v=1", {}),
        ("HTTPS://example.org", "url", "https://example.org/", {}),
        ("http://[::1]:8000/x", "url", "http://[::1]:8000/x", {}),
        ("https://example.org/x#part", "url", "https://example.org/x", {}),
        (f"https://example.org/x#sha256={A}", "url", "https://example.org/x", {"pin": DIGEST}),
        (f"https://me@example.org/x@sha256={A}", "url", "https://me@example.org/x", {"pin": DIGEST}),
        ("oci://example.org/tool", "oci", "example.org/tool", {"tag": "latest"}),
        ("oci://example.org:5000/a/b/tool:1.2", "oci", "example.org:5000/a/b/tool", {"tag": "1.2"}),
        (f"oci://example.org/tool@{DIGEST}", "oci", "example.org/tool", {"digest": DIGEST}),
        (f"oci://example.org/tool:1@{DIGEST}", "oci", "example.org/tool", {"tag": "1", "digest": DIGEST}),
        (f"oci://example.org/tool:1@sha256={A}", "oci", "example.org/tool", {"tag": "1", "pin": DIGEST}),
        ("example.org/tool:1", "oci", "example.org/tool", {"tag": "1"}),
        ("Example.ORG/tool:1", "oci", "example.org/tool", {"tag": "1"}),
        ("localhost/tool:1", "oci", "localhost/tool", {"tag": "1"}),
        ("localhost:5000/tool:1", "oci", "localhost:5000/tool", {"tag": "1"}),
        ("[::1]:5000/tool:1", "oci", "[::1]:5000/tool", {"tag": "1"}),
        (f"example.org/tool@{DIGEST}", "oci", "example.org/tool", {"digest": DIGEST}),
        (f"example.org/tool:1#sha256={A}", "oci", "example.org/tool", {"tag": "1", "pin": DIGEST}),
    ],
)
def test_a_reference_is_understood(text: str, kind: str, location: str, more: dict[str, str]) -> None:
    found = parse_reference(text)
    assert (found.kind, found.location) == (kind, location)
    assert {name: value for name in ("pin", "tag", "digest") if (value := getattr(found, name))} == more


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "empty"),
        ("a\0b", "zero byte"),
        ("x" * 5000, "too long"),
        ("ftp://example.org/x", "nothing is fetched by ftp://"),
        ("https://", "no host"),
        ("https:///x", "no host"),
        ("https://exa mple.org/", "blanks"),
        ("https://example.org/\n", "blanks or control"),
        ("https://example.org:99999/", "no URL"),
        ("https://[::1/x", "no URL"),
        ("file://host/x", "no host"),
        ("oci://", "no host"),
        ("oci://example.org", "no name of a repository"),
        ("oci://example.org/Tool", "no name of a repository"),
        ("oci://example.org/../x", "no name of a repository"),
        ("oci://example.org/x:", "no tag"),
        ("oci://example.org/x:-a", "no tag"),
        ("oci://example.org/x@sha256:abc", "no digest"),
        ("oci://example.org/x@md5:abc", "no digest"),
        ("oci://example.org:99999/x", "no host"),
        ("oci://-bad-/x", "no host"),
        ("oci://user@example.org/x", "no host"),
        ("tool.json@sha256=abc", "no digest"),
        ("https://example.org/x#sha256=", "no digest"),
    ],
)
def test_what_is_no_reference(text: str, said: str) -> None:
    with pytest.raises(ReferenceFormatError, match=said) as caught:
        parse_reference(text)
    assert caught.value.hint


def test_who_publishes_there() -> None:
    assert parse_reference("https://me:secret@Example.org:8443/tools/exec.json?x=1").source == "example.org:8443/tools"
    assert parse_reference("https://example.org").source == "example.org"
    assert parse_reference("oci://example.org/team/exec:1").source == "example.org/team/exec"
    assert parse_reference("/srv/tools/exec.json").source == "/srv/tools"
    assert parse_reference("-").source == "-"


def test_a_password_is_not_shown() -> None:
    assert str(parse_reference("https://me:secret@example.org/x")) == "https://example.org/x"
