"""Recordings are untrusted: any bytes give events, warnings or one clear error."""

from __future__ import annotations

import contextlib
import io
import json
import struct
import tempfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hypothesis import given, settings
from hypothesis import strategies as st

from ecli_py.cli import main
from ecli_runtime.decode.events import EventDecoder
from ecli_runtime.read.run import Run
from ecli_runtime.recorder import Recorder
from ecli_runtime.recording_content import map_stats
from ecli_runtime.recording_format import (
    DOCUMENT_SIZE,
    HEADER_SIZE,
    ITEM,
    ITEM_STACKS,
    STATE,
    TOTALS,
    make_block,
    parse_header,
)
from ecli_runtime.stream import Readings, Samples
from tests.recordings import STATS, blocks, make_chunks, make_info, make_stack_chunks, make_stack_info, read, record
from tests.strategies import json_values

if TYPE_CHECKING:
    from ecli_runtime.recorder import RunInfo
    from ecli_runtime.stream import Chunk

INFO, STACK_INFO = make_info(), make_stack_info()
DOCUMENT_AT = STATE.size + DOCUMENT_SIZE.size
REASONS_LOST = {"ring buffer full": 7, "not decoded": 1}


class Whole:
    """A recording of two runs, with loss, and its parts."""

    def __init__(self, info: RunInfo, chunks: list[Chunk]) -> None:
        self.info = info
        maps = tuple(map_stats(source.name, 9, REASONS_LOST, 0.5, 4096) for source in info.sources[1:])
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory) / "file"
            for _ in range(2):
                with Recorder(str(path), info, lambda: STATS.replace(maps=maps), lambda _text: None) as recorder:
                    for each in recorder.tee(iter([iter(chunks)])):
                        list(each)
                    recorder.note_loss(info.sources[0].name, "ring buffer full", 1 << 40)
            self.data = path.read_bytes()
        self.bodies = [(parse_header(block), zlib.decompress(block[HEADER_SIZE:])) for block in blocks(self.data)]
        first = self.bodies[0][1]
        (length,) = DOCUMENT_SIZE.unpack_from(first, STATE.size)
        self.document = json.loads(first[DOCUMENT_AT : DOCUMENT_AT + length])
        self.before_btf, self.btf = first[: DOCUMENT_AT + length], first[DOCUMENT_AT + length :]

    def block_with(self, index: int, body: bytes) -> bytes:
        """Return a whole block in the place of another, with another body."""
        header = self.bodies[index][0]
        assert header is not None
        return make_block(header.kind, header.run, header.sequence, body)[0]

    def with_body(self, index: int, body: bytes) -> bytes:
        """Return the recording with another body of a block."""
        whole = list(blocks(self.data))
        whole[index] = self.block_with(index, body)
        return b"".join(whole)


WHOLES = [Whole(INFO, make_chunks(INFO.sources)), Whole(STACK_INFO, make_stack_chunks(STACK_INFO.sources))]
wholes = st.sampled_from(WHOLES)


def replay(data: bytes, *options: str) -> None:
    """Replay bytes; an error that is none of ours fails the test."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "file"
        path.write_bytes(data)
        stdout, stderr = io.TextIOWrapper(io.BytesIO(), "utf-8"), io.StringIO()
        with contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr):
            status = main(["replay", str(path), *options])
        stdout.seek(0)
        assert "\x1b" not in stdout.read() + stderr.getvalue()
        assert (status == 1) == stderr.getvalue().rpartition("\nhint: ")[0].rpartition("\n")[2].startswith("error: ")


@st.composite
def damaged(draw: st.DrawFn, data: bytes) -> bytes:
    """Bytes that are changed, cut out or put in at a few places."""
    changed = bytearray(data)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(changed)))
        changed[at : at + draw(st.integers(0, 8))] = draw(st.binary(max_size=8))
    return bytes(changed)


modes = st.sampled_from([(), ("--json",), ("--fields=-pid",), ("--count", "3"), ("--top=1", "--raw")])


@settings(deadline=None)
@given(wholes.flatmap(lambda whole: damaged(whole.data)), modes)
def test_bytes_that_were_changed(data: bytes, options: tuple[str, ...]) -> None:
    replay(data, *options)


@settings(deadline=None)
@given(wholes, st.data(), modes)
def test_blocks_that_are_whole_and_make_no_sense(whole: Whole, data: st.DataObject, options: tuple[str, ...]) -> None:
    index = data.draw(st.integers(0, len(whole.bodies) - 1))
    replay(whole.with_body(index, data.draw(damaged(whole.bodies[index][1]))), *options)


@st.composite
def odd_documents(draw: st.DrawFn, whole: Any) -> bytes:
    """A document in which a value is another, or missing."""
    document = json.loads(json.dumps(whole))
    at: Any = document
    while True:
        key = draw(st.sampled_from(sorted(at) if isinstance(at, dict) else range(len(at))))
        if isinstance(at[key], (dict, list)) and at[key] and draw(st.integers(0, 3)):
            at = at[key]
            continue
        if draw(st.integers(0, 5)):
            at[key] = draw(json_values | st.integers(-(2**70), 2**70))
        else:
            del at[key]
        return json.dumps(document).encode()


@settings(deadline=None)
@given(wholes, st.data(), modes)
def test_descriptions_that_make_no_sense(whole: Whole, data: st.DataObject, options: tuple[str, ...]) -> None:
    document = data.draw(odd_documents(whole.document) | st.binary(max_size=20))
    body = whole.bodies[0][1][: STATE.size] + DOCUMENT_SIZE.pack(len(document)) + document + whole.btf
    replay(whole.with_body(0, body), *options)


@settings(deadline=None)
@given(wholes, st.data(), modes)
def test_types_that_make_no_sense(whole: Whole, data: st.DataObject, options: tuple[str, ...]) -> None:
    replay(whole.with_body(0, whole.before_btf + data.draw(damaged(whole.btf))), *options)


STACKS = {
    "frames": [["schedule", "kernel"], ["main", "prog"]],
    "stacks": [[0, "070000000000000005000000", [0, 1]], [1, "00", None], [0, "ff", []]],
    "comms": {"00": "sh"},
}


@settings(deadline=None)
@given(odd_documents(STACKS) | st.binary(max_size=20), st.integers(0, 2), st.sampled_from([0, 1, 0xFFFF]), modes)
def test_stacks_that_make_no_sense(document: bytes, source: int, kind: int, options: tuple[str, ...]) -> None:
    whole = WHOLES[1]
    body = whole.bodies[1][1]
    item = ITEM.pack(ITEM_STACKS, 0, source, kind, len(document), 0, 1, 0) + document
    replay(whole.with_body(1, body[: STATE.size] + item + body[STATE.size :]), *options)


@settings(deadline=None)
@given(wholes, st.data(), modes)
def test_numbers_of_maps_that_make_no_sense(whole: Whole, data: st.DataObject, options: tuple[str, ...]) -> None:
    body = whole.bodies[2][1]
    at = STATE.size + TOTALS.size
    replay(whole.with_body(2, body[:at] + data.draw(odd_documents(json.loads(body[at:])) | st.binary(max_size=20))), *options)


items = st.lists(
    st.tuples(
        st.builds(
            ITEM.pack,
            st.integers(0, 5),
            st.integers(0, 1),
            st.integers(0, len(INFO.sources)),
            st.integers(0, 6) | st.just(0xFFFF),
            st.integers(0, 40),
            st.integers(0, 6).map(lambda words: words * 8) | st.integers(0, 40),
            st.integers(0, 4),
            st.integers(0, 2**64 - 1),
        ),
        st.binary(max_size=100),
    ).map(b"".join),
    max_size=4,
).map(b"".join)
times = st.integers(0, 2**64 - 1)
states = st.builds(STATE.pack, times, times, times, times, times, times)


@settings(deadline=None)
@given(wholes, states, items, modes)
def test_items_that_make_no_sense(whole: Whole, state: bytes, content: bytes, options: tuple[str, ...]) -> None:
    replay(whole.with_body(1, state + content), *options)


@settings(deadline=None)
@given(wholes, st.binary(min_size=32, max_size=32), modes)
def test_totals_that_make_no_sense(whole: Whole, totals: bytes, options: tuple[str, ...]) -> None:
    body = whole.bodies[-1][1]
    replay(whole.with_body(-1, body[: STATE.size] + totals + body[STATE.size + TOTALS.size :]), *options)


@st.composite
def chunks_of_runs(draw: st.DrawFn) -> list[list[Chunk]]:
    """Rounds of chunks as a run may give them."""
    events, unknown, _parts, hists, _counts = INFO.sources
    payloads = st.binary(min_size=20, max_size=60)
    rounds: list[list[Chunk]] = []
    for _ in range(draw(st.integers(0, 4))):
        chunks: list[Chunk] = []
        for _ in range(draw(st.integers(0, 4))):
            first = draw(payloads)
            run = Run.of([first, *draw(st.lists(st.binary(min_size=len(first), max_size=len(first)), max_size=5))])
            if draw(st.booleans()):
                headers = memoryview(bytearray(run.data)).cast("I")
                headers[:: run.stride >> 2] = memoryview(
                    struct.pack(f"={run.count}I", *(run.length | draw(st.booleans()) << 30 for _ in range(run.count)))
                ).cast("I")
                run = Run(headers.tobytes(), run.count, run.stride, run.length, mixed=True)
            reading = Readings(
                hists, draw(st.lists(st.tuples(st.binary(min_size=4, max_size=4), st.just(bytes(12))), max_size=4))
            )
            choices: list[Chunk] = [Samples(events, events.plans[0], run), Samples(unknown, None, run), reading]
            chunks.append(draw(st.sampled_from(choices)))
        rounds.append(chunks)
    return rounds


@settings(deadline=None)
@given(chunks_of_runs())
def test_what_is_read_is_what_was_written(rounds: list[list[Chunk]]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "file"
        record(path, INFO, rounds)
        events, losses, warnings = read(path.read_bytes())
    decoder = EventDecoder()
    assert events == [event for chunks in rounds for chunk in chunks for event in decoder.events(chunk)]
    assert not losses
    assert not warnings
