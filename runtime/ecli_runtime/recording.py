"""Recordings of runs, as a stream of blocks: the format, and its reader. ``docs/recording.md`` describes it byte by byte.

A recording is untrusted input like a package, and may be read on any machine: nothing here needs Linux, libbpf or ctypes.
"""

from __future__ import annotations

import struct
import sys
import zlib

from ecli_runtime.btf import Btf
from ecli_runtime.errors import BtfError, RecordingError
from ecli_runtime.read.run import HEADER_SIZE_BYTES, Run
from ecli_runtime.stream import Readings, Samples, Stats, TypeRef, make_source
from ecli_schemas.json_reader import loads
from ecli_schemas.model import Sample
from ecli_schemas.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any, Protocol, TypeAlias, TypeVar

    from ecli_runtime.stream import Chunk, Source

    T = TypeVar("T", int, str, bool, list[Any], dict[str, Any])
    Warn: TypeAlias = Callable[[str], object]

    class Input(Protocol):
        """What a recording is read from. It may return less than it was asked for, and nothing at the end."""

        def read(self, size: int, /) -> bytes | None:
            """Return at most so many bytes."""


MAGIC = b"\x89ECLI\r\n\x1a"  # as PNG does it: no text, and no longer the same when it was transferred as text
VERSION = 1

KIND_RUN, KIND_DATA, KIND_END = 1, 2, 3

# Bounds for what one block makes a reader keep.
MAX_BODY_SIZE_BYTES = 16 << 20
_MAX_STORED_SIZE_BYTES = MAX_BODY_SIZE_BYTES + (64 << 10)  # zlib adds 5 bytes to 16 KiB that cannot be compressed
_MAX_DOCUMENT_SIZE_BYTES = 1 << 20
_MAX_TYPES = 1024
_MAX_OPS = 1 << 16

HEADER_FIELDS = struct.Struct("<8sBBxxIIII")  # magic, version, kind, run, sequence, size and checksum of what follows
HEADER_SIZE = HEADER_FIELDS.size + 4  # and the checksum of these
STATE = struct.Struct("<6Q")  # clocks in nanoseconds: real time, monotonic, boot time; events lost, undecoded, unrecorded
DOCUMENT_SIZE = struct.Struct("<I")
ITEM = struct.Struct("<BBHHxxIIIQ")  # kind, flags, source, type, two sizes in bytes, count, monotonic time in nanoseconds
TOTALS = struct.Struct("<QQdd")  # events shown, received; occupancy, seconds

ITEM_SAMPLES, ITEM_READINGS = 1, 2
FLAG_MIXED = 1
NO_TYPE = 0xFFFF

_READ_SIZE_BYTES = 64 << 10
_MAX_TIME_NS = (1 << 63) - 1
_NO_RECORDING = "a recording is what `ecli-py run --record FILE` writes"


class BlockHeader(Record):
    """What stands before the body of a block.

    Attributes:
        kind: ``KIND_RUN``, ``KIND_DATA`` or ``KIND_END``.
        run: Number of the run that the block belongs to.
        sequence: Number of the block in its run.
        size_bytes: Of the compressed body, which follows.
        checksum: CRC-32 of that.
    """

    version: int
    kind: int
    run: int
    sequence: int
    size_bytes: int
    checksum: int


class Loss(Record):
    """What was lost between two looks at the counters.

    Attributes:
        since, until: Seconds since the epoch.
        lost: Samples that the kernel or the program could not deliver.
        undecoded: Samples that did not hold their type.
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


class _Unreadable(Exception):  # noqa: N818  a signal between functions of this module
    """A block is whole, and what it says makes no sense."""


def make_block(kind: int, run: int | None, sequence: int, body: bytes) -> tuple[bytes, int]:
    """Return a block, and the number of its run.

    Args:
        kind: ``KIND_RUN``, ``KIND_DATA`` or ``KIND_END``.
        run: Number of the run; ``None`` for its first block, which gives it one.
        sequence: Number of the block in its run.
        body: State and content, not compressed.
    """
    # Level 1 takes a fifth to two fifths of the time of zlib's default, for files that are 5 to 30 % larger.
    stored = zlib.compress(body, 1)
    checksum = zlib.crc32(stored)
    number = checksum if run is None else run
    fields = HEADER_FIELDS.pack(MAGIC, VERSION, kind, number, sequence, len(stored), checksum)
    return fields + zlib.crc32(fields).to_bytes(4, "little") + stored, number


def parse_header(data: bytes) -> BlockHeader | None:
    """Return the header that the first :data:`HEADER_SIZE` bytes are, or ``None`` if they are none."""
    if len(data) < HEADER_SIZE or not data.startswith(MAGIC):
        return None
    if zlib.crc32(data[: HEADER_FIELDS.size]).to_bytes(4, "little") != data[HEADER_FIELDS.size : HEADER_SIZE]:
        return None
    header = BlockHeader(*HEADER_FIELDS.unpack_from(data)[1:])
    return header if header.size_bytes <= _MAX_STORED_SIZE_BYTES else None


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
        except _Unreadable as error:
            warn(f"the block at byte {at} {error}; left out")


def _open_block(header: BlockHeader, byte_offset: int, stored: bytes) -> _Block:
    if header.version != VERSION:
        raise _Unreadable(f"has format {header.version}, which is not known")
    if zlib.crc32(stored) != header.checksum:
        raise _Unreadable("is damaged")
    inflater = zlib.decompressobj()
    try:
        body = inflater.decompress(stored, MAX_BODY_SIZE_BYTES)
    except zlib.error as error:
        raise _Unreadable("cannot be decompressed") from error
    if not inflater.eof or len(body) < STATE.size:
        raise _Unreadable("is too large or too small")
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
        if header is not None and header.version != VERSION:
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
                except (_Unreadable, BtfError) as error:
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
        document, btf = _read_document(block.body)
        self.package = _text(document, "package")
        self.digest = _text(document, "digest")
        self.machine = _text(document, "machine")
        self.kernel_release = _text(document, "kernel_release")
        self.kernel_version = _text(document, "kernel_version")
        self.options = _field(document, "options", dict)
        self.sources = _read_sources(document, btf, recording.raw)
        self.started_ns = block.state.realtime_ns, block.state.monotonic_ns, block.state.boottime_ns
        self.taken_at = _seconds(block.state.realtime_ns)
        self._recording = recording
        self._header = block.header
        self._state = block.state
        self._foreign = btf.byteorder != sys.byteorder
        self._received = 0
        self._until_ns = block.state.monotonic_ns
        self._totals: tuple[int, int, float, float] | None = None

    @property
    def ended(self) -> bool:
        """The end of the run was read: it was recorded to its end."""
        return self._totals is not None

    @property
    def stats(self) -> Stats:
        """What the run had done at its end; before that has been read, what it had done as far as it was read."""
        state = self._state
        if self._totals is not None:
            events, received, occupancy, seconds = self._totals
            return Stats(events, received, state.lost, state.undecoded, occupancy, seconds)
        seconds = max(self._until_ns - self.started_ns[1], 0) / 1e9
        return Stats(self._received, self._received, state.lost, state.undecoded, 0.0, seconds)

    def chunks(self) -> Iterator[Chunk | Loss]:
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
                    self._received += chunk.run.live if isinstance(chunk, Samples) else len(chunk.entries)
                    yield chunk
            except _Unreadable as error:
                self._recording.warn(f"the block at byte {block.byte_offset} {error}; the rest of it is left out")
            self._until_ns = block.state.monotonic_ns
            loss = self._loss(block.state)
            if loss is not None:
                yield loss
        if not self.ended:
            self._recording.warn("the run was not recorded to its end; what it did last is missing")

    def _loss(self, state: _State) -> Loss | None:
        before, self._state = self._state, state
        counts = [max(getattr(state, name) - getattr(before, name), 0) for name in ("lost", "undecoded", "unrecorded")]
        return Loss(_seconds(before.realtime_ns), _seconds(state.realtime_ns), *counts) if any(counts) else None

    def _read(self, block: _Block) -> Iterator[tuple[int, Samples | Readings]]:
        """Yield the chunks of a block, each with the monotonic time when it was taken."""
        if block.header.kind == KIND_END:
            self._totals = _unpack(TOTALS, block.body, 0)
            return
        if block.header.kind != KIND_DATA:
            raise _Unreadable(f"is of kind {block.header.kind}, which is not known")
        body, at = block.body, 0
        while at < len(body):
            kind, flags, source_index, type_index, first, second, count, time_ns = _unpack(ITEM, body, at)
            at += ITEM.size
            size = count * (second if kind == ITEM_SAMPLES else first + second)
            if source_index >= len(self.sources) or size > len(body) - at:
                raise _Unreadable("has an item that makes no sense")
            source, data = self.sources[source_index], body[at : at + size]
            at += size
            if kind == ITEM_SAMPLES:
                yield time_ns, self._samples(source, type_index, Run(data, count, second, first, bool(flags & FLAG_MIXED)))
            elif kind == ITEM_READINGS:
                yield time_ns, _readings(source, data, count, first, second)
            else:
                raise _Unreadable(f"has an item of kind {kind}, which is not known")

    def _samples(self, source: Source, type_index: int, run: Run) -> Samples:
        if type_index != NO_TYPE and type_index >= len(source.plans):
            raise _Unreadable("has samples of a type that there is not")
        plan = None if type_index == NO_TYPE else source.plans[type_index]
        fits = run.length <= run.stride - HEADER_SIZE_BYTES and not run.stride % 8
        if plan is not None:
            fits = fits and plan.size_bytes <= run.length <= plan.max_size_bytes
        if source.sample is not None or not run.count or not fits:
            raise _Unreadable("has samples whose sizes make no sense")
        return Samples(source, plan, _swap_lengths(run) if self._foreign else run)


def _readings(source: Source, data: bytes, count: int, key_size: int, value_size: int) -> Readings:
    if source.sample is None or (count and not (data and _fit(source, key_size, value_size))):
        raise _Unreadable("has readings whose sizes make no sense")
    size = key_size + value_size
    starts = range(0, len(data), size) if data else ()
    return Readings(source, [(data[at : at + key_size], data[at + key_size : at + size]) for at in starts])


def _fit(source: Source, key_size: int, value_size: int) -> bool:
    """Tell whether keys and values of a sampled map have the sizes that its types need."""
    stride = (source.value_size_bytes + 7) & ~7 if source.per_cpu else value_size
    sizes = zip(source.plans, (key_size, stride), strict=False)
    return all(plan.size_bytes <= size <= plan.max_size_bytes for plan, size in sizes) and not (
        source.per_cpu and value_size % stride
    )


def _swap_lengths(run: Run) -> Run:
    """Return a run of a machine of the other byte order: the length word of each record as this machine has it."""
    data = bytearray(run.data)
    for index in range(4):
        data[index :: run.stride] = run.data[3 - index :: run.stride]
    return Run(bytes(data), run.count, run.stride, run.length, run.mixed)


def read_digest(block: bytes) -> str | None:
    """Return the digest of the package whose run a block begins, or ``None`` if it is no such block."""
    header = parse_header(block)
    if header is None or header.kind != KIND_RUN:
        return None
    try:
        opened = _open_block(header, 0, block[HEADER_SIZE:])
        return _text(_read_document(opened.body)[0], "digest")
    except (_Unreadable, BtfError):
        return None


def _read_document(body: bytes) -> tuple[dict[str, Any], Btf]:
    (size,) = _unpack(DOCUMENT_SIZE, body, 0)
    if size > _MAX_DOCUMENT_SIZE_BYTES:
        raise _Unreadable("its description is too large")
    end = DOCUMENT_SIZE.size + size
    try:
        document = loads(body[DOCUMENT_SIZE.size : end].decode(), dict, float)
    except (ValueError, RecursionError) as error:
        raise _Unreadable("its description is no JSON") from error
    if not isinstance(document, dict):
        raise _Unreadable("its description is no JSON object")
    return document, Btf(body[end:])


def _read_sources(document: dict[str, Any], btf: Btf, raw: bool) -> tuple[Source, ...]:
    sources: list[Source] = []
    type_count = op_count = 0
    for each in _field(document, "sources", list):
        refs = tuple(_read_type(ref) for ref in _field(each, "types", list))
        type_count += max(len(refs), 1)
        if type_count > _MAX_TYPES:
            raise _Unreadable("it has too many types of events")
        value_size_bytes = _number(each, "value_size_bytes")
        sample = None
        if each.get("sample") is not None:
            of = _field(each, "sample", dict)
            kind: Any = _text(of, "kind")
            sample = Sample(_number(of, "interval_ms"), kind, _text(of, "unit"), _field(of, "clear", bool))
            if len(refs) not in (0, 2) or not value_size_bytes:
                raise _Unreadable("it has a sampled map that makes no sense")
        source = make_source(btf, _text(each, "name"), refs, sample, _field(each, "per_cpu", bool), value_size_bytes, raw=raw)
        op_count += sum(len(plan.ops) for plan in source.plans)
        if op_count > _MAX_OPS:
            raise _Unreadable("its types have too many members")
        if any(not op.name.isprintable() for plan in source.plans for op in plan.ops):
            raise _Unreadable("its types have members whose names are no identifiers")
        sources.append(source)
    return tuple(sources)


def _read_type(ref: object) -> TypeRef:
    members = [
        (_text(each, "name"), _number(each, "type_id"), _number(each, "byte_offset")) for each in _field(ref, "members", list)
    ]
    meanings = _field(ref, "meanings", dict) if isinstance(ref, dict) and "meanings" in ref else {}
    if not all(isinstance(word, str) for word in meanings.values()):
        raise _Unreadable("it has meanings that are no words")
    return TypeRef(_number(ref, "type_id"), tuple(members), meanings)


def _unpack(layout: struct.Struct, data: bytes, at: int) -> tuple[Any, ...]:
    try:
        return layout.unpack_from(data, at)
    except struct.error as error:
        raise _Unreadable("is too short") from error


def _field(document: object, name: str, kind: type[T]) -> T:
    value = document.get(name) if isinstance(document, dict) else None
    if type(value) is not kind:
        raise _Unreadable(f"its description has no {name!r} of type {kind.__name__}")
    return value


def _number(document: object, name: str) -> int:
    value = _field(document, name, int)
    if not 0 <= value < 1 << 31:
        raise _Unreadable(f"{name!r} in its description is out of range")
    return value


def _text(document: object, name: str) -> str:
    """Return a text with what a terminal might obey escaped, and what is no Unicode."""
    value = _field(document, name, str)
    return value if value.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in value)


def _seconds(time_ns: int) -> float:
    return min(max(time_ns, 0), _MAX_TIME_NS) / 1e9
