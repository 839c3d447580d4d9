"""Packages from web servers."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

from ecli_py.fetch.cache import Entry
from ecli_py.fetch.contents import check_digest
from ecli_py.fetch.download import Partial, download
from ecli_py.fetch.errors import FetchError, MissingError, UnreachableError
from ecli_py.fetch.http import Session, check_status, get
from ecli_py.fetch.options import SIGNATURE_SUFFIX, signature_options
from ecli_py.fetch.references import hide_secrets

if TYPE_CHECKING:
    from requests import Response

    from ecli_py.fetch.cache import Cache
    from ecli_py.fetch.options import FetchOptions

REVALIDATION_S = 3.0  # how long a server may keep somebody waiting who has a copy


def fetch_url(url: str, cache: Cache, options: FetchOptions, pin: str = "") -> tuple[Entry, bytes, bool]:
    """Return what is behind a URL, its bytes, and whether the server has just said so; from the cache if it is still that.

    Args:
        url: The URL; a name and a password in it are used, and not kept.
        cache: Where it is kept.
        options: How to fetch.
        pin: Digest that it must have; empty: any.

    Raises:
        FetchError: It cannot be had.
    """
    name = key = hide_secrets(url)
    started = time.time()
    kept = cache.use(key)
    if kept is not None and pin not in ("", kept[0].digest):
        kept = None
    if options.offline:
        if kept is None:
            raise not_kept(name)
        return *kept, False
    with Session(options.patience_s) as session:
        if kept is not None and (is_fresh := _is_current(session, url, name, cache, kept[0], options)) is not None:
            return *kept, is_fresh

        def ask(headers: Mapping[str, str]) -> Response:
            return get(session, url, name, headers, options.patience_s)

        with cache.lock(key):
            # Whoever had the lock before has fetched just this.
            kept = cache.use(key)
            if kept is not None and kept[0].checked_at >= started:
                return *kept, True
            found = download(name, ask, Partial(cache.partial(key)), options.max_size_bytes, options.patience_s)
            check_digest(name, found.content, pin)
            options.check(name, found.content)
            digest = cache.keep(found.content)
            now = time.time()
            entry = Entry(name, digest, len(found.content), found.etag, found.last_modified, fetched_at=now, checked_at=now)
            cache.put(key, entry)
            return entry, found.content, True


def fetch_signature(url: str, cache: Cache, options: FetchOptions, asks: bool) -> bytes | None:
    """Return the signature that is published beside a URL, ``None`` if there is none.

    Args:
        url: Of what is signed.
        cache: Where it is kept; that there is none is kept, too, as no bytes.
        options: How to fetch.
        asks: Whether the server is asked if a copy in the cache is still right.

    Raises:
        FetchError: It cannot be had.
    """
    place = beside(url, SIGNATURE_SUFFIX)
    key = hide_secrets(place)
    kept = cache.use(key)
    if kept is not None and not asks:
        return kept[1] or None
    try:
        return fetch_url(place, cache, signature_options(options))[1] or None
    except MissingError:
        keep_absence(cache, key)
        return None


def keep_absence(cache: Cache, key: str) -> None:
    """Keep that there is no signature."""
    now = time.time()
    cache.put(key, Entry(key, cache.keep(b""), 0, fetched_at=now, checked_at=now))


def not_kept(name: str) -> FetchError:
    """Return the error for what is asked for offline and was never fetched."""
    return FetchError(f"{name} is not in the cache", "leave out --offline once, or see `ecli-py cache list`")


def warn_of_age(name: str, entry: Entry, error: FetchError, options: FetchOptions) -> None:
    """Warn that a copy is used because nobody says whether it is the current one."""
    options.warn(f"{error}; using the copy of {name} that is {age(time.time() - entry.checked_at)} old")


def age(seconds: float) -> str:
    """Return a time in words: ``5 minutes``."""
    for size, unit in ((86400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= size:
            count = int(seconds / size)
            return f"{count} {unit}{'' if count == 1 else 's'}"
    return f"{max(int(seconds), 0)} s"


def _is_current(session: Session, url: str, name: str, cache: Cache, entry: Entry, options: FetchOptions) -> bool | None:
    """Ask the server whether a copy is the current version.

    Returns ``True`` if it says so, ``None`` if it says no, and ``False`` if it does not answer in time: then the copy must serve.

    Raises:
        FetchError: The server says that there is nothing to be had any more.
    """
    headers = {}
    if entry.etag:
        headers["If-None-Match"] = entry.etag
    if entry.last_modified:
        headers["If-Modified-Since"] = entry.last_modified
    try:
        with get(session, url, name, headers, min(options.patience_s, REVALIDATION_S)) as response:
            if response.status_code == 304 and headers:
                cache.confirm(name, entry)
                return True
            check_status(response, name)
            return None
    except UnreachableError as error:
        warn_of_age(name, entry, error, options)
        return False
    except FetchError as error:
        hint = f"{error.hint}; --offline uses the copy that is {age(time.time() - entry.checked_at)} old"
        raise type(error)(str(error), hint) from error


def beside(url: str, suffix: str) -> str:
    """Return the URL of what is published beside something: ``…/tool.json?x`` and ``.minisig`` → ``…/tool.json.minisig?x``."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(path=parts.path + suffix))
