"""Memory does not grow with the number of events: the short form of the benchmark ``memory-10m``."""

from __future__ import annotations

import pytest

from benchmarks import steady
from benchmarks.harness import UnavailableError
from tests.machine import missing, need_compiler, need_kernel

pytestmark = pytest.mark.kernel


@pytest.mark.parametrize("backend", [steady.PYTHON, steady.WASM])
def test_memory_is_flat(backend: str) -> None:
    need_kernel()
    need_compiler()
    try:
        before, after = steady.growth(steady.commands()[backend], [100_000, 500_000]).memory_mb
    except UnavailableError as why:
        missing(str(why))
    assert after < before + 8  # megabytes, which a full ring buffer and its lines may take; for each event 20 bytes
