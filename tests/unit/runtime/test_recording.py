"""Recordings: what is read is what was written, and what is damaged is told."""

from __future__ import annotations

import fcntl
import io
import os
import resource
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ecli_runtime.decode.events import EventDecoder
from ecli_runtime.errors import RecordingError
from ecli_runtime.read.run import Run
from ecli_runtime.recorder import Recorder
from ecli_runtime.recording import Loss, MapLoss, RecordedRun, Recording
from ecli_runtime.recording_content import map_stats
from ecli_runtime.recording_format import HEADER_SIZE, MAGIC, make_block
from ecli_runtime.stream import NOT_DECODED, OUTPUT_SLOW, RING_BUFFER_FULL, Readings, Samples, Stats
from tests.recordings import (
    STATS,
    MadeStacks,
    as_version_1,
    blocks,
    event_payload,
    make_chunks,
    make_info,
    make_stack_chunks,
    make_stack_info,
    read,
    record,
)

if TYPE_CHECKING:
    from ecli_runtime.stream import Chunk

INFO = make_info()
CHUNKS = make_chunks(INFO.sources)
EVENTS = [event for chunk in CHUNKS for event in EventDecoder().events(chunk)]


def recorded(tmp_path: Path, rounds: list[list[Chunk]]) -> bytes:
    path = tmp_path / "file"
    record(path, INFO, rounds)
    return path.read_bytes()


@pytest.fixture
def one_block_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> bytes:
    """A recording whose chunks are in blocks of their own."""
    monkeypatch.setattr("ecli_runtime.recorder._BLOCK_SIZE_BYTES", 1)
    return recorded(tmp_path, [CHUNKS])


def first_run(data: bytes) -> RecordedRun:
    return next(Recording(io.BytesIO(data), "file", pytest.fail).runs())


def test_what_is_read_is_what_was_written(tmp_path: Path) -> None:
    events, losses, warnings = read(recorded(tmp_path, [CHUNKS[:3], [], CHUNKS[3:]]))
    assert events == EVENTS
    assert [(event.source.name, event.type_name) for event in events] == [(e.source.name, e.type_name) for e in EVENTS]
    assert not losses
    assert not warnings


def test_samples_and_readings_are_kept_as_they_are(tmp_path: Path) -> None:
    for before, after in zip(CHUNKS, first_run(recorded(tmp_path, [CHUNKS])).chunks(), strict=True):
        if isinstance(before, Samples):
            assert isinstance(after, Samples)
            assert after.plan == before.plan
            assert [getattr(after.run, name) for name in Run.__slots__] == [getattr(before.run, name) for name in Run.__slots__]
        else:
            assert isinstance(before, Readings)
            assert isinstance(after, Readings)
            assert after.entries == list(before.entries)


def test_stacks_are_kept_with_their_names(tmp_path: Path) -> None:
    info = make_stack_info()
    path = tmp_path / "file"
    chunks = make_stack_chunks(info.sources)
    record(path, info, [chunks])
    events, losses, warnings = read(path.read_bytes())
    assert (losses, warnings) == ([], [])
    assert [event.get("kern_stack_id", 0) for event in events] == [
        *[["vfs_read", r"entry\x1b[2J"]] * 2,
        *[["vfs_write", r"entry\x1b[2J"]] * 2,
        *[None] * 2,
        *[0] * 3,
    ]
    assert [event["ustack"] for event in events[:6:2]] == [["u1", "u2"], ["u3"], []]
    assert [event["kernel_stack"] for event in events[6:]] == [["schedule"]] * 3
    assert [event["user_stack"] for event in events[6:]] == [["work", "main"], ["work", "main"], None]
    assert first_run(path.read_bytes()).sources == info.sources


def test_stacks_are_in_each_block_that_needs_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ecli_runtime.recorder._BLOCK_AGE_NS", 0)
    info = make_stack_info()
    path = tmp_path / "file"
    chunks = make_stack_chunks(info.sources)[:1]
    record(path, info, [chunks, chunks, chunks])
    first, _damaged, *rest = blocks(path.read_bytes())
    events, _losses, _warnings = read(first + b"".join(rest))
    assert [event["ustack"] for event in events] == [["u1", "u2"]] * 4


def test_a_large_profile_is_kept_in_parts(tmp_path: Path) -> None:
    info = make_stack_info()
    busy = info.sources[1]
    keys = [struct.pack("=Iii", number, 1, 2) for number in range(10_000)]
    frames: dict[tuple[int, bytes], list[tuple[str, str]] | None] = {}
    for number, key in enumerate(keys):
        frames[0, key], frames[1, key] = [], [(f"f{number}", "prog"), ("main", "prog")]
    record(tmp_path / "file", info, [[Readings(busy, [(key, bytes(8)) for key in keys], MadeStacks(frames))]])
    events, _losses, warnings = read((tmp_path / "file").read_bytes())
    assert not warnings
    assert [event["user_stack"][0] for event in events] == [f"f{number}" for number in range(10_000)]


def test_a_stack_that_many_samples_have_is_not_shown_all_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = make_stack_info()
    record(tmp_path / "file", info, [make_stack_chunks(info.sources)])
    data = (tmp_path / "file").read_bytes()
    monkeypatch.setattr("ecli_runtime.recording_content.MAX_NAMES_SIZE", 100)
    samples = [chunk for chunk in first_run_with_warnings(data).chunks() if isinstance(chunk, Samples)]
    assert [chunk.run.count for chunk in samples] == [1, 1, 1, 1, 2]
    monkeypatch.setattr("ecli_runtime.recording_content.MAX_NAMES_SIZE", 20)
    _events, _losses, warnings = read(data)
    assert any("stacks that are too large to be shown" in text for text in warnings)


def first_run_with_warnings(data: bytes) -> RecordedRun:
    return next(Recording(io.BytesIO(data), "file", lambda _text: None).runs())


def test_version_1_is_read(tmp_path: Path) -> None:
    data = as_version_1(recorded(tmp_path, [CHUNKS]))
    assert read(data) == (EVENTS, [], [])
    assert first_run(data).sources == INFO.sources
    (tmp_path / "file").write_bytes(data)
    both = recorded(tmp_path, [CHUNKS])  # and a run can be added
    assert both.startswith(data)
    assert read(both) == (EVENTS * 2, [], [])


def test_the_run_is_described(tmp_path: Path) -> None:
    run = first_run(recorded(tmp_path, [CHUNKS]))
    assert (run.package, run.digest, run.options) == (INFO.package, INFO.digest, INFO.options)
    assert run.sources == INFO.sources
    system = os.uname()
    assert (run.machine, run.kernel_release, run.kernel_version) == (system.machine, system.release, system.version)
    before, ended_before = run.taken_at, run.ended
    list(run.chunks())
    assert (ended_before, run.ended) == (False, True)
    assert before <= run.taken_at < before + 60
    assert run.stats == STATS


def test_losses_are_told_where_they_were_noticed(tmp_path: Path) -> None:
    path = tmp_path / "file"
    maps = (
        map_stats("events", 15, {RING_BUFFER_FULL: 5, NOT_DECODED: 2}, 1.0, 4096),
        map_stats("unknown", 0, {OUTPUT_SLOW: 1 << 40}, 0.25, 8192),
    )
    with Recorder(str(path), INFO, lambda: STATS.replace(maps=maps), pytest.fail) as recorder:
        for chunks in recorder.tee(iter([iter(CHUNKS[:1]), iter(CHUNKS[1:2]), iter(())])):
            for _chunk in chunks:
                pass
            recorder.note_loss("events", RING_BUFFER_FULL, 4)
        recorder.note_loss("unknown", OUTPUT_SLOW, 1 << 40)
        recorder.note_loss("events", NOT_DECODED, 2)
    run = first_run(path.read_bytes())
    items = list(run.chunks())
    four = MapLoss("events", RING_BUFFER_FULL, 4)
    assert [item for item in items if isinstance(item, MapLoss)] == [
        *[four] * 3,
        MapLoss("unknown", OUTPUT_SLOW, 1 << 40),
        MapLoss("events", NOT_DECODED, 2),
    ]
    assert [isinstance(item, MapLoss) for item in items[:4]] == [False, True, False, True]
    assert run.stats == STATS.replace(lost=5 + (1 << 40), undecoded=2, maps=maps)


def test_losses_of_blocks_that_are_missing_are_told_at_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ecli_runtime.recorder._BLOCK_AGE_NS", 0)
    path = tmp_path / "file"
    maps = (map_stats("events", 15, {RING_BUFFER_FULL: 7}, 1.0, 4096),)
    with Recorder(str(path), INFO, lambda: STATS.replace(maps=maps), pytest.fail) as recorder:
        for lost, chunks in zip((3, 4), recorder.tee(iter([iter(CHUNKS[:1])] * 2)), strict=False):
            list(chunks)
            recorder.note_loss("events", RING_BUFFER_FULL, lost)
    first, _missing, *rest = blocks(path.read_bytes())
    _events, losses, warnings = read(first + b"".join(rest))
    assert losses == [MapLoss("events", RING_BUFFER_FULL, 4), MapLoss("events", RING_BUFFER_FULL, 3)]
    assert len(warnings) == 1


def test_version_1_has_losses_of_all_maps_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ecli_runtime.recorder._BLOCK_AGE_NS", 0)
    counts = [0]

    def rounds() -> Iterator[list[Chunk]]:
        for lost in (0, 3, 3, 8):
            counts[:] = [lost]
            yield CHUNKS[:1]

    path = tmp_path / "file"
    record(path, INFO, rounds(), lambda: STATS.replace(lost=counts[0], undecoded=counts[0] // 3))
    run = first_run(as_version_1(path.read_bytes()))
    items = list(run.chunks())
    assert (run.stats.lost, run.stats.undecoded, run.stats.maps) == (8, 2, ())
    assert [(item.lost, item.undecoded) if isinstance(item, Loss) else () for item in items] == [(), (), (3, 1), (), (), (5, 1)]


@pytest.mark.parametrize("lost", [-1, 1 << 70])
def test_a_program_may_count_what_it_wants(tmp_path: Path, lost: int) -> None:
    path = tmp_path / "file"
    record(path, INFO, [CHUNKS], lambda: STATS.replace(lost=lost))
    assert read(path.read_bytes())[0] == EVENTS


def test_runs_are_added_to_a_recording_of_the_same_package(tmp_path: Path) -> None:
    one = recorded(tmp_path, [CHUNKS])
    both = recorded(tmp_path, [CHUNKS[:1]])
    assert both.startswith(one)
    assert read(both)[0] == [*EVENTS, *EVENTS[:5]]
    assert read(one + both)[0] == [*EVENTS, *EVENTS, *EVENTS[:5]]  # as cat joins them
    runs = list(Recording(io.BytesIO(both), "file", pytest.fail).runs())  # and what is not read is passed over
    assert [run.package for run in runs] == ["tool", "tool"]


def test_a_run_is_added_after_what_a_crash_has_left(tmp_path: Path) -> None:
    path = tmp_path / "file"
    whole = recorded(tmp_path, [CHUNKS])
    *begin, end = blocks(whole)
    for cut in (1, HEADER_SIZE, len(end) - 1):
        path.write_bytes(b"".join(begin) + end[:cut])
        record(path, INFO, [CHUNKS])
        events, _, warnings = read(path.read_bytes())
        assert events == EVENTS * 2
        assert warnings == ["the run was not recorded to its end; what it did last is missing"]
    path.write_bytes(whole[:50])
    assert recorded(tmp_path, [CHUNKS])[:8] == MAGIC
    assert read(path.read_bytes())[0] == EVENTS


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"x", "exists and is no recording"),
        (b"{}\n" * 100, "exists and is no recording"),
        (MAGIC + bytes(100), "damaged at its beginning"),
    ],
)
def test_other_files_are_not_written_to(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(RecordingError, match=message) as caught:
        record(path, INFO, [CHUNKS])
    assert caught.value.hint
    assert path.read_bytes() == content


def test_recordings_of_other_packages_are_not_written_to(tmp_path: Path) -> None:
    before = recorded(tmp_path, [CHUNKS])
    with pytest.raises(RecordingError, match=r"is of another package \(sha256:00ff\)"):
        record(tmp_path / "file", INFO.replace(digest="sha256:11"), [CHUNKS])
    assert (tmp_path / "file").read_bytes() == before


def test_two_runs_at_once_need_two_files(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with path.open("wb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(RecordingError, match="another run is being recorded"):
            record(path, INFO, [])


def test_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none" / "file", Path("/dev/full")):
        with pytest.raises(RecordingError, match="cannot record to") as caught:
            record(path, INFO, [])
        assert caught.value.hint


def test_only_the_owner_may_read_it(tmp_path: Path) -> None:
    recorded(tmp_path, [])
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o600


def test_a_pipe_can_be_recorded_to(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    with subprocess.Popen(["cat", path], stdout=subprocess.PIPE) as reader:
        record(path, INFO, [CHUNKS])
        data, _ = reader.communicate(timeout=30)
    assert read(data) == (EVENTS, [], [])


@contextmanager
def file_size_limit(size_bytes: int) -> Iterator[None]:
    """Let files grow only to a size: as a full disk does, writing fails there."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_leaves_a_gap_that_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ecli_runtime.recorder._BLOCK_AGE_NS", 0)
    path = tmp_path / "file"
    shown: list[Chunk] = []
    warnings: list[str] = []

    def run() -> None:
        with Recorder(str(path), INFO, lambda: STATS, warnings.append) as recorder:
            rounds = recorder.tee(iter([iter(CHUNKS[:1]) for _ in range(4)]))
            shown.extend(next(rounds))
            size_bytes = path.stat().st_size  # the first round is written when the next is asked for
            with file_size_limit(size_bytes + 150):
                for _ in range(2):
                    shown.extend(next(rounds))
            shown.extend(next(rounds))
            assert next(rounds, None) is None

    with pytest.raises(RecordingError, match="lacks 5 events") as caught:
        run()
    assert caught.value.hint
    assert shown == CHUNKS[:1] * 4
    assert "cannot write to" in warnings[0]
    assert "can be written again; it lacks 5 events" in warnings[1]
    assert len(warnings) == 2
    events, losses, damage = read(path.read_bytes())
    assert events == EVENTS[:5] * 3
    assert [loss.unrecorded for loss in losses if isinstance(loss, Loss)] == [5]
    assert not damage


def test_an_exception_in_the_run_comes_first(tmp_path: Path) -> None:
    path = tmp_path / "file"

    def run() -> None:
        with Recorder(str(path), INFO, lambda: STATS, pytest.fail) as recorder:
            for chunks in recorder.tee(iter([iter(CHUNKS)])):
                list(chunks)
                raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        run()
    assert read(path.read_bytes()) == (EVENTS, [], [])


def test_large_runs_and_readings_are_divided(tmp_path: Path) -> None:
    events, hists = INFO.sources[0], INFO.sources[3]
    many = [event_payload(pid, b"x") for pid in range(300_000)]
    entries = [(number.to_bytes(4, sys.byteorder), bytes(12)) for number in range(300_000)]
    chunks: list[Chunk] = [Samples(events, events.plans[0], Run.of(many)), Readings(hists, entries)]
    found = list(first_run(recorded(tmp_path, [chunks])).chunks())
    runs = [chunk.run for chunk in found if isinstance(chunk, Samples)]
    assert len(runs) > 1
    assert [payload for run in runs for payload in run.payloads()] == many
    assert [entry for chunk in found if isinstance(chunk, Readings) for entry in chunk.entries] == entries


def test_a_sample_of_many_megabytes_is_counted_as_not_recorded(tmp_path: Path) -> None:
    unknown = INFO.sources[1]
    path = tmp_path / "file"
    with pytest.raises(RecordingError, match="lacks 1 event"):
        record(path, INFO, [[Samples(unknown, None, Run.of([bytes(9 << 20)])), CHUNKS[3]]])
    events, losses, _ = read(path.read_bytes())
    assert [event["data"] for event in events] == ["616263"]
    assert [loss.unrecorded for loss in losses if isinstance(loss, Loss)] == [1]


@pytest.mark.parametrize("byteorder", ["little", "big"])
def test_either_byte_order_is_read(tmp_path: Path, byteorder: str) -> None:
    info = make_info(byteorder)
    events = info.sources[0]
    records = bytearray()
    for pid in range(4):
        length = 20 | (0x4000_0000 if pid == 2 else 0)
        records += length.to_bytes(4, "little" if byteorder == "little" else "big") + bytes(4)
        records += event_payload(pid, b"sh", byteorder) + bytes(4)
    run = Run(bytes(records), 4, 32, 20, mixed=True)
    path = tmp_path / "file"
    # It writes what the machine gave: the number of live records in it is not asked for here.
    block_run = Samples(events, events.plans[0], run)
    record(path, info, [[block_run]])
    assert [event["pid"] for event in read(path.read_bytes())[0]] == [0, 1, 3]


def test_a_recording_that_breaks_off_gives_all_whole_blocks(one_block_each: bytes) -> None:
    whole = list(blocks(one_block_each))
    ends = [sum(map(len, whole[: count + 1])) for count in range(len(whole))]
    counts = [sum(1 for _ in EventDecoder().events(chunk)) for chunk in CHUNKS]
    for size in range(len(MAGIC), len(one_block_each)):
        events, _, warnings = read(one_block_each[:size])
        complete = sum(end <= size for end in ends)
        assert events == EVENTS[: sum(counts[: max(complete - 1, 0)])]
        assert warnings
        if size not in ends:
            assert f"breaks off at byte {size}" in warnings[0]


@pytest.mark.parametrize("size", range(len(MAGIC)))
def test_less_than_the_magic_number_is_no_recording(one_block_each: bytes, size: int) -> None:
    with pytest.raises(RecordingError, match="is no recording" if size else "is empty") as caught:
        read(one_block_each[:size])
    assert "--record" in caught.value.hint


def test_damage_costs_the_block_that_it_hits(one_block_each: bytes) -> None:
    whole = list(blocks(one_block_each))
    counts = [0, *(sum(1 for _ in EventDecoder().events(chunk)) for chunk in CHUNKS), 0]
    at = len(whole[0])
    for number, block in enumerate(whole[1:], 1):
        before = sum(counts[:number])
        for index in range(len(block)):
            damaged = bytearray(one_block_each)
            damaged[at + index] ^= 0x10
            events, _, warnings = read(bytes(damaged))
            assert events == EVENTS[:before] + EVENTS[before + counts[number] :]
            assert f"byte {at}" in warnings[0]
        at += len(block)


def test_the_blocks_of_a_run_without_its_beginning_are_left_out(one_block_each: bytes) -> None:
    first, *rest = blocks(one_block_each)
    damaged = first[:-1] + bytes([first[-1] ^ 1])
    events, _, warnings = read(damaged + b"".join(rest) + one_block_each)
    assert events == EVENTS
    assert len(warnings) == 2
    assert f"the blocks from byte {len(first)} on" in warnings[1]


def test_a_block_that_is_missing_is_noticed(one_block_each: bytes) -> None:
    whole = list(blocks(one_block_each))
    events, _, warnings = read(b"".join(whole[:2] + whole[3:]))
    assert len(events) == len(EVENTS) - 4
    assert "some are missing" in warnings[0]


def test_a_bomb_is_not_inflated(one_block_each: bytes) -> None:
    first, *_ = blocks(one_block_each)
    run = first_run(one_block_each)
    bomb, _ = make_block(2, int.from_bytes(first[28:32], "little"), 1, bytes(64 << 20))
    assert run.package == "tool"
    _, _, warnings = read(first + bomb)
    assert any("too large" in text for text in warnings)


def test_newer_formats_are_told(one_block_each: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ecli_runtime.recording.READABLE_VERSIONS", (3,))
    with pytest.raises(RecordingError, match="format 2, which is not known") as caught:
        read(one_block_each)
    assert "newer" in caught.value.hint


def test_stats_of_a_run_that_did_not_end(one_block_each: bytes) -> None:
    *begin, _end = blocks(one_block_each)
    warnings: list[str] = []
    run = next(Recording(io.BytesIO(b"".join(begin)), "file", warnings.append).runs())
    list(run.chunks())
    assert run.stats.replace(maps=()) == Stats(len(EVENTS), len(EVENTS), 0, 0, 0.0, run.stats.seconds)
    assert {each.name: each.received for each in run.stats.maps} == {
        "events": 11,
        "unknown": 1,
        "parts": 1,
        "hists": 2,
        "counts": 1,
    }
    assert 0 <= run.stats.seconds < 60
