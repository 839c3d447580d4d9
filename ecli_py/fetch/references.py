"""Where packages come from, as users write it.

====================================  ==========================================================================
``tool.json``, ``file:///tool.json``  a file
``-``                                 standard input
``https://HOST/PATH``                 a web server; ``http://`` too
``oci://HOST[:PORT]/REPO[:TAG]``      a registry; ``@sha256:…`` instead of, or behind, the tag names one manifest
``HOST[:PORT]/REPO:TAG``              the same; HOST has a dot or a port, or is ``localhost``, as in Docker's words
====================================  ==========================================================================

Behind any of them ``@sha256=DIGEST`` or ``#sha256=DIGEST`` says which bytes it must be.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import Literal
from urllib.parse import SplitResult, unquote, urlsplit, urlunsplit

from ecli_py.fetch.errors import ReferenceFormatError

_PIN = re.compile(r"[@#]sha256=([^@#]*)\Z", re.ASCII)
_HEX = re.compile(r"[0-9a-f]{64}", re.ASCII)
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://", re.ASCII)
# The OCI distribution specification, "Pulling manifests".
_REPOSITORY = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*", re.ASCII)
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}", re.ASCII)
_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_HOST = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9a-f:.]+\])(?::[0-9]{{1,5}})?", re.ASCII)

_LONGEST = 4096
_DEFAULT_TAG = "latest"
_FORMS = "a package is FILE, -, https://HOST/PATH, oci://HOST/REPO:TAG or HOST/REPO:TAG"


@dataclass(frozen=True)
class Reference:
    """A place that a package comes from.

    Attributes:
        kind: What there is: a file, standard input, a web server or a registry.
        location: Path of a file; URL, without a fragment; ``HOST[:PORT]/REPO`` of a registry; ``-``.
        pin: Digest that the bytes of the package must have, ``sha256:…``; empty: any.
        tag: Of a registry: the tag; empty if a digest was said instead.
        digest: Of a registry: digest of the manifest, ``sha256:…``; empty: whatever the tag stands for.
    """

    kind: Literal["file", "stdin", "url", "oci"]
    location: str
    pin: str = ""
    tag: str = ""
    digest: str = ""

    @property
    def is_remote(self) -> bool:
        """Whether the bytes come from another machine, or could."""
        return self.kind in ("url", "oci")

    @property
    def registry(self) -> str:
        """Host of a registry, with its port."""
        return self.location.partition("/")[0]

    @property
    def repository(self) -> str:
        """Name of a repository in its registry."""
        return self.location.partition("/")[2]

    @property
    def source(self) -> str:
        """Who publishes there: ``HOST[:PORT]/DIRECTORY`` of a URL, ``HOST[:PORT]/REPO``, a directory (absolute), or ``-``."""
        if self.kind == "url":
            parts = urlsplit(self.location)
            return f"{_host_of(parts)}{parts.path.rpartition('/')[0]}"
        if self.kind == "file":
            return os.path.dirname(os.path.abspath(self.location))
        return self.location

    def __str__(self) -> str:
        """Return it as a user would write it, without what is secret in it."""
        if self.kind == "url":
            return hide_secrets(self.location)
        if self.kind == "oci":
            tag, digest = f":{self.tag}" if self.tag else "", f"@{self.digest}" if self.digest else ""
            return f"oci://{self.location}{tag}{digest}"
        return "standard input" if self.kind == "stdin" else self.location


def hide_secrets(url: str) -> str:
    """Return a URL without the name and the password that it may have."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=_host_of(parts))) if "@" in parts.netloc else url


def beside(url: str, suffix: str) -> str:
    """Return the URL of what is published beside something: ``…/tool.json?x`` and ``.minisig`` → ``…/tool.json.minisig?x``."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(path=parts.path + suffix))


def parse_reference(text: str) -> Reference:
    """Return the place that a text names.

    A file is not looked for: ``tools/exec.json`` is one because no host is called ``tools``.

    Raises:
        ReferenceFormatError: It names none.
    """
    if len(text) > _LONGEST:
        raise ReferenceFormatError(f"a reference of {len(text)} characters is too long", _FORMS)
    if "\0" in text or not text:
        raise ReferenceFormatError("an empty reference, or one with a zero byte, names no package", _FORMS)
    place, pin = _split_pin(text)
    if place == "-":
        return Reference("stdin", "-", pin)
    scheme = _SCHEME.match(place)
    if scheme is None:
        return _parse_file(place, pin) if not _is_bare_registry(place) else _parse_registry(place, pin)
    name = scheme[0].lower()
    if name in ("http://", "https://"):
        return Reference("url", _parse_url(place), pin)
    if name == "oci://":
        return _parse_registry(place[len(name) :], pin)
    if name == "file://":
        path = place[len(name) :]
        if not path.startswith("/"):
            raise ReferenceFormatError(f"{place!r}: a file's URL has no host", "file:///PATH, or only the path")
        return _parse_file(unquote(path), pin)
    raise ReferenceFormatError(f"nothing is fetched by {name}", _FORMS)


def parse_registry(text: str) -> Reference:
    """Return the place in a registry that a text names, with ``oci://`` or without; errors as :func:`parse_reference`."""
    place, pin = _split_pin(text)
    return _parse_registry(place[len("oci://") :] if place.lower().startswith("oci://") else place, pin)


def parse_host(text: str) -> str:
    """Return ``HOST[:PORT]`` of a registry as it is written everywhere; errors as :func:`parse_reference`."""
    host = text.lower()
    if not _is_host(host):
        raise ReferenceFormatError(f"{text!r} is no host", "a registry is HOST or HOST:PORT, such as registry.example.org")
    return host


def is_digest(value: object) -> bool:
    """Tell whether a value is a digest: ``sha256:`` and 64 hexadecimal digits."""
    return isinstance(value, str) and value.startswith("sha256:") and _HEX.fullmatch(value[7:]) is not None


def _split_pin(text: str) -> tuple[str, str]:
    found = _PIN.search(text)
    if found is None:
        return text, ""
    digits = found[1].lower()
    if not _HEX.fullmatch(digits):
        raise ReferenceFormatError(
            f"sha256={found[1]} is no digest: it has 64 hexadecimal digits", "`sha256sum FILE` prints the digest of a file"
        )
    return text[: found.start()], f"sha256:{digits}"


def _is_bare_registry(place: str) -> bool:
    """Tell ``HOST/REPO:TAG`` from a path: by a host that looks like one, and by a tag or a digest at the end."""
    host, slash, rest = place.partition("/")
    looks_like_host = "." in host.strip(".") or ":" in host or host == "localhost"
    return bool(slash) and looks_like_host and ":" in rest and _is_host(host.lower())


def _is_host(text: str) -> bool:
    port = text.rpartition("]")[2].partition(":")[2]
    return len(text) <= 255 and _HOST.fullmatch(text) is not None and (not port or 0 < int(port) < 65536)


def _parse_file(path: str, pin: str) -> Reference:
    try:
        os.fsencode(path)
    except UnicodeEncodeError as error:
        raise ReferenceFormatError(f"{path!r} is no name of a file", _FORMS) from error
    if "\0" in path:
        raise ReferenceFormatError("a name with a zero byte is of no file", _FORMS)
    return Reference("file", path, pin)


def _parse_registry(place: str, pin: str) -> Reference:
    host, _, rest = place.partition("/")
    rest, at, digest = rest.partition("@")
    repository, colon, tag = rest.partition(":")
    parse_host(host)
    if not _REPOSITORY.fullmatch(repository):
        raise ReferenceFormatError(
            f"{repository!r} is no name of a repository", "oci://HOST/REPO:TAG, where REPO has small letters, digits, . _ - and /"
        )
    if colon and not _TAG.fullmatch(tag):
        raise ReferenceFormatError(f"{tag!r} is no tag", "a tag has up to 128 letters, digits, . _ and -")
    if at and not is_digest(digest):
        raise ReferenceFormatError(
            f"{digest!r} is no digest", "@sha256: and 64 hexadecimal digits name one manifest of a repository"
        )
    return Reference("oci", f"{host.lower()}/{repository}", pin, tag or ("" if at else _DEFAULT_TAG), digest)


def _parse_url(text: str) -> str:
    if not text.isprintable() or " " in text:
        raise ReferenceFormatError(f"{text!r} is no URL: it has blanks or control characters", "write a blank as %20")
    try:
        parts = urlsplit(text)
        host = parts.hostname
        port = parts.port
    except ValueError as error:
        raise ReferenceFormatError(f"{text!r} is no URL: {error}", "https://HOST/PATH") from error
    if not host or port == 0 or "\\" in parts.netloc:
        raise ReferenceFormatError(f"{text!r} is no URL: it has no host", "https://HOST/PATH")
    return urlunsplit(parts._replace(scheme=parts.scheme.lower(), path=parts.path or "/", fragment=""))


def _host_of(parts: SplitResult) -> str:
    return parts.netloc.rpartition("@")[2].lower()
