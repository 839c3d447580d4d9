"""Runs: samples of one length, one after the other, as they lie in a ring buffer."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

HEADER_SIZE_BYTES = 8


class Run:
    """Records of one length, each a ``u32`` length, four bytes without meaning, the payload, and padding to 8 bytes.

    Args:
        data: ``count`` times ``stride`` bytes, which belong to this object.
        count: Records, discarded ones included.
        stride: Bytes from the beginning of one record to that of the next.
        length: Bytes of each payload.
        mixed: Some records are discarded: those whose length word is not ``length``.
    """

    __slots__ = ("count", "data", "length", "mixed", "stride")

    def __init__(self, data: bytes, count: int, stride: int, length: int, mixed: bool = False) -> None:
        self.data, self.count, self.stride, self.length, self.mixed = data, count, stride, length, mixed

    @classmethod
    def of(cls, payloads: Sequence[bytes]) -> Run:
        """Return payloads, at least one and all of one length, as a run."""
        length = len(payloads[0])
        stride = stride_of(length)
        header = length.to_bytes(4, sys.byteorder) + bytes(4)
        between = bytes(stride - HEADER_SIZE_BYTES - length) + header
        return cls(header + between.join(payloads) + between[:-HEADER_SIZE_BYTES], len(payloads), stride, length)

    @property
    def live(self) -> int:
        """Records that are not discarded."""
        return self._headers().count(self.length) if self.mixed else self.count

    def _headers(self) -> list[int]:
        return memoryview(self.data).cast("I")[:: self.stride >> 2].tolist()

    def payloads(self) -> Iterator[bytes]:
        """Walk the payloads of the records that are not discarded."""
        data, stride, length = self.data, self.stride, self.length
        headers = self._headers() if self.mixed else None
        for index in range(self.count):
            if headers is None or headers[index] == length:
                at = index * stride + HEADER_SIZE_BYTES
                yield data[at : at + length]

    def padded(self, size_bytes: int) -> Run:
        """Return the run with zeros after payloads that have fewer bytes."""
        if self.length >= size_bytes:
            return self
        return Run.of([payload.ljust(size_bytes, b"\0") for payload in self.payloads()])


def stride_of(length: int) -> int:
    """Return how many bytes a record takes whose payload has that many: header, payload, padding to 8 bytes."""
    return (length + HEADER_SIZE_BYTES + 7) & ~7
