"""The ring buffer's reader against a ring in a memory file, written as kernel/bpf/ringbuf.c writes it."""

from __future__ import annotations

import mmap
import os
import random
from collections.abc import Iterator

import pytest

from ecli_runtime.read.ringbuf import BUSY, DISCARD, RingBuffer

PAGE = mmap.PAGESIZE
SIZE = PAGE


class Ring:
    """The producer's side. The data's second mapping is a copy here, written along."""

    def __init__(self) -> None:
        self.fd = os.memfd_create("ring")
        os.ftruncate(self.fd, 2 * PAGE + 2 * SIZE)
        self.memory = mmap.mmap(self.fd, 2 * PAGE + 2 * SIZE)
        self.produced = 0
        self.busy: list[int] = []

    def consumed(self) -> int:
        return int.from_bytes(self.memory[:8], "little")

    def put(self, payload: bytes, flag: int = 0) -> bool:
        stride = (len(payload) + 15) & ~7
        if self.produced + stride - self.consumed() > SIZE:
            return False
        record = (len(payload) | flag).to_bytes(4, "little") + b"page" + payload
        self._write(self.produced, record)
        if flag & BUSY:
            self.busy.append(self.produced)
        self.produced += stride
        self.memory[PAGE : PAGE + 8] = self.produced.to_bytes(8, "little")
        return True

    def commit(self) -> None:
        for position in self.busy:
            at = 2 * PAGE + position % SIZE
            word = int.from_bytes(self.memory[at : at + 4], "little") & ~BUSY
            self._write(position, word.to_bytes(4, "little"))
        self.busy = []

    def _write(self, position: int, data: bytes) -> None:
        for index, byte in enumerate(data):
            at = (position + index) % SIZE
            self.memory[2 * PAGE + at] = self.memory[2 * PAGE + SIZE + at] = byte


def payloads_of(reader: RingBuffer) -> list[bytes]:
    return [payload for run in reader.runs() for payload in run.payloads()]


@pytest.fixture
def ring() -> Iterator[tuple[Ring, RingBuffer]]:
    producer = Ring()
    reader = RingBuffer(producer.fd, SIZE)
    yield producer, reader
    reader.close()
    producer.memory.close()
    os.close(producer.fd)


def test_records_come_out_in_order(ring: tuple[Ring, RingBuffer]) -> None:
    producer, reader = ring
    payloads = [bytes([n]) * 24 for n in range(50)]
    for payload in payloads:
        assert producer.put(payload)
    assert payloads_of(reader) == payloads
    assert payloads_of(reader) == []
    assert producer.consumed() == producer.produced


def test_discarded_records_are_left_out(ring: tuple[Ring, RingBuffer]) -> None:
    producer, reader = ring
    producer.put(b"a" * 8)
    producer.put(b"b" * 8, DISCARD)
    producer.put(b"c" * 8)
    producer.put(b"d" * 8, DISCARD)
    assert payloads_of(reader) == [b"a" * 8, b"c" * 8]
    assert producer.consumed() == producer.produced


def test_nothing_is_taken_from_a_busy_record_on(ring: tuple[Ring, RingBuffer]) -> None:
    producer, reader = ring
    producer.put(b"a" * 8)
    producer.put(b"b" * 8, BUSY)
    producer.put(b"c" * 8)
    assert payloads_of(reader) == [b"a" * 8]
    assert payloads_of(reader) == []
    producer.commit()
    assert payloads_of(reader) == [b"b" * 8, b"c" * 8]


def test_empty_records(ring: tuple[Ring, RingBuffer]) -> None:
    producer, reader = ring
    producer.put(b"")
    producer.put(b"x")
    assert payloads_of(reader) == [b"", b"x"]


def test_how_full_it_was_is_remembered(ring: tuple[Ring, RingBuffer]) -> None:
    producer, reader = ring
    while producer.put(b"x" * 56):
        pass
    payloads_of(reader)
    assert reader.occupancy == 1
    producer.put(b"x")
    payloads_of(reader)
    assert reader.occupancy == 1


@pytest.mark.parametrize("seed", range(40))
def test_random_rings_lose_and_invent_nothing(ring: tuple[Ring, RingBuffer], seed: int) -> None:
    producer, reader = ring
    choose = random.Random(seed)
    sizes = choose.sample(range(120), choose.choice([1, 2, 5]))
    expected: list[bytes] = []
    found: list[bytes] = []
    for _ in range(400):
        payload = choose.randbytes(choose.choice(sizes))
        flag = choose.choices([0, DISCARD, BUSY, BUSY | DISCARD], [8, 2, 1, 1])[0]
        if producer.put(payload, flag) and not flag & DISCARD:
            expected.append(payload)
        if choose.random() < 0.2:
            producer.commit()
        if choose.random() < 0.1:
            found += payloads_of(reader)
    producer.commit()
    found += payloads_of(reader)
    assert found == expected
