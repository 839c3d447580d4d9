"""Perf event arrays, for kernels without ring buffers: one memory-mapped ring for each CPU, read as runs of equal-size records.

Layout and protocol: include/uapi/linux/perf_event.h. ``struct perf_event_mmap_page`` fills page 0, then follows the data, mapped
once. A record is ``u32 type, u16 misc, u16 size`` and ``size - 8`` bytes more: of a sample ``u32 length`` and the payload, which
the kernel pads to the end of the record; of a lost record ``u64 id, u64 count``.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import struct
import sys

from ecli_runtime.errors import LibbpfError
from ecli_runtime.libbpf._ffi import lib
from ecli_runtime.perf import COUNT_SW_BPF_OUTPUT, FORMAT_LOST, SAMPLE_RAW, online_cpus, open_software_event
from ecli_runtime.read.barrier import fence
from ecli_runtime.read.run import Run

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_DATA_HEAD, _DATA_TAIL = 1024 // 8, 1032 // 8  # of struct perf_event_mmap_page, as indexes of u64
_RECORD_LOST, _RECORD_SAMPLE = 2, 9  # enum perf_event_type
_IOC_ENABLE = 0x2400  # PERF_EVENT_IOC_ENABLE


class PerfBuffer:
    """The consumer of one perf event array.

    Args:
        map_fd: Descriptor of the map; stays the caller's.
        max_entries: Of the map: CPUs from this number on cannot send.
        page_count: Pages of each CPU's ring, a power of two.

    Attributes:
        size_bytes: Of each CPU's ring.
        filled: Share of the fullest ring that the last look found filled, 0 to 1.
        occupancy: Greatest share of a ring that was ever found filled, 0 to 1.

    Raises:
        LibbpfError: The kernel refused to set up the rings.
        OSError: They cannot be mapped.
    """

    def __init__(self, map_fd: int, max_entries: int, page_count: int) -> None:
        self._rings: list[_Ring] = []
        self.size_bytes = page_count * mmap.PAGESIZE
        self.filled = self.occupancy = 0.0
        try:
            for cpu in online_cpus():
                if cpu < max_entries:
                    self._rings.append(_Ring(cpu, page_count))
                    key, value = cpu.to_bytes(4, sys.byteorder), self._rings[-1].fd.to_bytes(4, sys.byteorder)
                    lib.bpf_map_update_elem(map_fd, key, value, 0)
        except BaseException:
            self.close()
            raise

    @property
    def fds(self) -> list[int]:
        """Descriptors to poll."""
        return [ring.fd for ring in self._rings]

    @property
    def lost(self) -> int:
        """Samples that the kernel could not place because a ring was full.

        Before Linux 6.0 those that were lost last are missing: the kernel tells of them when the ring takes the next sample.
        """
        return sum(ring.lost() for ring in self._rings)

    def runs(self) -> Iterator[Run]:
        """Take the samples that are there now, CPU after CPU, and yield runs of one length. They may be padded at the end."""
        self.filled = 0.0
        for ring in self._rings:
            yield from ring.runs()
            self.filled = max(self.filled, ring.filled)
        self.occupancy = max(self.occupancy, self.filled)

    def close(self) -> None:
        """Unmap and close the rings; a second call does nothing."""
        while self._rings:
            self._rings.pop().close()


class _Ring:
    """The ring of one CPU."""

    def __init__(self, cpu: int, page_count: int) -> None:
        self._recorded_lost = 0
        self.filled = 0.0
        self._size_bytes = page_count * mmap.PAGESIZE
        self.fd, self._counts_lost = _open_event(cpu)
        try:
            self._map = mmap.mmap(self.fd, mmap.PAGESIZE + self._size_bytes)
            fcntl.ioctl(self.fd, _IOC_ENABLE, 0)
        except BaseException:
            os.close(self.fd)
            raise
        self._positions = memoryview(self._map)[: mmap.PAGESIZE].cast("Q")

    def lost(self) -> int:
        """Return how many samples found the ring full, as far as the kernel tells."""
        if self._counts_lost:
            return int.from_bytes(os.read(self.fd, 16)[8:], sys.byteorder)  # u64 value, u64 lost
        return self._recorded_lost

    def _take(self) -> bytes:
        """Return a copy of the records that are there now, and free their room."""
        head, tail = self._positions[_DATA_HEAD], self._positions[_DATA_TAIL]
        self.filled = (head - tail) / self._size_bytes
        fence()  # data_head before the records
        start, length = tail % self._size_bytes, head - tail
        first = min(length, self._size_bytes - start)
        at = mmap.PAGESIZE + start
        records = self._map[at : at + first] + self._map[mmap.PAGESIZE : mmap.PAGESIZE + length - first]
        fence()  # the records before the store that frees them
        self._positions[_DATA_TAIL] = head
        return records

    def runs(self) -> Iterator[Run]:
        records = self._take()
        words = memoryview(records).cast("Q")
        at = 0
        while at < len(words):
            kind, _misc, stride = struct.unpack_from("=IHH", records, at * 8)
            headers = words[at :: stride >> 3].tolist()
            count = next((index for index, header in enumerate(headers) if header != headers[0]), len(headers))
            if kind == _RECORD_SAMPLE:
                yield _as_run(records[at * 8 : at * 8 + count * stride], count, stride)
            elif kind == _RECORD_LOST:
                self._recorded_lost += sum(words[at + 2 : at + count * (stride >> 3) : stride >> 3])
            at += count * (stride >> 3)

    def close(self) -> None:
        self._positions.release()
        self._map.close()
        os.close(self.fd)


def _open_event(cpu: int) -> tuple[int, bool]:
    """Return the event behind a CPU's ring, and whether it counts what is lost."""
    settings = {"sample_freq": 1, "sample_type": SAMPLE_RAW, "wakeup_events": 1}
    try:
        return open_software_event(COUNT_SW_BPF_OUTPUT, cpu, read_format=FORMAT_LOST, **settings), True
    except LibbpfError as error:
        if error.errno != errno.EINVAL:
            raise
        return open_software_event(COUNT_SW_BPF_OUTPUT, cpu, **settings), False


def _as_run(records: bytes, count: int, stride: int) -> Run:
    """Return samples as a run: without their first word they have a header of 8 bytes before the payload, as in a ring buffer."""
    length = stride - 12  # of every sample: the kernel rounds its size up (perf_prepare_sample in kernel/events/core.c)
    data = bytearray(records[4:])
    data += bytes(4)
    memoryview(data).cast("I")[:: stride >> 2] = memoryview(length.to_bytes(4, sys.byteorder) * count).cast("I")
    return Run(bytes(data), count, stride, length)
