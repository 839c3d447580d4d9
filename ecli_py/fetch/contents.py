"""What some bytes are: told by the bytes, never by a name."""

from __future__ import annotations

import hashlib
import json

from ecli_py.fetch.errors import DigestError, FetchError

JSON, WASM, TAR, OBJECT, OTHER = "JSON document", "WebAssembly module", "tar archive", "ELF object", "other"

_OTHERS = (
    (b"\x1f\x8b", "a gzip file", "unpack it first"),
    (b"PK\x03\x04", "a zip archive", "unpack it first"),
    (b"\xfd7zXZ\0", "an xz file", "unpack it first"),
    (b"(\xb5/\xfd", "a zstd file", "unpack it first"),
)


def kind_of(content: bytes) -> str:
    """Return which of the kinds some bytes are."""
    if content.startswith(b"\0asm"):
        return WASM
    if content.startswith(b"\x7fELF"):
        return OBJECT
    if content[257:262] == b"ustar":  # of POSIX and of GNU tar
        return TAR
    if content.removeprefix(b"\xef\xbb\xbf").lstrip(b" \t\r\n")[:1] == b"{":
        return JSON
    return OTHER


def check_whole(name: str, content: bytes) -> None:
    """Check that some bytes are a whole package, module, archive or object, and not what a server says instead of one.

    Raises:
        FetchError: They are not.
    """
    kind = kind_of(content)
    if kind == JSON:
        try:
            json.loads(content)
        except (ValueError, RecursionError) as error:
            raise FetchError(f"{name} is no whole JSON document: {error}", "it was cut short or damaged; try again") from error
    elif kind == TAR:
        from ecli_py.fetch.archive import read_archive

        read_archive(content, name)
    elif kind == OTHER:
        raise _describe_other(name, content)


def check_signature(name: str, content: bytes) -> None:
    """Check that some bytes look like a signature of minisign: two lines of base64 with a comment each.

    Raises:
        FetchError: They do not.
    """
    if not content.startswith(b"untrusted comment:") or len(content.splitlines()) < 4:
        raise FetchError(f"{name} is no signature", "ask who published it")


def check_digest(name: str, content: bytes, expected: str) -> str:
    """Return the digest of some bytes; ``expected`` may be empty.

    Raises:
        DigestError: It is another one than expected.
    """
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    if expected and digest != expected:
        raise DigestError(name, expected, digest, "it was changed, or the digest is of another version; ask who published it")
    return digest


def _describe_other(name: str, content: bytes) -> FetchError:
    if not content:
        return FetchError(f"{name} is empty", "ask who published it")
    start = content[:1024].lstrip().lower()
    if start.startswith((b"<!doctype html", b"<html", b"<head", b"<?xml")):
        return FetchError(
            f"{name} is a web page, not a package", "open it in a browser: it may ask for a login, or name the right place"
        )
    for magic, what, hint in _OTHERS:
        if content.startswith(magic):
            return FetchError(f"{name} is {what}, not a package", hint)
    return FetchError(f"{name} is no package", "a package is the JSON file that ecli-py build writes")
