"""Event handlers without a kernel: what they may do with events, with both kinds of calls."""

from __future__ import annotations

import json
from typing import Any

from ecli_runtime.read.run import Run
from tests.handler_modules import BUFFER, EMIT, LOG, Host, handler, host, numbers, payloads, records, results, run_of

__all__ = ["host"]

KEEP, DROP = "(i32.const 0)", "(i32.const 1)"
ODD = "(i32.and (i32.load (local.get $at)) (i32.const 1))"  # drops odd numbers
COUNTER = "(global $count (mut i32) (i32.const 0))"


def test_events_are_kept_as_they_are(host: Host) -> None:
    made = host.make(handler(KEEP))
    run = run_of(*range(5000))
    assert results(made, run) == [(0, payload) for payload in run.payloads()]
    assert (made.counts.seen, made.counts.kept, made.counts.left_out) == (5000, 5000, 0)


def test_events_are_left_out(host: Host) -> None:
    made = host.make(handler(ODD))
    assert numbers(results(made, run_of(*range(10)))) == [0, 2, 4, 6, 8]
    assert (made.counts.seen, made.counts.kept, made.counts.left_out) == (10, 5, 5)
    assert results(host.make(handler(DROP)), run_of(1, 2)) == []


def test_events_are_changed_in_place(host: Host) -> None:
    body = "(i32.store offset=4 (local.get $at) (i32.add (i32.load (local.get $at)) (local.get $type))) (i32.const 0)"
    made = host.make(handler(body))
    assert [data for _type, data in results(made, run_of(5, 6, size=16), 1)] == [
        b"\5\0\0\0\6\0\0\0" + bytes(8),
        b"\6\0\0\0\7\0\0\0" + bytes(8),
    ]


def test_odd_sizes_and_what_lies_behind_them(host: Host) -> None:
    """Bytes behind the buffer are the handler's own; padding of a record is zeros."""
    check = "(i32.ne (i32.load8_u (i32.add (local.get $at) (local.get $size))) (i32.const 170))"
    for size in (1, 7, 15, 16, 17, 31, 33, 511, 512, 513, 4097):
        mark = f'(data (i32.const {1024 + size}) "\\aa")'
        made = host.make(handler(check, more=mark))
        events = [bytes([index & 255]) * size for index in range(1, 4)]
        assert results(made, Run.of(events)) == [(0, event) for event in events], size


def test_discarded_records_are_not_shown(host: Host) -> None:
    run = run_of(1, 2, 3)
    data = bytearray(run.data)
    data[run.stride + 3] |= 0x40
    made = host.make(handler(KEEP))
    assert numbers(results(made, Run(bytes(data), 3, run.stride, 8, mixed=True))) == [1, 3]
    assert made.counts.seen == 2


def test_emitted_events_and_text_are_in_their_order(host: Host) -> None:
    """Before each event that it keeps, the handler emits another of a second type and a text."""
    body = f"""
      (drop (call $emit (i32.const 1) (i32.const 64) (i32.const 16)))
      (drop (call $emit (i32.const -1) (i32.const 0) (i32.const 5)))
      {ODD}"""
    made = host.make(handler(body, EMIT, '(data (i32.const 0) "hello")'))
    found = results(made, run_of(1, 2))
    assert found == [(1, bytes(16)), (-1, b"hello"), (1, bytes(16)), (-1, b"hello"), (0, payloads(2)[0])]
    assert (made.counts.emitted, made.counts.left_out) == (4, 1)


def test_many_kept_and_emitted_in_one_batch(host: Host) -> None:
    body = "(drop (call $emit (i32.const -1) (i32.const 0) (i32.and (i32.load (local.get $at)) (i32.const 7)))) (i32.const 0)"
    made = host.make(handler(body, EMIT))
    found = results(made, run_of(*range(9000)))
    assert numbers(found) == list(range(9000))
    assert [len(data) for type_, data in found if type_ == -1] == [number & 7 for number in range(9000)]


def test_ticks_and_the_end(host: Host) -> None:
    more = f"""{COUNTER}
      (func (export "ecli_tick") (param $now i64) (result i32)
        (drop (i64.div_u (i64.const 1) (local.get $now)))
        (i32.store (i32.const 8) (global.get $count))
        (call $emit (i32.const 0) (i32.const 8) (i32.const 8)))
      (func (export "ecli_finish") (result i32) (call $emit (i32.const -1) (i32.const 0) (i32.const 3)))
      (data (i32.const 0) "end")"""
    body = "(global.set $count (i32.add (global.get $count) (i32.load (local.get $at)))) (i32.const 1)"
    made = host.make(handler(body, EMIT, more))
    assert results(made, run_of(3, 4)) == []
    assert numbers(records(made.tick())) == [7]
    assert records(made.finish()) == [(-1, b"end")]
    assert host.make(handler(KEEP)).tick() == []


def test_a_negative_number_ends_the_run(host: Host) -> None:
    body = "(if (result i32) (i32.eq (i32.load (local.get $at)) (i32.const 3)) (then (i32.const -7)) (else (i32.const 0)))"
    made = host.make(handler(body))
    assert numbers(results(made, run_of(1, 2, 3, 4))) == [1, 2]
    assert str(made.failure) == "handler small ended the run: ecli_event returned -7"
    assert made.counts.trapped == 2
    assert results(made, run_of(5)) == []


def test_what_it_is_told_at_the_start(host: Host) -> None:
    """It writes what it is told to its log, piece by piece."""
    more = """
      (func (export "ecli_init") (param $at i32) (param $size i32) (result i32)
        (call $log (i32.const 2) (local.get $at) (local.get $size)) (i32.const 0))"""
    host.make(handler(KEEP, LOG, more), options={"pid": "7"})
    told = json.loads(host.said[0].removeprefix("handler small: "))
    assert told["options"] == {"pid": "7"}
    assert told["types"][0] == {
        "number": 0,
        "map": "events",
        "name": "event",
        "size": 8,
        "members": [{"name": "pid", "bit_offset": 0, "bit_size": 32}, {"name": "value", "bit_offset": 32, "bit_size": 32}],
    }


def test_options_types_and_clocks(host: Host) -> None:
    imports = """
      (import "ecli" "option" (func $option (param i32 i32 i32 i32) (result i32)))
      (import "ecli" "type" (func $type (param i32 i32) (result i32)))
      (import "ecli" "now" (func $now (param i32) (result i64)))"""
    body = """
      (i32.store (local.get $at) (call $option (i32.const 0) (i32.const 3) (i32.const 100) (i32.const 2)))
      (i32.store offset=4 (local.get $at) (i32.load16_u (i32.const 100)))
      (i32.store offset=8 (local.get $at) (call $type (i32.const 8) (i32.const 12)))
      (i32.store8 offset=12 (local.get $at) (call $type (i32.const 0) (i32.const 3)))
      (i32.store8 offset=13 (local.get $at) (i64.gt_s (call $now (i32.const 0)) (i64.const 0)))
      (i32.store8 offset=14 (local.get $at) (i64.gt_s (call $now (i32.const 1)) (i64.const 1500000000000000000)))
      (i32.store8 offset=15 (local.get $at) (i64.eq (call $now (i32.const 2)) (i64.const -1)))
      (i32.const 0)"""
    more = '(data (i32.const 0) "pid") (data (i32.const 8) "others/other")'
    made = host.make(handler(body, imports, more), options={"pid": "471"})
    assert results(made, run_of(0, size=16)) == [(0, b"\3\0\0\0" + b"47\0\0" + b"\1\0\0\0" + b"\xff\1\1\1")]


class FakeMap:
    """A map of one entry: as :class:`~ecli_runtime.wasm.handler.maps.MapAccess`."""

    def __init__(self) -> None:
        self.entries = {b"\1\0\0\0": b"value..."}

    def lookup(self, key: bytes) -> bytes | int:
        return self.entries.get(key, -2)

    def next_key(self, key: bytes | None) -> bytes | int:
        return next(iter(self.entries)) if key is None else -2

    def update(self, key: bytes, value: bytes, flags: int) -> int:
        assert flags == (1 << 64) - 1
        self.entries[key] = value
        return 0

    def delete(self, key: bytes) -> int:
        return 0 if self.entries.pop(key, None) else -2


def test_maps_by_name(host: Host) -> None:
    imports = """
      (import "ecli.lookup" "m" (func $lookup (param i32 i32 i32 i32) (result i32)))
      (import "ecli.next" "m" (func $next (param i32 i32 i32 i32) (result i32)))
      (import "ecli.update" "m" (func $update (param i32 i32 i32 i32 i64) (result i32)))
      (import "ecli.delete" "m" (func $delete (param i32 i32) (result i32)))"""
    body = """
      (i32.store8 offset=8 (local.get $at) (call $next (i32.const 0) (i32.const 0) (local.get $at) (i32.const 4)))
      (i32.store8 offset=9 (local.get $at) (call $lookup (local.get $at) (i32.const 4) (i32.const 100) (i32.const 3)))
      (i32.store8 offset=10 (local.get $at) (call $lookup (i32.const 0) (i32.const 4) (i32.const 100) (i32.const 8)))
      (i32.store8 offset=11 (local.get $at) (call $lookup (i32.const -1) (i32.const 4) (i32.const 100) (i32.const 8)))
      (i32.store8 offset=12 (local.get $at) (call $lookup (local.get $at) (i32.const 4) (i32.const -2) (i32.const 8)))
      (i32.store8 offset=13 (local.get $at)
        (call $update (i32.const 200) (i32.const 4) (i32.const 100) (i32.const 3) (i64.const -1)))
      (i32.store8 offset=14 (local.get $at) (call $delete (local.get $at) (i32.const 4)))
      (i32.store8 offset=15 (local.get $at) (call $delete (local.get $at) (i32.const 4)))
      (i32.load8_u (i32.const 103))"""
    fake = FakeMap()
    made = host.make(handler(body, imports), maps={"m": fake})
    assert made.module.asks.reads == ("m",)
    assert made.module.asks.writes == ("m",)
    ((_type, data),) = results(made, run_of(0, size=16))
    assert list(data[8:]) == [4, 8, 254, 242, 242, 0, 0, 254]
    assert fake.entries == {bytes(4): b"val"}


def test_its_log_is_shown_and_not_endless(host: Host) -> None:
    body = "(call $log (i32.load (local.get $at)) (i32.const 0) (i32.const 2)) (i32.const 0)"
    made = host.make(handler(body, LOG, '(data (i32.const 0) "hi")'))
    results(made, run_of(0, 1, 2, 3, *[2] * 100))
    assert host.said[:3] == ["handler small: error: hi", "handler small: warning: hi", "handler small: hi"]
    assert len(host.said) == 19  # one of twenty is for its author


def wasi(name: str, parameters: str, result: str = "(result i32)") -> str:
    return f'(import "wasi_snapshot_preview1" "{name}" (func ${name} (param {parameters}) {result}))'


def test_what_it_gets_of_wasi(host: Host) -> None:
    imports = (
        wasi("fd_write", "i32 i32 i32 i32")
        + wasi("path_open", "i32 i32 i32 i32 i32 i64 i64 i32 i32")
        + wasi("random_get", "i32 i32")
        + wasi("clock_time_get", "i32 i64 i32")
        + wasi("args_sizes_get", "i32 i32")
    )
    body = """
      (i32.store8 (local.get $at) (call $fd_write (i32.const 1) (i32.const 8) (i32.const 1) (i32.const 32)))
      (i32.store8 offset=1 (local.get $at) (call $fd_write (i32.const 3) (i32.const 8) (i32.const 1) (i32.const 32)))
      (i32.store8 offset=2 (local.get $at) (call $path_open (i32.const 3) (i32.const 0) (i32.const 0) (i32.const 0)
        (i32.const 0) (i64.const 0) (i64.const 0) (i32.const 0) (i32.const 0)))
      (i32.store8 offset=3 (local.get $at) (call $random_get (i32.const 40) (i32.const 8)))
      (i32.store8 offset=4 (local.get $at) (call $random_get (i32.const -4) (i32.const 8)))
      (i32.store8 offset=5 (local.get $at) (call $clock_time_get (i32.const 1) (i64.const 0) (i32.const 48)))
      (i32.store8 offset=6 (local.get $at) (call $args_sizes_get (i32.const 40) (i32.const 44)))
      (i32.store8 offset=7 (local.get $at) (i32.load (i32.const 32)))
      (i32.const 0)"""
    more = '(data (i32.const 0) "a line\\0a") (data (i32.const 8) "\\00\\00\\00\\00\\07\\00\\00\\00")'
    made = host.make(handler(body, imports, more))
    assert results(made, run_of(0)) == [(0, bytes([0, 8, 52, 0, 21, 0, 0, 7]))]
    assert host.said == ["handler small: a line"]


def test_room_for_longer_events(host: Host) -> None:
    """The buffer is asked for when longer events come; without room they pass as they are."""
    buffer = f"(if (i32.gt_u (local.get $size) (i32.const 64)) (then (return (i32.const 0)))) {BUFFER}"
    made = host.make(handler(DROP, buffer=buffer))
    assert results(made, run_of(1)) == []
    assert results(made, run_of(1, size=64)) == []
    assert numbers(results(made, run_of(1, 2, size=65))) == [1, 2]
    assert results(made, run_of(1)) == []
    assert made.counts.unseen == 2


def test_a_record_of_several_megabytes_passes(host: Host) -> None:
    run = Run.of([bytes(3 << 20)])
    assert results(host.make(handler(DROP)), run) == [(0, bytes(3 << 20))]


def test_two_handlers_in_two_threads(host: Host) -> None:
    import threading

    found: list[Any] = []

    def work(code: bytes) -> None:
        made = host.make(code)
        found.extend((code, numbers(results(made, run_of(*range(100))))) for _ in range(50))

    threads = [threading.Thread(target=work, args=(handler(body),)) for body in (ODD, KEEP)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 100
    assert {len(kept) for code, kept in found if code == handler(ODD)} == {50}
    assert {len(kept) for code, kept in found if code == handler(KEEP)} == {100}
