"""From a reference to the bytes behind it: files, web servers and registries, with a cache in between."""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from ecli_py.fetch.contents import check_digest
from ecli_py.fetch.errors import CacheError, DigestError, FetchError, MissingError, ReferenceFormatError, UnreachableError
from ecli_py.fetch.options import MAX_SIGNATURE_SIZE_BYTES, SIGNATURE_SUFFIX, FetchOptions
from ecli_py.fetch.references import Reference, parse_reference

if TYPE_CHECKING:
    from ecli_py.fetch.cache import Cache

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
    place = Reference("file", reference) if reference != "-" and _is_file(reference) else parse_reference(reference)
    return _fetch_remote(place, options) if place.is_remote else _read_local(place, options)


def _is_file(path: str) -> bool:
    try:
        return os.path.isfile(path)
    except ValueError:  # a zero byte, or no character
        return False


def _fetch_remote(place: Reference, options: FetchOptions) -> Fetched:
    from ecli_py.fetch.cache import Cache
    from ecli_py.fetch.kept import find_kept

    cache = Cache.open(options.warn)
    atexit.register(cache.close)  # for as long as the process lives somebody may ask for the signature
    kept = find_kept(place, cache, options)
    if kept is not None:
        entry, content, is_fresh = *kept, False
    elif place.kind == "url":
        from ecli_py.fetch.web import fetch_url

        entry, content, is_fresh = fetch_url(place.location, cache, options, place.pin)
    else:
        from ecli_py.fetch.artifacts import fetch_artifact

        entry, content, is_fresh = fetch_artifact(place, cache, options)
    digest = check_digest(str(place), content, place.pin)
    signature = partial(_signature, place, entry.manifest, cache, options, is_fresh)
    return Fetched(content, place, digest, True, place.source, signature, entry.manifest)


def _signature(place: Reference, manifest_digest: str, cache: Cache, options: FetchOptions, asks: bool) -> bytes | None:
    """Return the signature of something remote, ``None`` if there is none.

    Args:
        place: Where what is signed is from.
        manifest_digest: Of a registry's artifact.
        cache: Where it is kept.
        options: How to fetch.
        asks: Whether somebody is asked if a copy in the cache is still right.

    Raises:
        FetchError: It cannot be had.
    """
    from ecli_py.fetch.kept import not_kept, signature_key

    kept = cache.use(signature_key(place, manifest_digest))
    if kept is not None and (options.offline or not asks):
        return kept[1] or None
    if options.offline:
        raise not_kept(f"the signature of {place}")
    if place.kind == "url":
        from ecli_py.fetch.web import fetch_signature

        return fetch_signature(place.location, cache, options)
    from ecli_py.fetch.artifacts import fetch_artifact_signature

    return fetch_artifact_signature(place, manifest_digest, cache, options)


def _read_local(place: Reference, options: FetchOptions) -> Fetched:
    name = str(place)
    try:
        if place.kind == "stdin":
            content = sys.stdin.buffer.read(options.max_size_bytes + 1)
        else:
            content = _read(place.location, options.max_size_bytes + 1)
    except OSError as error:
        raise FetchError(f"cannot read {name}: {error.strerror}", "check the path") from error
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
