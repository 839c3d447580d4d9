"""Downloads: whole or not at all, in one go or in several.

What has come so far stays in a file, with the validator (ETag or Last-Modified) of the version it is of; the next try, also of
another process, asks for the rest. It asks for some bytes once more and compares them: a server may call two versions the same.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import json
import os
import random
import re
import threading
import time
import zlib
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, TypeVar

from requests.exceptions import RequestException
from urllib3.exceptions import HTTPError

from ecli_py.fetch.errors import DigestError, FetchError, UnreachableError
from ecli_py.fetch.http import check_status, explain
from ecli_py.fetch.progress import Bar

if TYPE_CHECKING:
    from requests import Response

ATTEMPTS = 4
_FIRST_DELAY_S = 0.3
_NO_MORE_ATTEMPTS_AFTER_S = 60.0
_LONGEST_WAIT_S = 30.0  # that a server may ask for
_CHUNK_SIZE_BYTES = 1 << 16
_OVERLAP_BYTES = 1 << 12
_SLOWEST_BYTES_PER_S = 1024
_RANGE = re.compile(r"bytes (\d{1,15})-(\d{1,15})/(\d{1,15}|\*)", re.ASCII)
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")

T = TypeVar("T")


@dataclass(frozen=True)
class Download:
    """What came: the bytes, and what the server calls this version of them (possibly empty)."""

    content: bytes
    etag: str
    last_modified: str


def retry(attempt: Callable[[], T], patience_s: float) -> T:
    """Return what an attempt returns, the first one that the server is not too troubled for.

    Args:
        attempt: Called several times, with growing pauses between.
        patience_s: No pause is longer.

    Raises:
        FetchError: An attempt failed in a way that another one will not mend, or the last one failed.
    """
    since = time.monotonic()
    for number in range(ATTEMPTS):
        try:
            return attempt()
        except UnreachableError as error:
            delay_s = max(_FIRST_DELAY_S * 3**number * random.uniform(0.8, 1.2), error.retry_after_s)
            is_last = number == ATTEMPTS - 1 or time.monotonic() - since > _NO_MORE_ATTEMPTS_AFTER_S
            if is_last or error.retry_after_s > _LONGEST_WAIT_S:
                raise
            time.sleep(min(delay_s, patience_s))
    raise AssertionError  # the last attempt has returned or raised


class Partial:
    """The beginning of a download, in a file.

    Args:
        path: The file; beside it, ``.json`` says of which version it is.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._note = path.with_name(f"{path.name}.json")

    def validator(self) -> str:
        """Return what the server called the version that this is of; empty: nothing, so no rest can be asked for.

        What was written before the machine last started counts as nothing: not all of it may have reached the disk.
        """
        try:
            note = json.loads(self._note.read_bytes())
            known = note["boot"] == _boot_id() and isinstance(note["validator"], str)
            return str(note["validator"]) if known else ""
        except (OSError, ValueError, TypeError, KeyError, RecursionError):
            return ""

    def size(self) -> int:
        """Return how many bytes are here."""
        try:
            return self.path.stat().st_size
        except OSError:
            return 0

    def begin(self, validator: str) -> None:
        """Begin anew, with a version of that validator (possibly empty)."""
        self.drop()
        if validator:
            self._note.write_text(json.dumps({"boot": _boot_id(), "validator": validator}), encoding="utf-8")

    def drop(self) -> None:
        """Forget what is here."""
        self.path.unlink(missing_ok=True)
        self._note.unlink(missing_ok=True)


def download(
    name: str, ask: Callable[[Mapping[str, str]], Response], partial: Partial, max_size_bytes: int, patience_s: float
) -> Download:
    """Download something whole, in several tries if need be.

    Args:
        name: What it is called in errors.
        ask: Sends the request with some more headers; errors as :func:`~ecli_py.fetch.http.get`.
        partial: What is here already. It is gone afterwards, unless another try may go on with it.
        max_size_bytes: What has more is refused.
        patience_s: Seconds that the server may be silent or very slow.

    Raises:
        FetchError: It cannot be had, or is not what the server said.
    """
    try:
        with Bar(name) as bar:
            found = retry(lambda: _attempt(name, ask, partial, max_size_bytes, patience_s, bar), patience_s)
    except UnreachableError:
        raise
    except FetchError:
        partial.drop()
        raise
    except OSError as error:
        partial.drop()
        raise FetchError(f"{name}: cannot keep what comes: {error.strerror}", "`ecli-py cache clear` makes room") from error
    partial.drop()
    return found


def _attempt(
    name: str, ask: Callable[[Mapping[str, str]], Response], partial: Partial, max_size_bytes: int, patience_s: float, bar: Bar
) -> Download:
    validator = partial.validator()
    begin = max(partial.size() - _OVERLAP_BYTES, 0) if validator else 0
    headers = {"Range": f"bytes={begin}-", "If-Range": validator} if begin else {}
    with contextlib.closing(ask(headers)) as response:
        if begin and response.status_code == 416:
            partial.drop()
            raise UnreachableError(f"{name}: the server has less of it than it had", "try again")
        check_status(response, name)
        if begin and response.status_code == 206:
            _check_range(name, response, begin, partial)
        elif response.status_code == 200:
            begin = 0
            partial.begin(_validator_of(response))
        else:
            raise FetchError(f"{name}: the server answered {response.status_code}, with no package", "check the reference")
        length = _length(response)
        total = None if length is None else begin + length
        if total is not None and total > max_size_bytes:
            raise too_large(name, max_size_bytes)
        with open(partial.path, "r+b" if begin else "wb", opener=_private) as file:
            with contextlib.closing(read(response, name, patience_s)) as chunks:
                for size in _write(name, file, begin, chunks, partial):
                    bar.show(size, total)
                    if size > max_size_bytes:
                        raise too_large(name, max_size_bytes)
            file.truncate()
        if total is not None and partial.size() != total:
            raise UnreachableError(f"{name}: the connection was cut", "try again")
        content = partial.path.read_bytes()
        _check_digests(name, response, content)
        encoding = response.headers.get("Content-Encoding", "").strip().lower()
        return Download(
            _decoded(name, content, encoding, max_size_bytes),
            response.headers.get("ETag", "")[:1024],
            response.headers.get("Last-Modified", "")[:1024],
        )


def read(response: Response, name: str, patience_s: float) -> Generator[bytes, None, None]:
    """Yield the bytes of a body as they come, not decoded.

    Args:
        response: Its headers are read.
        name: What it is called in errors.
        patience_s: Seconds in which something must come: at least a kilobyte for each.

    Raises:
        UnreachableError: It was cut, or too slow.
    """
    raw = response.raw
    size = 0
    too_slow = threading.Event()
    done = threading.Event()

    def watch() -> None:
        """End the reading if it is too slow: a time limit of the socket begins anew with each byte."""
        before = 0
        while not done.wait(patience_s):
            if size - before < _SLOWEST_BYTES_PER_S * patience_s:
                too_slow.set()
                with contextlib.suppress(ValueError, RuntimeError, OSError):  # it has just ended
                    raw.shutdown()
                return
            before = size

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        while chunk := raw.read1(_CHUNK_SIZE_BYTES, decode_content=False):
            size += len(chunk)
            yield chunk
        failure: Exception | None = None
    except (RequestException, HTTPError, OSError) as error:
        failure = error
    finally:
        done.set()
        watcher.join()
    if too_slow.is_set():
        raise UnreachableError(
            f"{name}: the server sent less than {_SLOWEST_BYTES_PER_S} bytes a second for {patience_s:.0f} s", "try again later"
        ) from failure
    if failure is not None:
        raise explain(name, failure) from failure


def read_small(response: Response, name: str, max_size_bytes: int, patience_s: float) -> bytes:
    """Return a body that is small; errors as :func:`read`, and a FetchError for one that is not."""
    content = b""
    for chunk in read(response, name, patience_s):
        content += chunk
        if len(content) > max_size_bytes:
            raise too_large(name, max_size_bytes)
    length = _length(response)
    if length is not None and length != len(content):
        raise UnreachableError(f"{name}: the connection was cut", "try again")
    return content


def too_large(name: str, max_size_bytes: int) -> FetchError:
    """Return the error for something that is too large."""
    size = f"{max_size_bytes >> 20} MiB" if max_size_bytes >> 20 else f"{max_size_bytes} bytes"
    return FetchError(f"{name} is larger than {size}", "it is not what it should be; check the reference")


def _write(name: str, file: IO[bytes], begin: int, chunks: Iterator[bytes], partial: Partial) -> Iterator[int]:
    """Write what comes into a file from some place on, and yield how far it is. What is there already must come again."""
    here = b""
    if begin:
        file.seek(begin)
        here = file.read()
        file.seek(begin)
    size = begin
    for chunk in chunks:
        expected, here = here[: len(chunk)], here[len(chunk) :]
        if not chunk.startswith(expected):
            partial.drop()
            raise UnreachableError(f"{name} was changed while it was downloaded", "try again")
        file.write(chunk)
        size += len(chunk)
        yield size


def _check_range(name: str, response: Response, begin: int, partial: Partial) -> None:
    """Raise an UnreachableError, and begin anew, if a response is not the rest that was asked for."""
    found = _RANGE.fullmatch(response.headers.get("Content-Range", ""))
    if found is None or int(found[1]) != begin or (found[3] != "*" and int(found[2]) + 1 != int(found[3])):
        partial.drop()
        raise UnreachableError(f"{name}: the server sent another part than was asked for", "try again")


def _validator_of(response: Response) -> str:
    """Return what a rest can be asked for by: RFC 9110, section 13.1.5, takes no weak ones."""
    etag = str(response.headers.get("ETag", ""))
    validator = etag if etag.startswith('"') else "" if etag else str(response.headers.get("Last-Modified", ""))
    return validator if len(validator) <= 1024 else ""


def _length(response: Response) -> int | None:
    text = response.headers.get("Content-Length", "")
    is_chunked = "chunked" in response.headers.get("Transfer-Encoding", "").lower()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 and not is_chunked else None


def _check_digests(name: str, response: Response, content: bytes) -> None:
    """Compare with the digests that the server gives: ``Repr-Digest`` (RFC 9530), ``Digest`` (RFC 3230)."""
    for header in ("Repr-Digest", "Digest"):
        for part in response.headers.get(header, "").split(","):
            algorithm, _, value = part.strip().partition("=")
            if algorithm.lower() != "sha-256":
                continue
            try:
                expected = base64.b64decode(value.strip(":"), validate=True)
            except binascii.Error:
                continue
            actual = hashlib.sha256(content).digest()
            if actual != expected:
                hint = "it was damaged on the way, or on the server; try again"
                raise DigestError(f"{name}", f"sha256:{expected.hex()}", f"sha256:{actual.hex()}", hint)


def _decoded(name: str, content: bytes, encoding: str, max_size_bytes: int) -> bytes:
    """Return the content without the encoding that a server may use though nobody asked for it."""
    if encoding in ("", "identity"):
        return content
    if encoding not in ("gzip", "x-gzip"):
        raise FetchError(f"{name} comes compressed ({encoding}), which nobody asked for", "ask who runs the server to mend that")
    inflator = zlib.decompressobj(wbits=31)  # gzip
    try:
        plain = inflator.decompress(content, max_size_bytes + 1)
    except zlib.error as error:
        raise FetchError(f"{name} is damaged: {error}", "try again; else ask who runs the server") from error
    if len(plain) > max_size_bytes:
        raise FetchError(
            f"{name} unpacks from {len(content)} bytes to more than {max_size_bytes >> 20} MiB",
            "it is no package; check the reference",
        )
    if not inflator.eof or inflator.unused_data:
        raise FetchError(f"{name} is damaged: the compressed data does not end where it should", "try again")
    return plain


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)


def _boot_id() -> str:
    try:
        return _BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        return ""
