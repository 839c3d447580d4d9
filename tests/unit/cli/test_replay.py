"""``ecli-py replay`` and the Python API of recordings, without a kernel."""

from __future__ import annotations

import json
import re
import sys
import time
from pathlib import Path

import pytest

import ecli_py
from ecli_runtime.btf import Btf
from ecli_runtime.read.run import Run
from ecli_runtime.recorder import Recorder, RunInfo
from ecli_runtime.recording_content import map_stats
from ecli_runtime.recording_format import MAGIC
from ecli_runtime.stream import NOT_DECODED, RING_BUFFER_FULL, Readings, Samples, TypeRef, make_source
from ecli_schemas.errors import EcliError
from tests.btf_builder import BtfBuilder
from tests.cli import Ecli, wait_until
from tests.handler_modules import EMIT, handler
from tests.imports import imported_by, others, ours
from tests.recordings import STATS, as_version_1, blocks, make_chunks, make_info, record

INFO = make_info()
CHUNKS = make_chunks(INFO.sources)
# What only Linux has, or what loads libbpf.
LINUX = {"ctypes", "fcntl", "mmap", "resource", "select"}
KERNEL = ("ecli_runtime.libbpf", "ecli_runtime.opening", "ecli_runtime.session", "ecli_runtime.recorder", "ecli_runtime.read.")
NONE_LOST = "16 events, 0 lost, 2.5 s"


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    path = tmp_path / "tool.rec"
    record(path, INFO, [CHUNKS])
    return path


def test_json_lines(ecli: Ecli, recording: Path) -> None:
    outcome = ecli("replay", recording, "--json")
    assert outcome.status == 0, outcome.stderr
    assert outcome.events[:2] == [{"@map": "events", "@type": "event", "pid": pid, "comm": "sh"} for pid in range(2)]
    assert outcome.events[-1] == {"@map": "counts", "key": 0, "value": [{"x": 5}, {"x": 6}]}
    title, closing = outcome.stderr.splitlines()
    assert re.match(r"tool of \d{4}-\d\d-\d\d \d\d:\d\d:\d\d on Linux ", title)
    assert title.endswith(", only_pid=7, name='sh', ratio=0.5, on=True")
    assert closing == NONE_LOST


def test_text_shows_when_samples_were_taken(ecli: Ecli, recording: Path) -> None:
    taken = time.time()
    wait_until(lambda: time.time() > taken + 1.1, "the next second")
    for zone in ("UTC", "ABC-13:17"):
        ecli.environment = {"TZ": zone}
        outcome = ecli("replay", recording)
        assert outcome.status == 0, outcome.stderr
        began = outcome.stderr.split()[3]
        shown = {line.split()[0] for line in outcome.stdout.splitlines() if re.match(r"\d\d:\d\d:\d\d ", line)}
        assert shown == {began}
    assert began != time.strftime("%H:%M:%S", time.gmtime(taken))


def test_fields_and_count(ecli: Ecli, recording: Path) -> None:
    outcome = ecli("replay", recording, "--fields", "comm,pid", "--count=2")
    assert [line.split()[2:] for line in outcome.stdout.splitlines()] == [["COMM", "PID"], ["sh", "0"], ["sh", "1"]]
    assert outcome.closing_line.startswith("2 events, 0 lost, ")
    ecli("replay", recording, "--fields", "com").fails("there is no member 'com'", "did you mean comm?")
    ecli("replay", recording, "--count", "0").fails("--count")


def test_values_have_meanings_unless_they_are_to_be_raw(ecli: Ecli, tmp_path: Path) -> None:
    builder = BtfBuilder()
    address = builder.typedef("__be32", builder.integer("unsigned int", 4))
    btf = Btf(builder.section())
    source = make_source(btf, "out", (TypeRef(0, (("daddr", address, 0),)),))
    path = tmp_path / "file"
    record(path, RunInfo("tool", "sha256:1", {}, btf, (source,)), [[Samples(source, source.plans[0], Run.of([b"\x0a\0\0\1"]))]])
    assert ecli("replay", path, "--json").events == [{"daddr": "10.0.0.1"}]
    assert ecli("replay", path, "--json", "--raw").events == [{"daddr": int.from_bytes(b"\x0a\0\0\1", sys.byteorder)}]
    with ecli_py.open_recording(path) as replay:
        assert list(replay.events()) == [{"daddr": "10.0.0.1"}]


def test_standard_input(ecli: Ecli, recording: Path) -> None:
    assert ecli("replay", "-", "--json", stdin=recording.read_bytes()) == ecli("replay", recording, "--json")


def test_count_goes_over_runs(ecli: Ecli, recording: Path) -> None:
    record(recording, INFO, [CHUNKS])
    outcome = ecli("replay", recording, "--json", "--count", "17")
    assert len(outcome.events) == 17
    assert outcome.stderr.splitlines()[1] == NONE_LOST
    assert outcome.closing_line.startswith("1 event, 0 lost, ")


def test_what_breaks_off_is_shown_with_a_warning(ecli: Ecli, recording: Path) -> None:
    recording.write_bytes(recording.read_bytes()[:-1])
    outcome = ecli("replay", recording, "--json")
    assert outcome.status == 0
    assert len(outcome.events) == 16
    _title, breaks_off, unfinished, *_maps, closing = outcome.stderr.splitlines()
    assert (
        breaks_off == f"warning: the recording breaks off at byte {recording.stat().st_size}, 1 bytes before the end of a block"
    )
    assert unfinished == "warning: the run was not recorded to its end; what it did last is missing"
    assert closing.startswith("16 events, 0 lost, ")


def test_damage_is_shown_with_its_place(ecli: Ecli, recording: Path) -> None:
    first, block, end = blocks(recording.read_bytes())
    recording.write_bytes(first + block[:-1] + bytes([block[-1] ^ 1]) + end)
    outcome = ecli("replay", recording, "--json")
    assert (outcome.status, outcome.stdout) == (0, "")
    assert f"warning: the block at byte {len(first)} is damaged; left out\n" in outcome.stderr


def test_losses_of_version_1_are_shown(ecli: Ecli, tmp_path: Path) -> None:
    path = tmp_path / "file"
    looks = [STATS, STATS.replace(lost=7, undecoded=1)]
    record(path, INFO, [CHUNKS], lambda: looks.pop(0) if len(looks) > 1 else looks[0])
    path.write_bytes(as_version_1(path.read_bytes()))
    _title, loss, closing = ecli("replay", path).stderr.splitlines()
    assert re.fullmatch(r"warning: between \d\d:\d\d:\d\d and \d\d:\d\d:\d\d: 7 lost, 1 not decoded", loss)
    assert closing == "15 events, 7 lost, 1 not decoded, 2.5 s"  # text leaves out the one histogram that counts nothing


def test_losses_are_shown_as_the_run_did(ecli: Ecli, tmp_path: Path) -> None:
    path = tmp_path / "file"
    maps = (
        map_stats("events", 12, {RING_BUFFER_FULL: 5, NOT_DECODED: 2}, 1.0, 4096),
        map_stats("hists", 2, {}),
    )
    with Recorder(str(path), INFO, lambda: STATS.replace(maps=maps), pytest.fail) as recorder:
        for chunks in recorder.tee(iter([iter(CHUNKS[:1]), iter(CHUNKS[2:3])])):
            for _chunk in chunks:
                pass
            recorder.note_loss("events", RING_BUFFER_FULL, 2)
        recorder.note_loss("events", RING_BUFFER_FULL, 1)
        recorder.note_loss("events", NOT_DECODED, 2)
    outcome = ecli("replay", path, "--json", "--where=pid < 2")
    assert outcome.status == 0, outcome.stderr
    places = [json.loads(line).get("@lost", "event") for line in outcome.stdout.splitlines()]
    full = {"map": "events", "count": 2, "why": "ring buffer full"}
    assert places == ["event", "event", full, full, {**full, "count": 1}, {"map": "events", "count": 2, "why": "not decoded"}]
    said = ["lost: events 2 (ring buffer full)"] * 2 + ["lost: events 1 (ring buffer full)", "lost: events 2 (not decoded)"]
    assert outcome.stderr.splitlines()[1:] == [
        *said,
        "warning: the buffer of map events (4K) was full; --ring-size events=16K makes it larger",
        "events: 7 of 12 events, 5 lost, 2 not decoded, at most 100% full",
        "hists: 2 of 2 events, 0 lost",
        "2 of 7 events, 5 lost, 2 not decoded, 2.5 s",
    ]
    text = ecli("replay", path)
    assert "lost" not in text.stdout
    assert [line for line in text.stderr.splitlines() if line.startswith("lost: ")] == said


@pytest.mark.parametrize("content", [b"", b"\x89", b"{}", b"\x7fELF" + bytes(100)])
def test_what_is_no_recording(ecli: Ecli, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    ecli("replay", path).fails("is empty" if not content else "is no recording", "ecli-py run --record FILE")
    with pytest.raises(EcliError, match=r"is empty|is no recording"):
        ecli_py.open_recording(path)


def test_files_that_cannot_be_read(ecli: Ecli, tmp_path: Path) -> None:
    ecli("replay", tmp_path / "none").fails("cannot read", "No such file")
    ecli("replay", tmp_path).fails("cannot read", "Is a directory")


def test_it_needs_neither_libbpf_nor_linux(recording: Path) -> None:
    for option in ("--json", "--fields=value"):
        modules = imported_by("replay", recording, option)
        assert {name for name in ours(modules) if name.startswith(KERNEL)} == {"ecli_runtime.read.run"}
        assert not others(modules) & LINUX


def test_events_from_python(recording: Path) -> None:
    with ecli_py.open_recording(recording) as replay:
        first = list(replay.events(count=3))
        assert [event["pid"] for event in first] == [0, 1, 2]
        assert first[0].source.name == "events"
        assert replay.run is not None
        assert replay.run.options == INFO.options
        assert replay.stats.events == 3
        assert len(list(replay.events())) == 13
        assert replay.stats == STATS.replace(events=16)
    replay.close()


def test_damage_is_a_python_warning(recording: Path) -> None:
    recording.write_bytes(recording.read_bytes()[:-1])
    with ecli_py.open_recording(recording) as replay, pytest.warns(UserWarning, match="breaks off|not recorded to its end"):
        assert len(list(replay.events())) == 16


def test_a_beginning_of_a_recording_has_no_events(ecli: Ecli, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(MAGIC)
    outcome = ecli("replay", path)
    assert (outcome.status, outcome.stdout) == (0, "")
    assert outcome.stderr == "warning: the recording breaks off at byte 8, in the header of a block\n"


def test_a_reading_in_parts_is_sorted_as_a_whole(ecli: Ecli, tmp_path: Path) -> None:
    count = 400_000  # more than is written in one piece
    hists = INFO.sources[3]
    entries = [(number.to_bytes(4, sys.byteorder), number.to_bytes(4, sys.byteorder) * 3) for number in range(count)]
    small = Readings(hists, entries[:2])
    record(tmp_path / "file", INFO, [[Readings(hists, entries)], [small]])
    outcome = ecli("replay", "file", "--json", "--top", "2")
    assert outcome.status == 0, outcome.stderr
    assert [event["key"] for event in outcome.events] == [count - 1, count - 2, 1, 0]


def test_events_pass_through_handlers(ecli: Ecli, recording: Path) -> None:
    """One drops odd process ids, the next says how many events it was given."""
    odd = handler("(if (local.get $type) (then (return (i32.const 0)))) (i32.and (i32.load (local.get $at)) (i32.const 1))")
    more = """(global $count (mut i32) (i32.const 48))
      (func (export "ecli_finish") (result i32)
        (i32.store8 (i32.const 0) (global.get $count)) (call $emit (i32.const -1) (i32.const 0) (i32.const 1)))"""
    count = handler(
        "(if (i32.eqz (local.get $type)) (then (global.set $count (i32.add (global.get $count) (i32.const 1))))) (i32.const 0)",
        EMIT,
        more,
    )
    (ecli.directory / "odd.wasm").write_bytes(odd)
    (ecli.directory / "count.wasm").write_bytes(count)
    outcome = ecli("replay", recording, "--json", "--handler", "odd.wasm", "--handler", "count.wasm")
    assert outcome.status == 0, outcome.stderr
    assert [event["pid"] for event in outcome.events if "pid" in event] == [0, 2, 4, 0, 2, 4]
    assert outcome.events[-1] == {"handler": "count", "line": "6"}
    assert "\nhandler odd: " in outcome.stderr
    assert re.match(r"\d+ of \d+ events, 0 lost", outcome.closing_line)
    (ecli.directory / "trap.wasm").write_bytes(handler("unreachable"))
    stopped = ecli("replay", recording, "--json", "--handler", "trap.wasm")
    assert (stopped.status, stopped.stdout) == (1, "")
    assert "error: handler trap trapped: " in stopped.stderr
    (ecli.directory / "maps.wasm").write_bytes(
        handler("(i32.const 0)", '(import "ecli.lookup" "events" (func (param i32 i32 i32 i32) (result i32)))')
    )
    ecli("replay", recording, "--handler", "maps.wasm").fails("handler maps asks for map events, which is not there")
