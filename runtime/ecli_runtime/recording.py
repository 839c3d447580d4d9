"""Recordings of runs, read as a stream of blocks. ``docs/recording.md`` describes the format byte by byte.

A recording is untrusted input like a package, and may be read on any machine: nothing here needs Linux, libbpf or ctypes.
"""

from __future__ import annotations

import sys
import zlib

from ecli_runtime.errors import BtfError, RecordingError
from ecli_runtime.read.run import Run
from ecli_runtime.recording_content import (
    RecordedStacks,
    map_stats,
    read_document,
    read_map_stats,
    read_readings,
    read_samples,
    read_sources,
)
from ecli_runtime.recording_format import (
    FLAG_MIXED,
    HEADER_SIZE,
    ITEM,
    ITEM_LOSS,
    ITEM_READINGS,
    ITEM_SAMPLES,
    ITEM_STACKS,
    KIND_DATA,
    KIND_END,
    KIND_RUN,
    LOST_COUNT,
    MAGIC,
    MAX_BODY_SIZE_BYTES,
    READABLE_VERSIONS,
    STATE,
    TOTALS,
    BlockHeader,
    Unreadable,
    field,
    parse_header,
    text,
    unpack,
)
from ecli_runtime.stream import REASONS, Samples, Stats
from ecli_schemas.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Protocol, TypeAlias

    from ecli_runtime.stream import Chunk, MapStats, Readings, Source

    Warn: TypeAlias = Callable[[str], object]

    class Input(Protocol):
        """What a recording is read from. It may return less than it was asked for, and nothing at the end."""

        def read(self, size: int, /) -> bytes | None:
            """Return at most so many bytes."""


_READ_SIZE_BYTES = 64 << 10
_MAX_TIME_NS = (1 << 63) - 1
_NO_RECORDING = "a recording is what `ecli-py run --record FILE` writes"


class MapLoss(Record):
    """What the run noticed at this place to be missing of one map.

    Attributes:
        map: Name of the map.
        why: One of :data:`~ecli_runtime.stream.REASONS`.
        count: Samples that are missing on top of what was noticed before.
    """

    map: str
    why: str
    count: int


class Loss(Record):
    """What is missing between two looks at the counters.

    Attributes:
        since, until: Seconds since the epoch.
        lost: Samples that the kernel or the program could not deliver; 0 where :class:`MapLoss` tells it.
        undecoded: Samples that did not hold their type; likewise.
        unrecorded: Events that could not be written to the recording.
    """

    since: float
    until: float
    lost: int
    undecoded: int
    unrecorded: int


class _State(Record):
    realtime_ns: int
    monotonic_ns: int
    boottime_ns: int
    lost: int
    undecoded: int
    unrecorded: int


class _Block(Record):
    header: BlockHeader
    byte_offset: int
    state: _State
    body: bytes


class _ReadAhead:
    """An input that can be looked at before it is taken."""

    def __init__(self, file: Input) -> None:
        self._file = file
        self._ahead = bytearray()
        self.byte_offset = 0

    def peek(self, size_bytes: int) -> bytes:
        """Return the next bytes; fewer at the end of the input."""
        while len(self._ahead) < size_bytes:
            more = self._file.read(_READ_SIZE_BYTES)
            if not more:
                break
            self._ahead += more
        return bytes(self._ahead[:size_bytes])

    def skip(self, size_bytes: int) -> None:
        """Take bytes that were peeked at."""
        del self._ahead[:size_bytes]
        self.byte_offset += size_bytes

    def skip_to(self, pattern: bytes) -> None:
        """Take at least one byte, and on to where the next bytes are a pattern, or to the end."""
        self.skip(1)
        while True:
            found = self._ahead.find(pattern)
            if found >= 0:
                self.skip(found)
                return
            self.skip(max(len(self._ahead) - len(pattern) + 1, 0))  # it may begin in what is left
            if len(self.peek(len(pattern))) < len(pattern):
                self.skip(len(self._ahead))
                return


def _blocks(source: _ReadAhead, warn: Warn) -> Iterator[_Block]:
    """Yield the blocks that are whole, and warn of what else there is."""
    while head := source.peek(HEADER_SIZE):
        header, at = parse_header(head), source.byte_offset
        if header is None:
            if len(head) < HEADER_SIZE and head.startswith(MAGIC[: len(head)]):
                warn(f"the recording breaks off at byte {at + len(head)}, in the header of a block")
                return
            source.skip_to(MAGIC)
            while len(head := source.peek(HEADER_SIZE)) == HEADER_SIZE and parse_header(head) is None:
                source.skip_to(MAGIC)
            warn(f"{source.byte_offset - at} bytes from byte {at} on are damaged; left out")
            continue
        whole = source.peek(HEADER_SIZE + header.size_bytes)
        missing = HEADER_SIZE + header.size_bytes - len(whole)
        source.skip(len(whole))
        if missing:
            warn(f"the recording breaks off at byte {source.byte_offset}, {missing} bytes before the end of a block")
            return
        try:
            yield _open_block(header, at, whole[HEADER_SIZE:])
        except Unreadable as error:
            warn(f"the block at byte {at} {error}; left out")


def _open_block(header: BlockHeader, byte_offset: int, stored: bytes) -> _Block:
    if header.version not in READABLE_VERSIONS:
        raise Unreadable(f"has format {header.version}, which is not known")
    if zlib.crc32(stored) != header.checksum:
        raise Unreadable("is damaged")
    inflater = zlib.decompressobj()
    try:
        body = inflater.decompress(stored, MAX_BODY_SIZE_BYTES)
    except zlib.error as error:
        raise Unreadable("cannot be decompressed") from error
    if not inflater.eof or len(body) < STATE.size:
        raise Unreadable("is too large or too small")
    return _Block(header, byte_offset, _State(*STATE.unpack_from(body)), body[STATE.size :])


class Recording:
    """The runs in a recording, read as they come: it may be larger than memory, or a pipe.

    Args:
        file: What it is read from; stays the caller's.
        name: What errors call it.
        warn: Called with what is wrong with the recording, where it is.
        raw: Values are shown as they are, whatever they mean.

    Raises:
        RecordingError: It is no recording.
        OSError: It cannot be read.
    """

    def __init__(self, file: Input, name: str, warn: Warn, raw: bool = False) -> None:
        source = _ReadAhead(file)
        head = source.peek(HEADER_SIZE)
        if not head.startswith(MAGIC):
            raise RecordingError(f"{name} is {'no recording' if head else 'empty'}", _NO_RECORDING)
        header = parse_header(head)
        if header is not None and header.version not in READABLE_VERSIONS:
            raise RecordingError(f"{name} has format {header.version}, which is not known", "a newer ecli-py may know")
        self.warn, self.raw = warn, raw
        self._source = _blocks(source, warn)
        self._next: _Block | None = None

    def _take(self) -> _Block | None:
        block, self._next = self._next or next(self._source, None), None
        return block

    def runs(self) -> Iterator[RecordedRun]:
        """Yield the runs. Each is read by its own :meth:`RecordedRun.chunks`; what that has left is passed over.

        Raises:
            OSError: The recording cannot be read.
        """
        current: int | None = None
        while (block := self._take()) is not None:
            header = block.header
            if header.kind == KIND_RUN:
                current = header.run
                try:
                    run = RecordedRun(self, block)
                except (Unreadable, BtfError) as error:
                    self.warn(f"the run that begins at byte {block.byte_offset} cannot be read: {error}")
                else:
                    yield run
            elif header.run != current:
                current = header.run
                self.warn(f"the blocks from byte {block.byte_offset} on belong to a run whose beginning is missing; left out")

    def rest_of_run(self, run: int) -> Iterator[_Block]:
        """Yield the blocks up to the last of a run."""
        while (block := self._take()) is not None:
            if block.header.run != run or block.header.kind == KIND_RUN:
                self._next = block
                return
            yield block


class RecordedRun:
    """One run of a package, as it was recorded. Made by :meth:`Recording.runs`.

    Attributes:
        package: Name of the package.
        digest: SHA-256 of the package's file: ``sha256:…``.
        machine: Where it ran, as ``uname -m`` names it.
        kernel_release, kernel_version: As ``uname -r`` and ``uname -v`` tell them.
        options: Options that were set, by the names of their variables.
        sources: The maps that events come from.
        started_ns: When it began, by three clocks: real time, monotonic, boot time.
        taken_at: When the chunk that came last was taken out of the kernel, in seconds since the epoch.
    """

    def __init__(self, recording: Recording, block: _Block) -> None:
        document, btf = read_document(block.body)
        self.package = text(document, "package")
        self.digest = text(document, "digest")
        self.machine = text(document, "machine")
        self.kernel_release = text(document, "kernel_release")
        self.kernel_version = text(document, "kernel_version")
        self.options = field(document, "options", dict)
        self.sources = read_sources(document, btf, recording.raw)
        self.started_ns = block.state.realtime_ns, block.state.monotonic_ns, block.state.boottime_ns
        self.taken_at = _seconds(block.state.realtime_ns)
        self._recording = recording
        self._header = block.header
        self._state = block.state
        self._foreign = btf.byteorder != sys.byteorder
        self._tells_maps = block.header.version > 1
        self._received = dict.fromkeys((source.name for source in self.sources), 0)
        self._counts: dict[str, dict[str, int]] = {source.name: {} for source in self.sources}  # map → reason → what is missing
        self._stacks: dict[tuple[int, int], RecordedStacks] = {}  # of the block that is read, by source and type
        self._maps: tuple[MapStats, ...] | None = None
        self._until_ns = block.state.monotonic_ns
        self._totals: tuple[int, int, float, float] | None = None

    @property
    def ended(self) -> bool:
        """The end of the run was read: it was recorded to its end."""
        return self._totals is not None

    @property
    def stats(self) -> Stats:
        """What the run had done at its end; before that has been read, what it had done as far as it was read."""
        state, maps = self._state, self._maps
        if maps is None and self._tells_maps:
            maps = tuple(map_stats(name, received, self._counts[name]) for name, received in self._received.items())
        if self._totals is not None:
            events, received, occupancy, seconds = self._totals
        else:
            events = received = sum(self._received.values())
            occupancy, seconds = 0.0, max(self._until_ns - self.started_ns[1], 0) / 1e9
        lost, undecoded = state.lost, state.undecoded
        if maps:
            lost, undecoded = sum(each.lost for each in maps), sum(each.undecoded for each in maps)
        return Stats(events, received, lost, undecoded, occupancy, seconds, 0, maps or ())

    def chunks(self) -> Iterator[Chunk | MapLoss | Loss]:
        """Yield what the run gave, in order, and where something was lost.

        Raises:
            OSError: The recording cannot be read.
        """
        sequence = self._header.sequence
        for block in self._recording.rest_of_run(self._header.run):
            if block.header.sequence != sequence + 1:
                self._recording.warn(f"the block at byte {block.byte_offset} does not follow the one before it: some are missing")
            sequence = block.header.sequence
            try:
                for time_ns, chunk in self._read(block):
                    self._until_ns = time_ns
                    self.taken_at = _seconds(block.state.realtime_ns + time_ns - block.state.monotonic_ns)
                    if not isinstance(chunk, MapLoss):
                        count = chunk.run.live if isinstance(chunk, Samples) else len(chunk.entries)
                        self._received[chunk.source.name] += count
                    yield chunk
            except Unreadable as error:
                self._recording.warn(f"the block at byte {block.byte_offset} {error}; the rest of it is left out")
            self._until_ns = block.state.monotonic_ns
            loss = self._loss(block.state)
            if loss is not None:
                yield loss
        if not self.ended:
            self._recording.warn("the run was not recorded to its end; what it did last is missing")

    def _loss(self, state: _State) -> Loss | None:
        before, self._state = self._state, state
        names = ("lost", "undecoded", "unrecorded")
        counts = [max(getattr(state, name) - getattr(before, name), 0) for name in names]
        if self._tells_maps:
            counts[:2] = [0, 0]
        return Loss(_seconds(before.realtime_ns), _seconds(state.realtime_ns), *counts) if any(counts) else None

    def _read(self, block: _Block) -> Iterator[tuple[int, Samples | Readings | MapLoss]]:
        """Yield the chunks of a block, each with the monotonic time when it was taken."""
        if block.header.kind == KIND_END:
            yield from self._end(block)
            return
        if block.header.kind != KIND_DATA:
            raise Unreadable(f"is of kind {block.header.kind}, which is not known")
        self._stacks.clear()
        body, at = block.body, 0
        while at < len(body):
            kind, flags, source_index, type_index, first, second, count, time_ns = unpack(ITEM, body, at)
            at += ITEM.size
            size = count * (second if kind == ITEM_SAMPLES else first + second)
            if source_index >= len(self.sources) or size > len(body) - at:
                raise Unreadable("has an item that makes no sense")
            source, data = self.sources[source_index], body[at : at + size]
            at += size
            known_by = source_index, type_index
            if kind == ITEM_SAMPLES:
                run = Run(data, count, second, first, bool(flags & FLAG_MIXED))
                for samples in read_samples(source, type_index, run, self._foreign, self._stacks_of(known_by)):
                    yield time_ns, samples
            elif kind == ITEM_READINGS:
                yield time_ns, read_readings(source, data, count, first, second, self._stacks_of(known_by))
            elif kind == ITEM_LOSS and self._tells_maps:
                yield time_ns, self._missing(source, type_index, unpack(LOST_COUNT, data, 0)[0])
            elif kind == ITEM_STACKS and self._tells_maps:
                self._stacks[known_by] = self._stacks_of(known_by).joined(RecordedStacks.read(data))
            else:
                raise Unreadable(f"has an item of kind {kind}, which is not known")

    def _stacks_of(self, known_by: tuple[int, int]) -> RecordedStacks:
        return self._stacks.setdefault(known_by, RecordedStacks())

    def _missing(self, source: Source, why: int, count: int) -> MapLoss:
        if why >= len(REASONS):
            raise Unreadable("has a reason of loss that is not known")
        counts = self._counts[source.name]
        counts[REASONS[why]] = counts.get(REASONS[why], 0) + count
        return MapLoss(source.name, REASONS[why], count)

    def _end(self, block: _Block) -> Iterator[tuple[int, MapLoss]]:
        """Take how the run ended, and yield what its blocks have not told to be missing: some may be damaged."""
        self._totals = unpack(TOTALS, block.body, 0)
        if not self._tells_maps:
            return
        self._maps = read_map_stats(block.body[TOTALS.size :], self.sources)
        for each in self._maps:
            for why, count in each.reasons:
                more = count - self._counts[each.name].get(why, 0)
                if more > 0:
                    yield block.state.monotonic_ns, MapLoss(each.name, why, more)


def read_digest(block: bytes) -> str | None:
    """Return the digest of the package whose run a block begins, or ``None`` if it is no such block."""
    header = parse_header(block)
    if header is None or header.kind != KIND_RUN:
        return None
    try:
        opened = _open_block(header, 0, block[HEADER_SIZE:])
        return text(read_document(opened.body)[0], "digest")
    except (Unreadable, BtfError):
        return None


def _seconds(time_ns: int) -> float:
    return min(max(time_ns, 0), _MAX_TIME_NS) / 1e9
