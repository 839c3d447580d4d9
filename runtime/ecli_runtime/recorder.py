"""Writing recordings: a run's chunks, as they are, into blocks of at most a second.

A recorder never ends a run. What cannot be written, to a disk that is full for example, is left out and counted, and the next
block that can be written says how much that was.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import stat
import time
from contextlib import suppress

from ecli_runtime.errors import RecordingError
from ecli_runtime.read.run import Run
from ecli_runtime.recording import read_digest
from ecli_runtime.recording_content import STACK_TRACE_MEMBERS
from ecli_runtime.recording_format import (
    DOCUMENT_SIZE,
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
    MAX_STACK_ENTRIES,
    NO_TYPE,
    STATE,
    TOTALS,
    make_block,
    parse_header,
    stack_digest,
)
from ecli_runtime.stream import HANDLER_REASONS, REASONS, Samples, Stats, TextLines
from ecli_schemas.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from types import TracebackType
    from typing import Any

    from typing_extensions import Self

    from ecli_runtime.btf import Btf
    from ecli_runtime.decode.stacks import Frame
    from ecli_runtime.stream import Chunk, MapStats, Readings, Source
    from ecli_schemas.model import Json

# A block is written when it has this size, or is this old: a run comes by at least ten times a second, so none waits longer
# than a second.
_BLOCK_SIZE_BYTES = 1 << 20
_BLOCK_AGE_NS = 900_000_000

# What is larger than this is divided, so that it fits into a block beside what is there already.
_ITEM_SIZE_BYTES = MAX_BODY_SIZE_BYTES // 4

_MAX_COUNT = (1 << 64) - 1


class RunInfo(Record):
    """What a recording says about its run.

    Attributes:
        package: Name of the package.
        digest: SHA-256 of its file: ``sha256:…``.
        options: Options that were set, by the names of their variables.
        btf: The object's types.
        sources: The maps that events come from.
    """

    package: str
    digest: str
    options: Mapping[str, Json]
    btf: Btf
    sources: tuple[Source, ...]


class Recorder:
    """Records one run. Use it as a context manager, inside that of the run.

    Args:
        path: File to write; a recording of the same package gets the run added.
        info: What it says about the run.
        stats: Returns what the run has done so far.
        warn: Called when something cannot be recorded, and when it can be again.

    Raises:
        RecordingError: The file cannot be written, is no recording, is one of another package, or another run is writing it;
            or, when the context is left without another exception, the recording lacks something.
    """

    def __init__(self, path: str, info: RunInfo, stats: Callable[[], Stats], warn: Callable[[str], object]) -> None:
        self._path, self._stats, self._warn = path, stats, warn
        self._source_numbers = {source.name: number for number, source in enumerate(info.sources)}
        self._fd, self._end = _open(path, info)
        self._run: int | None = None
        self._sequence = 0
        self._parts: list[bytes] = []
        self._size_bytes = self._event_count = self._begun_ns = 0
        self._unrecorded = 0
        self._losses: dict[tuple[int, int], int] = {}  # in the block that is being made, by source and reason
        # What the block that is being made says of stacks, by source, type and what the stack is known by.
        self._told: dict[tuple[int, int, int, bytes], Sequence[Frame] | None] = {}
        self._failing = ""
        try:
            self._write(KIND_RUN, _describe(info))
        except OSError as error:
            os.close(self._fd)
            raise _failure(path, error) from error

    def tee(self, rounds: Iterator[Iterator[Chunk]]) -> Iterator[Iterator[Chunk]]:
        """Pass on the rounds of a run, and record what is taken from them."""
        for chunks in rounds:
            yield map(self._add, chunks)
            if self._parts and time.monotonic_ns() - self._begun_ns >= _BLOCK_AGE_NS:
                self._flush()

    def _add(self, chunk: Chunk) -> Chunk:
        if isinstance(chunk, TextLines):  # no events, and there is no telling them from a text of anything: they are not kept
            self._unrecorded += len(chunk.lines)
            return chunk
        now_ns = time.monotonic_ns()
        number = self._source_numbers[chunk.source.name]
        if isinstance(chunk, Samples):
            kind = NO_TYPE if chunk.plan is None else chunk.source.plans.index(chunk.plan)
            for run in _divide_run(chunk.run):
                flags = FLAG_MIXED if run.mixed else 0
                header = ITEM.pack(ITEM_SAMPLES, flags, number, kind, run.length, run.stride, run.count, now_ns)
                stacks = () if chunk.stacks is None else self._stack_items(chunk, chunk.stacks.keys(), number, kind, now_ns)
                self._put(now_ns, run.live, *stacks, header, run.data)
        else:
            for entries in _divide_readings(chunk):
                key_size, value_size = (len(part) for part in entries[0]) if entries else (0, 0)
                header = ITEM.pack(ITEM_READINGS, 0, number, NO_TYPE, key_size, value_size, len(entries), now_ns)
                stacks = ()
                if chunk.stacks is not None:
                    known_by = [(member, key) for key, _value in entries for member in (0, 1)]
                    stacks = self._stack_items(chunk, known_by, number, NO_TYPE, now_ns)
                self._put(now_ns, len(entries), *stacks, header, *(part for entry in entries for part in entry))
        return chunk

    def _stack_items(
        self, chunk: Samples | Readings, known_by: Iterable[tuple[int, bytes]], number: int, kind: int, now_ns: int
    ) -> tuple[bytes, ...]:
        """Return header and data of what says how stacks are called that this block has not told yet, if there are any."""
        assert chunk.stacks is not None
        numbers: dict[Frame, int] = {}
        stacks: list[list[Any]] = []
        comms: dict[str, str] = {}
        for member, key in known_by:
            frames = chunk.stacks.frames(member, key)
            digest = stack_digest(key)
            told = (number, kind, member, digest)
            if self._told.get(told, ()) == frames and told in self._told:
                continue
            self._told[told] = frames
            indexes = None if frames is None else [numbers.setdefault(frame, len(numbers)) for frame in frames]
            stacks.append([member, digest.hex(), indexes])
            if kind == NO_TYPE:
                comms[digest.hex()] = chunk.stacks.comm(key)
        if not stacks:
            return ()
        data = json.dumps({"frames": list(numbers), "stacks": stacks, "comms": comms}, separators=(",", ":")).encode()
        return ITEM.pack(ITEM_STACKS, 0, number, kind, len(data), 0, 1, now_ns), data

    def note_loss(self, map_name: str, why: str, count: int) -> None:
        """Record that samples of a map are missing, here in the stream.

        Args:
            map_name: Name of the map.
            why: One of :data:`~ecli_runtime.stream.REASONS`. What is lost in event handlers is in the recording, and not noted.
            count: How many, on top of what was noted before.
        """
        if why in HANDLER_REASONS:
            return
        self._put_loss((self._source_numbers[map_name], REASONS.index(why)), min(count, _MAX_COUNT))

    def _put_loss(self, known_by: tuple[int, int], count: int) -> None:
        now_ns = time.monotonic_ns()
        self._losses[known_by] = min(self._losses.get(known_by, 0) + count, _MAX_COUNT)
        header = ITEM.pack(ITEM_LOSS, 0, *known_by, LOST_COUNT.size, 0, 1, now_ns)
        self._keep(now_ns, 0, header, LOST_COUNT.pack(count))

    def _put(self, now_ns: int, event_count: int, *parts: bytes) -> None:
        size_bytes = sum(map(len, parts))
        if size_bytes > MAX_BODY_SIZE_BYTES // 2:  # a single sample of several megabytes
            self._unrecorded += event_count
            return
        self._keep(now_ns, event_count, *parts)
        if self._size_bytes >= _BLOCK_SIZE_BYTES:
            self._flush()

    def _keep(self, now_ns: int, event_count: int, *parts: bytes) -> None:
        if not self._parts:
            self._begun_ns = now_ns
        self._parts += parts
        self._size_bytes += sum(map(len, parts))
        self._event_count += event_count

    def _flush(self) -> None:
        body, event_count = b"".join(self._parts), self._event_count
        losses = self._losses
        self._parts, self._size_bytes, self._event_count, self._losses = [], 0, 0, {}
        self._told.clear()
        try:
            self._write(KIND_DATA, body)
        except OSError as error:
            self._unrecorded += event_count
            for known_by, count in losses.items():  # events are gone, but not that some were lost
                self._put_loss(known_by, count)
            if not self._failing:
                self._warn(f"cannot write to {self._path}: {error.strerror}; events are not recorded until that works again")
            self._failing = error.strerror or str(error)
        else:
            if self._failing:
                self._warn(f"{self._path} can be written again; it lacks {_events(self._unrecorded)}")
            self._failing = ""

    def _write(self, kind: int, content: bytes) -> None:
        """Write a block, whole or not at all.

        Raises:
            OSError: It cannot be written.
        """
        stats = self._stats()
        clocks = time.time_ns(), time.monotonic_ns(), time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        lost = min(max(stats.lost, 0), _MAX_COUNT)  # the program's own count may be anything
        state = STATE.pack(*clocks, lost, stats.undecoded, self._unrecorded)
        block, run = make_block(kind, self._run, self._sequence, state + content)
        try:
            left = memoryview(block)
            while left:
                left = left[os.write(self._fd, left) :]
        except OSError:
            _truncate(self._fd, self._end)
            raise
        self._end += len(block)
        self._run, self._sequence = run, self._sequence + 1

    def close(self) -> None:
        """Write what is left and how the run ended, and wait until the disk has it; a second call does nothing."""
        if self._fd < 0:
            return
        if self._parts:
            self._flush()
        stats = self._stats()
        try:
            totals = TOTALS.pack(stats.events, stats.received, stats.occupancy, stats.seconds)
            self._write(KIND_END, totals + self._describe_maps(stats))
            _sync(self._fd)
        except OSError as error:
            self._failing = error.strerror or str(error)
        finally:
            os.close(self._fd)
            self._fd = -1

    def _describe_maps(self, stats: Stats) -> bytes:
        by_name = {each.name: each for each in stats.maps}
        maps = [_describe_map(by_name[name]) if name in by_name else None for name in self._source_numbers]
        return json.dumps({"maps": maps}, separators=(",", ":")).encode()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
        if kind is None and (self._unrecorded or self._failing):
            lacks = _events(self._unrecorded) if self._unrecorded else "how the run ended"
            reason = f": {self._failing}" if self._failing else ""
            raise RecordingError(f"{self._path} lacks {lacks}{reason}", "`ecli-py replay` shows what there is")


def _events(count: int) -> str:
    return f"{count} event{'' if count == 1 else 's'}"


def _failure(path: str, error: OSError) -> RecordingError:
    return RecordingError(f"cannot record to {path}: {error.strerror}", "name a file in a directory that can be written")


def _open(path: str, info: RunInfo) -> tuple[int, int]:
    """Open a file to add a run to it; return its descriptor, and where the run begins."""
    try:
        is_regular = not os.path.exists(path) or stat.S_ISREG(os.stat(path).st_mode)
        # A pipe that is opened for reading too never tells that its reader has gone.
        access = os.O_RDWR | os.O_CREAT if is_regular else os.O_WRONLY
        fd = os.open(path, access | os.O_APPEND | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise _failure(path, error) from error
    try:
        return fd, _prepare(fd, path, info) if is_regular else 0
    except OSError as error:
        os.close(fd)
        raise _failure(path, error) from error
    except BaseException:
        os.close(fd)
        raise


def _prepare(fd: int, path: str, info: RunInfo) -> int:
    """Check that a file is empty or a recording of the same package, cut a block that is not whole off, return its size."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise RecordingError(f"another run is being recorded to {path}", "name another file") from error
    size_bytes, head = os.fstat(fd).st_size, os.pread(fd, HEADER_SIZE, 0)
    if size_bytes and not head.startswith(MAGIC):
        raise RecordingError(f"{path} exists and is no recording", "name another file, or remove it")
    end = _end_of_blocks(fd, size_bytes)
    if end:
        first = parse_header(head)
        digest = None if first is None else read_digest(os.pread(fd, HEADER_SIZE + first.size_bytes, 0))
        if digest is None:
            raise RecordingError(f"{path} is damaged at its beginning", "name another file")
        if digest != info.digest:
            raise RecordingError(f"{path} is of another package ({digest})", "name another file, or remove it")
    if end < size_bytes:
        os.ftruncate(fd, end)
    return end


def _end_of_blocks(fd: int, size_bytes: int) -> int:
    """Return where a block begins that is not whole, as a crash leaves it; if there is none, the size."""
    at = 0
    while at + HEADER_SIZE <= size_bytes:
        header = parse_header(os.pread(fd, HEADER_SIZE, at))
        if header is None:
            return size_bytes  # damaged, and no end to be seen; readers find the next run
        if at + HEADER_SIZE + header.size_bytes > size_bytes:
            break
        at += HEADER_SIZE + header.size_bytes
    return at


def _truncate(fd: int, size_bytes: int) -> None:
    with suppress(OSError):  # a pipe cannot be cut; readers find the next block
        os.ftruncate(fd, size_bytes)


def _sync(fd: int) -> None:
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a pipe has no disk
            raise


def _divide_run(run: Run) -> Iterator[Run]:
    step = max(_ITEM_SIZE_BYTES // run.stride, 1)
    if run.count <= step:
        yield run
        return
    for first in range(0, run.count, step):
        data = run.data[first * run.stride : (first + step) * run.stride]
        yield Run(data, len(data) // run.stride, run.stride, run.length, run.mixed)


def _divide_readings(readings: Readings) -> Iterator[Sequence[tuple[bytes, bytes]]]:
    entries = readings.entries
    size_bytes = sum(map(len, entries[0])) if entries else 0
    step = MAX_STACK_ENTRIES if readings.stacks is not None else max(_ITEM_SIZE_BYTES // max(size_bytes, 1), 1)
    for first in range(0, max(len(entries), 1), step):
        yield entries[first : first + step]


def _describe(info: RunInfo) -> bytes:
    """Return the content of a run's first block."""
    system = os.uname()
    document = {
        "package": info.package,
        "digest": info.digest,
        "machine": system.machine,
        "kernel_release": system.release,
        "kernel_version": system.version,
        "options": dict(info.options),
        "sources": [_describe_source(source) for source in info.sources],
    }
    text = json.dumps(document, separators=(",", ":")).encode()
    return DOCUMENT_SIZE.pack(len(text)) + text + info.btf.section()


def _describe_map(stats: MapStats) -> dict[str, Any]:
    return {
        "received": stats.received,
        "occupancy": min(float(stats.occupancy), 1.0),
        "size_bytes": stats.size_bytes,
        "reasons": {why: min(count, _MAX_COUNT) for why, count in stats.reasons},
    }


def _describe_source(source: Source) -> dict[str, Any]:
    sample, stacks = source.sample, source.stacks
    return {
        "name": source.name,
        "types": [
            {
                "type_id": ref.type_id,
                "members": [dict(zip(("name", "type_id", "byte_offset"), member, strict=True)) for member in ref.members],
                **({"meanings": dict(ref.meanings)} if ref.meanings else {}),
            }
            for ref in source.types
        ],
        "sample": sample and {"interval_ms": sample.interval_ms, "kind": sample.kind, "unit": sample.unit, "clear": sample.clear},
        "stack_kinds": list(source.stack_kinds),
        "stack_trace": stacks and {name: getattr(stacks, name) for name in STACK_TRACE_MEMBERS},
        "per_cpu": source.per_cpu,
        "value_size_bytes": source.value_size_bytes,
    }
