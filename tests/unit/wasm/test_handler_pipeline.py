"""Handlers of a run: chunks in, chunks out, and what is counted."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import pytest

from ecli_packager.handler.header import events_header
from ecli_runtime.btf import Btf
from ecli_runtime.decode.events import EventDecoder
from ecli_runtime.errors import WasmError
from ecli_runtime.stream import MapStats, Readings, Samples, Source, Stats, TextLines, TypeRef, make_source
from ecli_runtime.wasm.handler.filter import Settings, summary
from ecli_runtime.wasm.handler.module import HandlerModule
from ecli_runtime.wasm.handler.pipeline import Handlers
from ecli_schemas.model import Sample
from tests.btf_builder import BtfBuilder
from tests.handler_modules import EMIT, handler, samples
from tests.recordings import event_payload, make_info

SOURCES = make_info().sources
EVENTS, UNKNOWN, PARTS, HISTS, COUNTS = SOURCES
DROP_ODD = "(i32.and (i32.load (local.get $at)) (i32.const 1))"
ADD_10 = "(i32.store (local.get $at) (i32.add (i32.load (local.get $at)) (i32.const 10))) (i32.const 0)"
# Emits the number of the type as text, and leaves the event out.
SAY_TYPE = """
  (i32.store8 (i32.const 0) (i32.add (local.get $type) (i32.const 48)))
  (drop (call $emit (i32.const -1) (i32.const 0) (i32.const 1))) (i32.const 1)"""

if TYPE_CHECKING:
    from ecli_runtime.stream import Chunk


@pytest.fixture
def said() -> list[str]:
    return []


def pipeline(
    said: list[str], *codes: bytes, on_trap: Any = "stop", sources: Sequence[Source] = SOURCES, tick_ms: int = 10**6
) -> Handlers:
    modules = [HandlerModule(f"h{index}", code) for index, code in enumerate(codes)]
    return Handlers(modules, sources, Settings(on_trap=on_trap, tick_ms=tick_ms), said.append)


def passed(handlers: Handlers, *rounds: Sequence[Chunk]) -> list[Chunk]:
    return [chunk for chunks in handlers.through(map(iter, rounds)) for chunk in chunks]


def shown(chunks: Sequence[Chunk]) -> Iterator[tuple[str, dict[str, object]]]:
    decoder = EventDecoder()
    for chunk in chunks:
        for event in decoder.events(chunk):
            yield chunk.source.name, dict(event)


def pids(chunks: Sequence[Chunk]) -> list[object]:
    return [event["pid"] for name, event in shown(chunks) if name == "events"]


def events(*numbers: int) -> Samples:
    return samples(EVENTS, *[event_payload(number, b"sh") for number in numbers])


STATS = Stats(
    *(0, 9, 0, 0, 0.0, 1.0, 0),
    tuple(MapStats(source.name, 9, 0, 0, 0, (), 0.0, 4096) for source in SOURCES),
)


def test_handlers_come_one_after_the_other(said: list[str]) -> None:
    with pipeline(said, handler(DROP_ODD), handler(ADD_10)) as handlers:
        assert pids(passed(handlers, [events(1, 2, 3)], [events(4)])) == [12, 14]
        stats = handlers.add_to(STATS)
    assert (stats.filtered, stats.lost) == (2, 0)
    assert [each.filtered for each in stats.maps] == [2, 0, 0, 0, 0]
    assert summary(handlers.handlers[0]).startswith("handler h0: 2 of 4 events kept, ")
    assert said == []


def test_types_have_numbers_in_the_order_of_the_sources(said: list[str]) -> None:
    small = Samples(EVENTS, EVENTS.plans[1], samples(EVENTS, b"\1\0\0\0").run)
    chunks: list[Chunk] = [
        events(1),
        small,
        samples(UNKNOWN, b"abc"),
        samples(PARTS, bytes(8)),
        Readings(HISTS, [(bytes(4), bytes(12))]),
        Readings(COUNTS, [(bytes(4), bytes(16))]),
    ]
    with pipeline(said, handler(SAY_TYPE, EMIT)) as handlers:
        found = [event["line"] for name, event in shown(passed(handlers, chunks)) if name == "h0"]
    assert found == ["0", "1", "2", "3", "4", "5"]


def test_samples_without_a_type_and_text_pass_as_such(said: list[str]) -> None:
    line = TextLines(UNKNOWN, ["a line"])
    with pipeline(said, handler("(i32.const 0)")) as handlers:
        found = passed(handlers, [samples(UNKNOWN, b"abc"), line])
    assert found[1] is line
    assert list(shown(found[:1])) == [("unknown", {"data": "616263"})]


def test_entries_of_maps_have_padded_keys(said: list[str]) -> None:
    """The handler drops entries by their key, and adds to their values, which begin at byte 8."""
    body = "(i32.store offset=8 (local.get $at) (i32.const 7)) (i32.load (local.get $at))"
    reading = Readings(HISTS, [(bytes(4), bytes(12)), (b"\1\0\0\0", bytes(12)), (bytes(4), bytes(range(12)))])
    with pipeline(said, handler(body)) as handlers:
        (found,) = passed(handlers, [reading])
        assert handlers.add_to(STATS).maps[3].filtered == 1
    assert isinstance(found, Readings)
    assert found.entries == [(bytes(4), b"\7" + bytes(11)), (bytes(4), b"\7\0\0\0" + bytes(range(4, 12)))]


def test_entries_that_are_emitted(said: list[str]) -> None:
    body = """
      (drop (call $emit (i32.const 4) (i32.const 0) (i32.const 20)))
      (drop (call $emit (i32.const 4) (i32.const 0) (i32.const 16)))
      (drop (call $emit (i32.const 5) (i32.const 0) (i32.const 24))) (i32.const 1)"""
    with pipeline(said, handler(body, EMIT, '(data (i32.const 0) "key")')) as handlers:
        hist, counts = passed(handlers, [events(1)])
        assert handlers.add_to(STATS).maps[3].reasons == (("handler emitted no valid event", 1),)
    assert isinstance(hist, Readings)
    assert isinstance(counts, Readings)
    assert hist.entries == [(b"key\0", bytes(12))]
    assert counts.entries == [(b"key\0", bytes(16))]


def test_global_variables_are_values_without_a_key(said: list[str]) -> None:
    builder = BtfBuilder()
    u32 = builder.integer("unsigned int", 4)
    btf = Btf(builder.section())
    members = (("hits", u32, 0), ("misses", u32, 8))
    source = make_source(btf, "globals", (TypeRef(0), TypeRef(0, members)), Sample(1000), value_size_bytes=12)
    header = events_header("tool", btf, [source])
    assert "struct globals_entry {\n\tstruct globals_value value;\n}" in header
    reading = Readings(source, [(b"", bytes(12))])
    with pipeline(said, handler(ADD_10), sources=[source]) as handlers:
        (found,) = passed(handlers, [reading])
    assert isinstance(found, Readings)
    assert found.entries == [(b"", b"\n" + bytes(11))]


def test_a_reading_that_is_replaced_by_text(said: list[str]) -> None:
    reading = Readings(COUNTS, [(bytes(4), bytes(16))])
    with pipeline(said, handler(SAY_TYPE, EMIT)) as handlers:
        (text,) = passed(handlers, [reading])
        assert isinstance(text, TextLines)
        assert text.lines == ["5"]
        empty = Readings(COUNTS, [])
    with pipeline(said, handler("(i32.const 1)")) as handlers:
        assert [type(each) for each in passed(handlers, [empty])] == [Readings]


def test_emitted_events_are_of_the_package(said: list[str]) -> None:
    """For each event it emits one of the second type, and one that has no size of any type."""
    body = """(drop (call $emit (i32.const 1) (local.get $at) (i32.const 4)))
      (drop (call $emit (i32.const 1) (local.get $at) (i32.const 3))) (i32.const 1)"""
    with pipeline(said, handler(body, EMIT)) as handlers:
        found = passed(handlers, [events(5, 6)])
        stats = handlers.add_to(STATS)
    assert [event["x"] for _name, event in shown(found)] == [5, 6]
    assert stats.maps[0].reasons == (("handler emitted no valid event", 2),)
    assert stats.lost == 2


def test_a_trap_ends_the_rounds_and_the_rest_is_lost(said: list[str]) -> None:
    body = "(if (i32.eq (i32.load (local.get $at)) (i32.const 3)) (then unreachable)) (i32.const 0)"
    with pipeline(said, handler(body)) as handlers:
        found = passed(handlers, [events(1, 2, 3, 4), events(5)], [events(6)])
        assert pids(found) == [1, 2]
        assert handlers.add_to(STATS).maps[0].reasons == (("handler trapped", 3),)
        with pytest.raises(WasmError, match="handler h0 trapped"):
            handlers.check()


def test_ticks_come_between_rounds(said: list[str]) -> None:
    more = '(func (export "ecli_tick") (param i64) (result i32) (call $emit (i32.const -1) (i32.const 0) (i32.const 2)))'
    with pipeline(said, handler("(i32.const 0)", EMIT, more + '(data (i32.const 0) "ab")'), tick_ms=1) as handlers:
        time.sleep(0.002)
        assert [event for _name, event in shown(passed(handlers, [events(1)]))][1] == {"handler": "h0", "line": "ab"}


def test_what_it_says_at_the_end_is_said_once(said: list[str]) -> None:
    more = '(func (export "ecli_finish") (result i32) (call $emit (i32.const 0) (i32.const 0) (i32.const 20)))'
    with pipeline(said, handler("(i32.const 1)", EMIT, more), handler(ADD_10)) as handlers:
        assert pids(passed(handlers, [events(1)])) == [10]
        assert handlers.finish() == []
        handlers.check()


def test_a_handler_in_front_of_another_that_is_quarantined(said: list[str]) -> None:
    with pipeline(said, handler("unreachable"), handler(ADD_10), on_trap="pass") as handlers:
        found = pids(passed(handlers, [events(*range(150))]))
        assert found == list(range(10, 160))
        assert "quarantined: it trapped 100 times" in summary(handlers.handlers[0])


def test_text_that_is_no_utf8(said: list[str]) -> None:
    body = "(drop (call $emit (i32.const -1) (i32.const 0) (i32.const 3))) (i32.const 1)"
    with pipeline(said, handler(body, EMIT, '(data (i32.const 0) "a\\ff\\0a")')) as handlers:
        (found,) = passed(handlers, [events(1)])
    assert isinstance(found, TextLines)
    assert found.lines == ["a\ufffd", ""]
