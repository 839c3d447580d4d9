"""Buffers of events as a guest polls them: each sample is delivered to its callback, in order, none twice."""

from __future__ import annotations

import time

from ecli_runtime.libbpf.object import MAP_TYPE_RINGBUF
from ecli_runtime.read.ringbuf import RingBuffer
from ecli_runtime.wasm.controller.adapter import STAGING_BYTES
from ecli_runtime.wasm.errnos import EINTR

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    from ecli_runtime.libbpf.object import LoadedMap
    from ecli_runtime.read.perfbuf import PerfBuffer
    from ecli_runtime.wasm.controller.adapter import Adapter
    from ecli_runtime.wasm.stopping import Stop

    class Ring(Protocol):
        """What has records one after the other: a ring buffer, or what was taken out of a perf buffer."""

        @property
        def fds(self) -> list[int]:
            """Descriptors to poll."""

        @property
        def lost(self) -> int:
            """Samples that were lost, as far as the kernel counts them."""

        def peek(self, limit: int) -> memoryview:
            """Return the bytes from the next record on."""

        def advance(self, size: int) -> None:
            """Let go of whole records."""

        def close(self) -> None:
            """Close it."""


PERF_PAGE_COUNT = 64  # of each CPU's ring, as wasm-bpf has them
# One poll ends after this much, so that the guest's own loop goes round while events keep coming.
_BUDGET_S = 0.05
# What the kernel has begun but not finished when the wait ends is looked for again so often.
_LOOK_AGAIN_MS = 100


def open_ring(loaded_map: LoadedMap) -> Ring:
    """Return the consumer of a ring buffer or perf event array; the caller owns it.

    Raises:
        LibbpfError: The kernel refused.
        OSError: It cannot be mapped.
    """
    if loaded_map.type == MAP_TYPE_RINGBUF:
        return RingBuffer(loaded_map.fd, loaded_map.max_entries)
    from ecli_runtime.read.perfbuf import PerfBuffer

    return PerfRing(PerfBuffer(loaded_map.fd, loaded_map.max_entries, PERF_PAGE_COUNT))


class PerfRing:
    """Samples of a perf buffer, made records of a ring buffer. What was taken and not delivered yet is kept."""

    def __init__(self, buffer: PerfBuffer) -> None:
        self._buffer = buffer
        self._taken = bytearray()
        self._at = 0

    @property
    def fds(self) -> list[int]:
        """Descriptors to poll."""
        return self._buffer.fds

    @property
    def lost(self) -> int:
        """Samples that found a ring full."""
        return self._buffer.lost

    def peek(self, limit: int) -> memoryview:
        """Return the bytes from the next record on, at most so many, the last of which may be cut off."""
        if self._at == len(self._taken):
            self._taken = bytearray().join([run.data for run in self._buffer.runs()])
            self._at = 0
        return memoryview(self._taken)[self._at : self._at + limit]

    def advance(self, size: int) -> None:
        """Let go of whole records of so many bytes."""
        self._at += size

    def close(self) -> None:
        """Unmap and close the rings; a second call does nothing."""
        self._buffer.close()


class Poller:
    """Polls one ring for a guest.

    Args:
        ring: The ring, owned by this object from now on.
        stop: What ends the module.

    Attributes:
        delivered: Samples that callbacks have been called for.
    """

    def __init__(self, ring: Ring, stop: Stop) -> None:
        self._ring, self._stop = ring, stop
        self.delivered = 0

    @property
    def lost(self) -> int:
        """Samples that were lost, as far as the kernel counts them."""
        return self._ring.lost

    def poll(self, adapter: Adapter, function: int, context: int, data: int, max_size: int, timeout_ms: int) -> int:
        """Wait for samples and call back for each that is there; return how many, or what a callback returned that is negative.

        Args:
            adapter: Calls back.
            function: As :meth:`~ecli_runtime.wasm.controller.adapter.Adapter.drain`, and so are the next three.
            context: Likewise.
            data: Likewise.
            max_size: Likewise.
            timeout_ms: Milliseconds to wait for the first; negative: for ever.

        Raises:
            KilledError: The module has to end.
            wasmtime.Trap: A callback trapped.
        """
        deadline = time.monotonic() + timeout_ms / 1000
        count, result = self._drain(adapter, function, context, data, max_size)
        while count == 0 and result == 0 and timeout_ms != 0 and not self._stop.asked:
            left_ms = (deadline - time.monotonic()) * 1000 if timeout_ms > 0 else _LOOK_AGAIN_MS
            if left_ms <= 0:
                break
            # Not for long: a wake-up may be missed where our last look and the kernel's commit cross.
            self._stop.wait(self._ring.fds, min(left_ms, _LOOK_AGAIN_MS))
            count, result = self._drain(adapter, function, context, data, max_size)
        return result or count or (-EINTR if self._stop.asked else 0)

    def _drain(self, adapter: Adapter, function: int, context: int, data: int, max_size: int) -> tuple[int, int]:
        until = time.monotonic() + _BUDGET_S
        total = result = 0
        while result == 0:
            records = self._ring.peek(STAGING_BYTES)
            try:
                result = adapter.drain(records, function, context, data, max_size)
            finally:
                if adapter.consumed:
                    self._ring.advance(adapter.consumed)
                total += adapter.count
                self.delivered += adapter.count
            self._stop.check()
            if not adapter.consumed or time.monotonic() > until:
                break
        return total, result

    def close(self) -> None:
        """Close the ring; a second call does nothing."""
        self._ring.close()
