"""Ring buffers, mapped and read as runs of equal-size records.

Layout and protocol: Documentation/bpf/ringbuf.rst and kernel/bpf/ringbuf.c. Page 0 holds the consumer's position, page 1 the
producer's, then follows the data, mapped twice in a row so that a record which wraps is contiguous. Both positions are
``unsigned long`` that only grow. A record is ``u32 length | BUSY | DISCARD``, ``u32`` page offset, payload, padded to 8 bytes.
"""

from __future__ import annotations

import mmap
import sys

from ecli_runtime.errors import UnsupportedFeatureError
from ecli_runtime.read.barrier import fence
from ecli_runtime.read.run import Run, stride_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

BUSY, DISCARD, LENGTH = 0x8000_0000, 0x4000_0000, 0x3FFF_FFFF  # BPF_RINGBUF_BUSY_BIT, BPF_RINGBUF_DISCARD_BIT

# One pass of a loop over many records; bounds how much is copied at once.
RUN_LIMIT = 4096


class RingBuffer:
    """The consumer of one ring buffer map. There must be no other: the map has one consumer position.

    Args:
        fd: Descriptor of the map; stays the caller's.
        size_bytes: ``max_entries`` of the map: a power of two, whole pages.

    Attributes:
        fds: Descriptors to poll.
        lost: Always 0: nobody but the program can count what found the buffer full.
        filled: Share of the buffer that the last look found filled, 0 to 1.
        occupancy: Greatest share of the buffer that was ever found filled, 0 to 1.

    Raises:
        OSError: It cannot be mapped.
    """

    def __init__(self, fd: int, size_bytes: int) -> None:
        if sys.maxsize < 1 << 32:
            raise UnsupportedFeatureError("reading ring buffers", "a 64-bit Python")
        page = mmap.PAGESIZE
        self.fds = [fd]
        self.lost = 0
        self.size_bytes = size_bytes
        self.filled = self.occupancy = 0.0
        self._consumer_map = mmap.mmap(fd, page, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
        self._producer_map = mmap.mmap(fd, page + 2 * size_bytes, mmap.MAP_SHARED, mmap.PROT_READ, offset=page)
        self._consumer = memoryview(self._consumer_map)[:8].cast("Q")
        self._producer = memoryview(self._producer_map)[:8].cast("Q")
        self._data = memoryview(self._producer_map)[page:]
        self._words = self._data.cast("I")

    def runs(self) -> Iterator[Run]:
        """Take the records that are there now and yield copies of them as runs of one length.

        What the producer adds meanwhile is left for the next call, so that one call always ends.

        That every stride-th word is a header is a guess that proves itself: a header is only trusted while all before it have
        the length that was assumed, so it stands where a record begins.
        """
        words, mask = self._words, self.size_bytes - 1
        consumed, produced = self._consumer[0], self._producer[0]
        self.filled = (produced - consumed) / self.size_bytes
        self.occupancy = max(self.occupancy, self.filled)
        fence()  # producer position is an acquire load
        while consumed < produced:
            start = consumed & mask
            word = words[start >> 2]
            if word & BUSY:  # reserved and not yet committed; nothing after it may be taken
                return
            length = word & LENGTH
            stride = stride_of(length)
            limit = min((produced - consumed) // stride, RUN_LIMIT)
            count, mixed = self._run_length(start >> 2, stride >> 2, limit, length)
            fence()  # headers before payload
            data = bytes(self._data[start : start + count * stride])
            consumed += count * stride
            fence()  # payload loads before the store that frees it
            self._consumer[0] = consumed
            if not (mixed and count == 1):
                yield Run(data, count, stride, length, mixed)

    def _run_length(self, first: int, stride: int, limit: int, length: int) -> tuple[int, bool]:
        """Return how many records from a word index on are committed and of one length, and whether some are discarded."""
        headers = self._words[first : first + limit * stride : stride].tobytes()
        if headers == length.to_bytes(4, sys.byteorder) * limit:
            return limit, False
        mixed = False
        for index, header in enumerate(memoryview(headers).cast("I")):
            if header & BUSY or header & LENGTH != length:
                return index, mixed
            mixed = mixed or bool(header & DISCARD)
        return limit, mixed

    def peek(self, limit: int) -> memoryview:
        """Return the bytes from the next record on, as far as records were begun: some of them may not be finished.

        Args:
            limit: Bytes at most, but the first record as far as it is there.

        What is seen as finished was so before whoever reads its payload calls :func:`~ecli_runtime.read.barrier.fence`, and stays
        as it is until :meth:`advance` frees it.
        """
        consumed, produced = self._consumer[0], self._producer[0]
        self.filled = (produced - consumed) / self.size_bytes
        self.occupancy = max(self.occupancy, self.filled)
        fence()  # producer position is an acquire load
        start = consumed & (self.size_bytes - 1)
        size = produced - consumed
        if size > limit:
            size = min(size, max(limit, stride_of(self._words[start >> 2] & LENGTH)))
        return self._data[start : start + size]

    def advance(self, size: int) -> None:
        """Free whole records of so many bytes, from the next one on."""
        fence()  # payload loads before the store that frees it
        self._consumer[0] += size

    def close(self) -> None:
        """Unmap the buffer; a second call does nothing."""
        for view in (self._words, self._data, self._producer, self._consumer):
            view.release()
        self._producer_map.close()
        self._consumer_map.close()
