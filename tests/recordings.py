"""Recordings made by hand, so that tests need no kernel: of a ring buffer, of one whose type is not known, and of two maps."""

from __future__ import annotations

import io
import json
import struct
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ecli_runtime.btf import Btf
from ecli_runtime.decode.events import Event, EventDecoder
from ecli_runtime.decode.stacks import stack_members
from ecli_runtime.read.run import Run
from ecli_runtime.recorder import Recorder, RunInfo
from ecli_runtime.recording import Loss, MapLoss, Recording
from ecli_runtime.recording_format import (
    DOCUMENT_SIZE,
    HEADER_SIZE,
    KIND_END,
    KIND_RUN,
    STATE,
    TOTALS,
    make_block,
    parse_header,
)
from ecli_runtime.stream import Readings, Samples, Source, Stats, TypeRef, make_source
from ecli_schemas.model import Sample, StackTrace
from tests.btf_builder import BtfBuilder

if TYPE_CHECKING:
    from ecli_runtime.decode.stacks import Frame
    from ecli_runtime.stream import Chunk

STATS = Stats(9, 10, 0, 0, 0.5, 2.5)


def make_info(byteorder: str = sys.byteorder) -> RunInfo:
    """Return a run's description, of an object of some byte order."""
    builder = BtfBuilder(byteorder)
    u32, char = builder.integer("unsigned int", 4), builder.integer("char", 1, signed=True)
    event = builder.struct("event", 20, ("pid", u32, 0), ("comm", builder.array(char, 16), 32))
    small = builder.struct("small", 4, ("x", u32, 0))
    hist = builder.struct("hist", 12, ("slots", builder.array(u32, 3), 0))
    btf = Btf(builder.section())
    sources = (
        make_source(btf, "events", (TypeRef(event), TypeRef(small, meanings={"x": "bytes"}))),
        make_source(btf, "unknown", ()),
        make_source(btf, "parts", (TypeRef(0, (("b", u32, 4), ("a", u32, 0))),)),
        make_source(btf, "hists", (TypeRef(u32), TypeRef(hist)), Sample(1000, "log2_hist", "usecs"), value_size_bytes=12),
        make_source(btf, "counts", (TypeRef(u32), TypeRef(small)), Sample(500, clear=True), per_cpu=True, value_size_bytes=4),
    )
    return RunInfo("tool", "sha256:00ff", {"only_pid": 7, "name": "sh", "ratio": 0.5, "on": True}, btf, sources)


def event_payload(pid: int, comm: bytes, byteorder: str = sys.byteorder) -> bytes:
    return pid.to_bytes(4, "little" if byteorder == "little" else "big") + comm.ljust(16, b"\0")


def make_chunks(sources: Sequence[Source]) -> list[Chunk]:
    """Return chunks of all kinds."""
    events, unknown, parts, hists, counts = sources
    payloads = [event_payload(pid, b"sh") for pid in range(5)]
    whole = Run.of(payloads)
    discarded = bytearray(whole.data)
    discarded[whole.stride + 3] |= 0x40  # the second record, where the first byte is the lowest
    return [
        Samples(events, events.plans[0], whole),
        Samples(events, events.plans[0], Run(bytes(discarded), whole.count, whole.stride, whole.length, mixed=True)),
        Samples(events, events.plans[1], Run.of([b"\1\0\0\0", b"\2\0\0\0"])),
        Samples(unknown, None, Run.of([b"abc"])),
        Samples(parts, parts.plans[0], Run.of([b"\1\0\0\0\2\0\0\0"])),
        Readings(hists, [(b"\0\0\0\0", bytes(range(12))), (b"\1\0\0\0", bytes(12))]),
        Readings(counts, [(b"\0\0\0\0", b"\5\0\0\0pad.\6\0\0\0pad.")]),
        Readings(counts, []),
    ]


class MadeStacks:
    """What stacks are called, made by hand."""

    def __init__(self, frames: dict[tuple[int, bytes], list[Frame] | None]) -> None:
        self._frames = frames

    def keys(self) -> Iterable[tuple[int, bytes]]:
        return self._frames.keys()

    def frames(self, member: int, key: bytes) -> list[Frame] | None:
        return self._frames[member, key]

    def comm(self, key: bytes) -> str:
        return f"process {key[0]}"


def make_stack_info() -> RunInfo:
    """Return a run's description: events with a stack by its id and one by its addresses, and a map that counts stacks."""
    builder = BtfBuilder()
    u32, s32, u64 = builder.integer("unsigned int", 4), builder.integer("int", 4, signed=True), builder.integer("long", 8)
    event = builder.struct(
        "event", 32, ("pid", u32, 0), ("kern_stack_id", s32, 32), ("ustack_sz", u64, 64), ("ustack", builder.array(u64, 2), 128)
    )
    key = builder.struct("key", 12, ("pid", u32, 0), ("kstack", s32, 32), ("ustack", s32, 64))
    btf = Btf(builder.section())
    profile = StackTrace().replace(comm="name")
    sources = (
        make_source(btf, "events", (TypeRef(event),), stack_kinds=("id", "array")),
        make_source(btf, "busy", (TypeRef(key), TypeRef(u64)), Sample(1000), value_size_bytes=8, stacks=profile),
    )
    return RunInfo("tool", "sha256:00ff", {}, btf, sources)


def make_stack_chunks(sources: Sequence[Source]) -> list[Chunk]:
    """Return events and a reading; the second event has the first one's id, which means another stack by then."""
    events, busy = sources
    found: list[Chunk] = []
    for name, addresses in (("read", (1, 2)), ("write", (3, 0)), ("lost", (0, 0))):
        payload = struct.pack("=IiqQQ", 7, 5, 8 * len(addresses), *addresses)
        kernel, user = (member.key(payload) for member in stack_members(events.plans[0]))
        kernel_frames = None if name == "lost" else [(f"vfs_{name}", "kernel"), ("entry\x1b[2J", "kernel")]
        stacks = MadeStacks({(0, kernel): kernel_frames, (1, user): [(f"u{number}", "prog") for number in addresses if number]})
        found.append(Samples(events, events.plans[0], Run.of([payload, payload]), stacks))
    keys = [struct.pack("=Iii", pid, 1, 2) for pid in range(3)]
    names: dict[tuple[int, bytes], list[Frame] | None] = {}
    for each in keys:
        names[0, each], names[1, each] = [("schedule", "kernel")], [("work", "prog"), ("main", "prog")]
    names[1, keys[2]] = None
    entries = [(each, number.to_bytes(8, sys.byteorder)) for number, each in enumerate(keys, 1)]
    return [*found, Readings(busy, entries, MadeStacks(names))]


def record(
    path: Path,
    info: RunInfo,
    rounds: Iterable[Iterable[Chunk]],
    stats: Callable[[], Stats] = lambda: STATS,
    warn: Callable[[str], object] = lambda _text: None,
) -> None:
    """Record rounds of chunks to a file."""
    with Recorder(str(path), info, stats, warn) as recorder:
        for chunks in recorder.tee(map(iter, rounds)):
            for _chunk in chunks:
                pass


def read(data: bytes) -> tuple[list[Event], list[Loss | MapLoss], list[str]]:
    """Return what is in a recording: events, losses and warnings."""
    events: list[Event] = []
    losses: list[Loss | MapLoss] = []
    warnings: list[str] = []
    for run in Recording(io.BytesIO(data), "file", warnings.append).runs():
        decoder = EventDecoder()
        for chunk in run.chunks():
            if isinstance(chunk, (Loss, MapLoss)):
                losses.append(chunk)
            else:
                events += decoder.events(chunk)
    return events, losses, warnings


def blocks(data: bytes) -> Iterator[bytes]:
    """Yield the blocks of a recording that is whole."""
    at = 0
    while at < len(data):
        header = parse_header(data[at : at + HEADER_SIZE])
        assert header is not None
        yield data[at : at + HEADER_SIZE + header.size_bytes]
        at += HEADER_SIZE + header.size_bytes


def as_version_1(data: bytes) -> bytes:
    """Return a recording of one run, without loss and stacks, as version 1 of the format has it."""
    found = []
    run: int | None = None
    for block in blocks(data):
        header = parse_header(block)
        assert header is not None
        body = zlib.decompress(block[HEADER_SIZE:])
        if header.kind == KIND_RUN:
            (size,) = DOCUMENT_SIZE.unpack_from(body, STATE.size)
            at = STATE.size + DOCUMENT_SIZE.size
            document = json.loads(body[at : at + size])
            for source in document["sources"]:
                del source["stack_kinds"], source["stack_trace"]
            text = json.dumps(document).encode()
            body = body[: STATE.size] + DOCUMENT_SIZE.pack(len(text)) + text + body[at + size :]
        elif header.kind == KIND_END:
            body = body[: STATE.size + TOTALS.size]
        old, run = make_block(header.kind, run, header.sequence, body, version=1)
        found.append(old)
    return b"".join(found)
