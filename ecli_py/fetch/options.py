"""How to fetch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from ecli_py.fetch.contents import check_signature, check_whole
from ecli_py.report import warn

MAX_SIZE_BYTES = 256 << 20  # an archive with types of many kernels has tens of megabytes

MAX_SIGNATURE_SIZE_BYTES = 16 << 10  # a signature of minisign has some 300
SIGNATURE_SUFFIX = ".minisig"


@dataclass(frozen=True)
class FetchOptions:
    """How to fetch.

    Attributes:
        offline: Nothing is asked over the network: only what is in the cache, or local.
        insecure: Registries on other machines may be asked over plain HTTP, too.
        max_size_bytes: What has more is refused, as soon as that is known.
        patience_s: Seconds that a server may be silent, or slower than 1 KiB/s.
        check: Called with a name for errors and what came over the network, before it is kept; raises FetchError if it is not
            what was wanted: by default, if it is no package, module, archive or object.
        warn: Called with what the user should know though the fetch goes on.
    """

    offline: bool = False
    insecure: bool = False
    max_size_bytes: int = MAX_SIZE_BYTES
    patience_s: float = 20.0
    check: Callable[[str, bytes], None] = check_whole
    warn: Callable[[str], object] = warn


def signature_options(options: FetchOptions) -> FetchOptions:
    """Return how to fetch a signature where a package is fetched with some options."""
    return replace(options, max_size_bytes=MAX_SIGNATURE_SIZE_BYTES, check=check_signature)
