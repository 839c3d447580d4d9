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
from ecli_runtime.recording_format import DOCUMENT_SIZE, HEADER_SIZE, ITEM, STATE, make_block, parse_header
from ecli_runtime.stream import Readings, Samples
from tests.recordings import blocks, make_chunks, make_info, read, record
from tests.strategies import json_values

if TYPE_CHECKING:
    from ecli_runtime.stream import Chunk

INFO = make_info()


def make_recording() -> bytes:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "file"
        for _ in range(2):
            record(path, INFO, [make_chunks(INFO.sources)])
        return path.read_bytes()


WHOLE = make_recording()
BODIES = [(parse_header(block), zlib.decompress(block[HEADER_SIZE:])) for block in blocks(WHOLE)]
DOCUMENT_AT = STATE.size + DOCUMENT_SIZE.size
(DOCUMENT_LENGTH,) = DOCUMENT_SIZE.unpack_from(BODIES[0][1], STATE.size)
DOCUMENT = json.loads(BODIES[0][1][DOCUMENT_AT : DOCUMENT_AT + DOCUMENT_LENGTH])
BTF = BODIES[0][1][DOCUMENT_AT + DOCUMENT_LENGTH :]


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


def block_with(index: int, body: bytes) -> bytes:
    """Return a whole block in the place of another, with another body."""
    header = BODIES[index][0]
    assert header is not None
    return make_block(header.kind, header.run, header.sequence, body)[0]


modes = st.sampled_from([(), ("--json",), ("--fields=-pid",), ("--count", "3")])


@settings(deadline=None)
@given(damaged(WHOLE), modes)
def test_bytes_that_were_changed(data: bytes, options: tuple[str, ...]) -> None:
    replay(data, *options)


@settings(deadline=None)
@given(st.integers(0, len(BODIES) - 1), st.data(), modes)
def test_blocks_that_are_whole_and_make_no_sense(index: int, data: st.DataObject, options: tuple[str, ...]) -> None:
    body = data.draw(damaged(BODIES[index][1]))
    whole = list(blocks(WHOLE))
    whole[index] = block_with(index, body)
    replay(b"".join(whole), *options)


@st.composite
def odd_documents(draw: st.DrawFn) -> bytes:
    """A description of a run in which a value is another, or missing."""
    document = json.loads(json.dumps(DOCUMENT))
    at: Any = document
    while True:
        key = draw(st.sampled_from(sorted(at) if isinstance(at, dict) else range(len(at))))
        if isinstance(at[key], (dict, list)) and at[key] and draw(st.booleans()):
            at = at[key]
            continue
        if draw(st.integers(0, 5)):
            at[key] = draw(json_values | st.integers(-(2**70), 2**70))
        else:
            del at[key]
        return json.dumps(document).encode()


@settings(deadline=None)
@given(odd_documents() | st.binary(max_size=20), modes)
def test_descriptions_that_make_no_sense(document: bytes, options: tuple[str, ...]) -> None:
    body = BODIES[0][1][: STATE.size] + DOCUMENT_SIZE.pack(len(document)) + document + BTF
    replay(b"".join([block_with(0, body), *list(blocks(WHOLE))[1:]]), *options)


@settings(deadline=None)
@given(damaged(BTF), modes)
def test_types_that_make_no_sense(btf: bytes, options: tuple[str, ...]) -> None:
    body = BODIES[0][1][: DOCUMENT_AT + DOCUMENT_LENGTH] + btf
    replay(b"".join([block_with(0, body), *list(blocks(WHOLE))[1:]]), *options)


items = st.lists(
    st.tuples(
        st.builds(
            ITEM.pack,
            st.integers(0, 3),
            st.integers(0, 1),
            st.integers(0, len(INFO.sources)),
            st.integers(0, 2) | st.just(0xFFFF),
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
@given(states, items, modes)
def test_items_that_make_no_sense(state: bytes, content: bytes, options: tuple[str, ...]) -> None:
    first, _, *rest = blocks(WHOLE)
    replay(b"".join([first, block_with(1, state + content), *rest]), *options)


@settings(deadline=None)
@given(st.binary(min_size=32, max_size=32), modes)
def test_totals_that_make_no_sense(totals: bytes, options: tuple[str, ...]) -> None:
    whole = list(blocks(WHOLE))
    whole[-1] = block_with(len(whole) - 1, BODIES[-1][1][: STATE.size] + totals)
    replay(b"".join(whole), *options)


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
