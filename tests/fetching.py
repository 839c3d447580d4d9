"""What tests of packages from the network share."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from pathlib import Path

from ecli_py.fetch import Fetched, FetchOptions, fetch
from tests.http_server import Asked

IMPATIENT = FetchOptions(patience_s=1.0)


def kept(cache_path: Path) -> list[Path]:
    """Return everything that a cache holds."""
    return [path for name in ("blobs", "entries") for path in cache_path.glob(f"{name}/*")]


def quiet(reference: str, options: FetchOptions = IMPATIENT) -> Fetched:
    """Fetch, with nothing to warn of."""

    def warn(text: str) -> None:
        raise AssertionError(text)

    return fetch(reference, options=FetchOptions(options.offline, options.insecure, patience_s=options.patience_s, warn=warn))


def chopped(content: bytes, size: int = 1000, pause_s: float = 0) -> Iterator[bytes]:
    for at in range(0, len(content), size):
        time.sleep(pause_s)
        yield content[at : at + size]


def dripping(part: bytes) -> Iterator[bytes]:
    """Yield some bytes again and again, slowly, for a minute."""
    for _ in range(600):
        time.sleep(0.1)
        yield part


def drip(asked: Asked) -> None:
    asked.answer(dripping(b" "), Content_Length=600)


def drip_headers(asked: Asked) -> None:
    for _ in range(600):
        asked.handler.wfile.write(b"H")
        time.sleep(0.1)


def drip_the_length_of_a_chunk(asked: Asked) -> None:
    asked.answer(itertools.chain([b"1\r\n{\r\n"], dripping(b"0")), Transfer_Encoding="chunked")


def say_nothing(asked: Asked) -> None:
    time.sleep(60)
