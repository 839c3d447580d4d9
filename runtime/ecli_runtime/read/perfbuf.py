"""Perf event arrays, read through libbpf's perf buffer: one memory-mapped ring for each CPU."""

from __future__ import annotations

import ctypes

from ecli_runtime.libbpf._ffi import lib, perf_lost_fn, perf_sample_fn
from ecli_runtime.owned import Owned
from ecli_runtime.read.run import Run

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


class PerfBuffer(Owned):
    """The consumer of one perf event array.

    Args:
        map_fd: Descriptor of the map; stays the caller's.
        page_count: Pages of each CPU's ring, a power of two.

    Attributes:
        lost: Samples that the kernel could not place because a ring was full.

    Raises:
        LibbpfError: libbpf could not set up the rings.
    """

    def __init__(self, map_fd: int, page_count: int) -> None:
        self.lost = 0
        self._samples: list[bytes] = []
        # Kept here because libbpf calls them until the buffer is freed.
        self._on_sample = perf_sample_fn(self._add_sample)
        self._on_lost = perf_lost_fn(self._add_lost)
        super().__init__(lib.perf_buffer__new(map_fd, page_count, self._on_sample, self._on_lost, None, None))
        self.fd: int = lib.perf_buffer__epoll_fd(self.handle)

    def _add_sample(self, _context: int, _cpu: int, data: int, size: int) -> None:
        self._samples.append(ctypes.string_at(data, size))  # copied: the memory is the ring's

    def _add_lost(self, _context: int, _cpu: int, count: int) -> None:
        self.lost += count

    def runs(self) -> Iterator[Run]:
        """Take the samples that are there now, CPU after CPU, and yield runs of one length. They may be padded at the end.

        Raises:
            LibbpfError: libbpf could not read a ring.
        """
        lib.perf_buffer__consume(self.handle)
        while self._samples:
            length = len(self._samples[0])
            count = next((i for i, sample in enumerate(self._samples) if len(sample) != length), len(self._samples))
            samples, self._samples = self._samples[:count], self._samples[count:]
            yield Run.of(samples)

    def _destroy(self, handle: int) -> None:
        lib.perf_buffer__free(handle)
