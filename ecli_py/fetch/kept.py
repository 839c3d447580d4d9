"""What is in the cache already, so that it runs without anything that speaks to a network, and when it counts."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from ecli_py.fetch.cache import Entry
from ecli_py.fetch.errors import FetchError
from ecli_py.fetch.options import SIGNATURE_SUFFIX
from ecli_py.fetch.references import beside, hide_secrets

if TYPE_CHECKING:
    from ecli_py.fetch.cache import Cache
    from ecli_py.fetch.options import FetchOptions
    from ecli_py.fetch.references import Reference


def key_of(place: Reference) -> str:
    """Return what the cache knows a place by."""
    if place.kind == "url":
        return hide_secrets(place.location)
    # Machines that share a home may have different packages of one index.
    return f"{place} {os.uname().machine}"


def signature_key(place: Reference, manifest_digest: str) -> str:
    """Return what the cache knows the signature of something by; of a registry's artifact by the digest of its manifest."""
    if place.kind == "url":
        return hide_secrets(beside(place.location, SIGNATURE_SUFFIX))
    return f"oci://{place.location}@{manifest_digest or place.pin}{SIGNATURE_SUFFIX}"


def find_kept(place: Reference, cache: Cache, options: FetchOptions) -> tuple[Entry, bytes] | None:
    """Return the copy of what a place stands for if nobody needs to be asked whether it is the current one.

    That is so offline, and where a digest says what it must be.

    Raises:
        FetchError: Offline, if there is no copy.
    """
    kept = usable(cache, key_of(place), place.pin)
    if kept is None and place.pin and (content := cache.blob(place.pin)) is not None:
        return Entry(str(place), place.pin, len(content)), content  # fetched by another name
    if options.offline and kept is None:
        raise not_kept(str(place))
    return kept if options.offline or place.pin or place.digest else None


def usable(cache: Cache, key: str, pin: str) -> tuple[Entry, bytes] | None:
    """Return the copy that the cache knows by a key, if it has the digest that it must have (empty: any)."""
    kept = cache.use(key)
    return kept if kept is None or pin in ("", kept[0].digest) else None


def keep_absence(cache: Cache, key: str) -> None:
    """Keep that there is no signature: no bytes."""
    now = time.time()
    cache.put(key, Entry(key, cache.keep(b""), 0, fetched_at=now, checked_at=now))


def not_kept(name: str) -> FetchError:
    """Return the error for what is asked for offline and was never fetched."""
    return FetchError(f"{name} is not in the cache", "leave out --offline once, or see `ecli-py cache list`")


def warn_of_age(name: str, entry: Entry, error: FetchError, options: FetchOptions) -> None:
    """Warn that a copy is used because nobody says whether it is the current one."""
    options.warn(f"{error}; using the copy of {name} that is {_age(entry)} old")


def warn_of_waiting(name: str, options: FetchOptions) -> None:
    """Warn that somebody else is at work on the same."""
    options.warn(f"another ecli-py of yours downloads {name}; waiting for it")


def denied(error: FetchError, entry: Entry) -> FetchError:
    """Return the error for something that is no longer there, though there is a copy of it."""
    return type(error)(str(error), f"{error.hint}; --offline uses the copy that is {_age(entry)} old")


def _age(entry: Entry) -> str:
    """Return in words how long ago somebody said that a copy is the current version: ``5 minutes``."""
    seconds = time.time() - entry.checked_at
    for size, unit in ((86400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= size:
            count = int(seconds / size)
            return f"{count} {unit}{'' if count == 1 else 's'}"
    return f"{max(int(seconds), 0)} s"
