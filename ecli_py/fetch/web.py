"""Packages from web servers."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from ecli_py.fetch.cache import Entry
from ecli_py.fetch.contents import check_digest
from ecli_py.fetch.download import Partial, download
from ecli_py.fetch.errors import FetchError, MissingError, UnreachableError
from ecli_py.fetch.http import Session, check_status, get
from ecli_py.fetch.kept import denied, keep_absence, usable, warn_of_age, warn_of_waiting
from ecli_py.fetch.options import SIGNATURE_SUFFIX, signature_options
from ecli_py.fetch.references import beside, hide_secrets

if TYPE_CHECKING:
    from requests import Response

    from ecli_py.fetch.cache import Cache
    from ecli_py.fetch.options import FetchOptions

REVALIDATION_S = 3.0  # how long a server may keep somebody waiting who has a copy


def fetch_url(url: str, cache: Cache, options: FetchOptions, pin: str = "") -> tuple[Entry, bytes, bool]:
    """Return what is behind a URL, its bytes, and whether the server has just said so; from the cache if it is still that.

    What the cache has without asking was looked up before: :mod:`~ecli_py.fetch.kept`.

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
    kept = usable(cache, key, pin)
    with Session(options.patience_s) as session:
        if kept is not None and (is_fresh := _is_current(session, url, name, cache, kept[0], options)) is not None:
            return *kept, is_fresh

        def ask(headers: Mapping[str, str]) -> Response:
            return get(session, url, name, headers, options.patience_s)

        with cache.lock(key, lambda: warn_of_waiting(name, options)):
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


def fetch_signature(url: str, cache: Cache, options: FetchOptions) -> bytes | None:
    """Return the signature that is published beside a URL, ``None`` if there is none; errors as :func:`fetch_url`."""
    place = beside(url, SIGNATURE_SUFFIX)
    try:
        return fetch_url(place, cache, signature_options(options))[1] or None
    except MissingError:
        keep_absence(cache, hide_secrets(place))
        return None


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
        raise denied(error, entry) from error
