"""From a reference to the bytes behind it: files, web servers and registries, with a cache in between."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field

from ecli_py.fetch.errors import CacheError, DigestError, FetchError, MissingError, ReferenceFormatError, UnreachableError
from ecli_py.fetch.references import Reference, parse_reference
from ecli_py.report import warn

__all__ = [
    "CacheError",
    "DigestError",
    "FetchError",
    "FetchOptions",
    "Fetched",
    "MissingError",
    "Reference",
    "ReferenceFormatError",
    "UnreachableError",
    "fetch",
    "parse_reference",
]

MAX_SIZE_BYTES = 256 << 20  # an archive with types of many kernels has tens of megabytes
MAX_SIGNATURE_SIZE_BYTES = 16 << 10  # a signature of minisign has some 300 bytes
SIGNATURE_SUFFIX = ".minisig"


@dataclass(frozen=True)
class FetchOptions:
    """How to fetch.

    Attributes:
        offline: Nothing is asked over the network: only what is in the cache, or local.
        insecure: Registries on other machines may be asked over plain HTTP, too.
        max_size_bytes: What has more is refused, as soon as that is known.
        warn: Called with what the user should know though the fetch goes on.
    """

    offline: bool = False
    insecure: bool = False
    max_size_bytes: int = MAX_SIZE_BYTES
    warn: Callable[[str], object] = warn


@dataclass(frozen=True)
class Fetched:
    """What was behind a reference.

    Attributes:
        content: The bytes, as they were published: what a signature is of. Not looked into yet.
        reference: The place.
        digest: Of the bytes: ``sha256:…``.
        remote: Whether they came from another machine, maybe some time ago.
        source: Who publishes there: :attr:`Reference.source`.
        signature: Returns the detached signature that is published beside them, in minisign's format, ``None`` if there is
            none: of ``FILE`` or ``URL`` what is at ``….minisig``, of a registry's artifact a referrer. Raises FetchError.
        manifest_digest: Of a registry's artifact: digest of its manifest; else empty.
    """

    content: bytes = field(repr=False)
    reference: Reference
    digest: str
    remote: bool
    source: str
    signature: Callable[[], bytes | None] = field(repr=False)
    manifest_digest: str = ""


def fetch(reference: str, *, options: FetchOptions = FetchOptions()) -> Fetched:  # noqa: B008  it is immutable
    """Return what is behind a reference.

    What comes over the network is checked against what the server says of it, and against the reference's digest if it has one;
    it is kept in the cache. A copy in the cache serves where the network does not answer.

    Args:
        reference: As a user writes it: :mod:`~ecli_py.fetch.references`. A file that has just that name comes first.
        options: How to fetch.

    Raises:
        FetchError: It cannot be had, or is not what was asked for.
    """
    place = Reference("file", reference) if reference != "-" and os.path.isfile(reference) else parse_reference(reference)
    if place.is_remote:
        raise NotImplementedError
    return _read_local(place, options)


def _read_local(place: Reference, options: FetchOptions) -> Fetched:
    name = str(place)
    try:
        if place.kind == "stdin":
            content = sys.stdin.buffer.read(options.max_size_bytes + 1)
        else:
            content = _read(place.location, options.max_size_bytes + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "the name is not possible here"
        raise FetchError(f"cannot read {name}: {reason}", "check the path") from error
    if len(content) > options.max_size_bytes:
        raise FetchError(f"{name} is larger than {options.max_size_bytes >> 20} MiB", "this is no package")

    def signature() -> bytes | None:
        if place.kind == "stdin":
            return None
        try:
            return _read(place.location + SIGNATURE_SUFFIX, MAX_SIGNATURE_SIZE_BYTES)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise FetchError(f"cannot read {name}{SIGNATURE_SUFFIX}: {error.strerror}", "check its permissions") from error

    return Fetched(content, place, check_digest(name, content, place.pin), False, place.source, signature)


def _read(path: str, size_bytes: int) -> bytes:
    with open(path, "rb") as file:
        return file.read(size_bytes)


def check_digest(name: str, content: bytes, expected: str) -> str:
    """Return the digest of some bytes; ``expected`` may be empty.

    Raises:
        DigestError: It is another one than expected.
    """
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    if expected and digest != expected:
        raise DigestError(name, expected, digest, "it was changed, or the digest is of another version; ask who published it")
    return digest
