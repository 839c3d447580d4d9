"""Event handlers that trap, lie, or want too much: what becomes of the events, and what the user is told."""

from __future__ import annotations

import json
import time

import pytest

from ecli_py.handlers import Choice, check_grants, load_modules, parse_limits
from ecli_runtime.errors import EcliError, WasmError
from ecli_runtime.wasm.handler.module import HandlerModule
from ecli_schemas.model import Package, WasmLimits, WasmModule
from tests.cli import Ecli
from tests.handler_modules import BUFFER, EMIT, Host, handler, host, numbers, records, results, run_of, wat

__all__ = ["host"]

KEEP = "(i32.const 0)"
TRAP_AT_3 = "(if (i32.eq (i32.load (local.get $at)) (i32.const 3)) (then unreachable)) (i32.const 0)"
COUNT_AND_TRAP_AT_3 = f"(global.set $count (i32.add (global.get $count) (i32.const 1))) {TRAP_AT_3}"
SPIN = "(loop $again (br $again)) (i32.const 0)"


def test_a_trap_ends_the_run(host: Host) -> None:
    made = host.make(handler(TRAP_AT_3))
    assert numbers(results(made, run_of(1, 2, 3, 4, 5))) == [1, 2]
    text = str(made.failure)
    assert text.startswith("handler small trapped: wasm `unreachable` instruction executed\n")
    assert "\n  in event through map events: 03 00 00 00 00 00 00 00\n  at event" in text
    assert "--on-trap pass" in (made.failure.hint if made.failure else "")
    assert (made.counts.seen, made.counts.kept, made.counts.trapped) == (3, 2, 3)


def test_after_a_trap_the_event_is_passed_on(host: Host) -> None:
    made = host.make(handler(TRAP_AT_3), "pass")
    assert numbers(results(made, run_of(1, 2, 3, 4))) == [1, 2, 3, 4]
    assert (made.counts.seen, made.counts.kept, made.counts.unseen, made.counts.trapped) == (4, 3, 1, 0)
    assert "unreachable" in host.said[0]
    assert host.said[0].endswith("it begins anew, with nothing of what it had counted")


def test_after_a_trap_the_event_is_dropped_and_counted(host: Host) -> None:
    made = host.make(handler(TRAP_AT_3), "drop")
    assert numbers(results(made, run_of(1, 2, 3, 4, 3))) == [1, 2, 4]
    assert (made.counts.seen, made.counts.kept, made.counts.trapped, made.counts.traps) == (5, 3, 2, 2)


def test_after_a_trap_it_is_another_instance(host: Host) -> None:
    more = """(global $count (mut i32) (i32.const 0))
      (func (export "ecli_finish") (result i32)
        (i32.store (i32.const 0) (global.get $count)) (call $emit (i32.const 0) (i32.const 0) (i32.const 8)))"""
    made = host.make(handler(COUNT_AND_TRAP_AT_3, EMIT, more), "drop")
    results(made, run_of(1, 1, 1, 3, 1, 1))
    assert numbers(records(made.finish())) == [2]


def test_what_was_emitted_before_a_trap_is_kept(host: Host) -> None:
    body = f"(drop (call $emit (i32.const 0) (local.get $at) (local.get $size))) {TRAP_AT_3}"
    assert numbers(results(host.make(handler(body, EMIT), "drop"), run_of(1, 3, 4))) == [1, 1, 3, 4, 4]


def test_a_handler_that_always_traps_is_quarantined(host: Host) -> None:
    made = host.make(handler("unreachable"), "drop")
    found = numbers(results(made, run_of(*range(300))))
    assert made.quarantined == "it trapped 100 times"
    assert found == list(range(99, 300))
    assert made.counts.trapped == 99
    assert len(host.said) == 4
    assert numbers(results(made, run_of(7))) == [7]


def test_a_handler_that_takes_too_long_is_quarantined(host: Host) -> None:
    made = host.make(
        handler(f"(if (i32.eq (i32.load (local.get $at)) (i32.const 3)) (then {SPIN.rpartition('(')[0]})) {KEEP}"), batch_ms=100
    )
    from ecli_runtime.wasm.limits import EpochTicker

    with EpochTicker(made.module.engine):
        begun = time.monotonic()
        assert numbers(results(made, run_of(1, 2, 3, 4))) == [1, 2, 3, 4]
        assert time.monotonic() - begun < 5
    assert made.quarantined == "it took longer than 100 ms"
    assert "in event through map events: 03 00" in host.said[0]
    assert host.said[0].endswith("handler small is no longer asked: events pass it as they are")
    assert (made.counts.kept, made.counts.unseen, made.counts.trapped) == (2, 2, 0)


def test_a_handler_that_spins_at_its_start_does_not_start(host: Host) -> None:
    from ecli_runtime.wasm.handler.filter import Handler
    from ecli_runtime.wasm.limits import EpochTicker

    code = handler(KEEP, more=f"(func $start {SPIN.rpartition('(')[0]}) (start $start)")
    module = HandlerModule("small", code, WasmLimits(batch_ms=100))
    from ecli_runtime.wasm.handler.filter import Settings

    with EpochTicker(module.engine), pytest.raises(WasmError, match=r"small did not start: it took longer than 100 ms"):
        Handler(module, (), Settings(raw=host.raw), host.said.append)


def test_deep_recursion_is_a_trap(host: Host) -> None:
    more = "(func $deep (param i32) (result i32) (i32.add (call $deep (i32.add (local.get 0) (i32.const 1))) (i32.const 1)))"
    made = host.make(handler("(call $deep (i32.const 0))", more=more), "pass", stack_bytes=65536)
    assert numbers(results(made, run_of(1))) == [1]
    assert "call stack exhausted" in host.said[0]
    assert host.said[0].count("called by") < 20


def test_memory_grows_up_to_the_limit(host: Host) -> None:
    body = "(i32.store (local.get $at) (memory.grow (i32.load (local.get $at)))) (i32.const 0)"
    made = host.make(handler(body), memory_bytes=4 << 16)
    assert numbers(results(made, run_of(1, 1, 1, 0))) == [2, 3, 0xFFFF_FFFF, 4]


def test_memory_to_begin_with(host: Host) -> None:
    with pytest.raises(WasmError, match=r"handler small: it begins with 192 KiB of memory, and may have 128") as caught:
        host.make(handler(KEEP, memory="3"), memory_bytes=2 << 16)
    assert "--handler-limit memory=" in caught.value.hint


def test_fuel_is_that_of_each_event(host: Host) -> None:
    body = """(local $left i32) (local.set $left (i32.load (local.get $at)))
      (block $done (loop $again
        (br_if $done (i32.eqz (local.get $left)))
        (local.set $left (i32.sub (local.get $left) (i32.const 1))) (br $again)))
      (i32.const 0)"""
    made = host.make(handler(body), fuel=5000)
    assert numbers(results(made, run_of(*[100] * 200))) == [100] * 200
    assert made.is_at_work
    assert numbers(results(made, run_of(100, 100_000, 100))) == [100, 100_000, 100]
    assert made.quarantined == "it used up its fuel (5000)"


def test_a_flood_is_cut_and_counted(host: Host) -> None:
    body = f"(loop $again (br_if $again (i32.eqz (call $emit (i32.const -1) (i32.const 0) (i32.const 1000))))) {KEEP}"
    made = host.make(handler(body, EMIT), emitted_bytes=10_000)
    found = results(made, run_of(1, 2, 3))
    assert [len(data) for _type, data in found] == [1000] * 9 + [8] * 3
    assert (made.counts.emitted, made.counts.refused, made.counts.kept) == (9, 3, 3)


def test_what_cannot_be_emitted(host: Host) -> None:
    def emits(arguments: str) -> int:
        body = f"(i32.store (local.get $at) (call $emit {arguments})) (i32.const 0)"
        return numbers(results(host.make(handler(body, EMIT)), run_of(0)))[0]

    invalid = 0xFFFF_FFFF
    assert emits("(i32.const 2) (i32.const 0) (i32.const 8)") == invalid
    assert emits("(i32.const -2) (i32.const 0) (i32.const 8)") == invalid
    assert emits("(i32.const 0) (i32.const 0) (i32.const -1)") == invalid
    assert emits("(i32.const 0) (i32.const 0) (i32.const 0x40000000)") == invalid


@pytest.mark.parametrize("at", ["-1", "131072", "131068", "0x7fffffff"])
def test_bad_pointers_are_traps(host: Host, at: str) -> None:
    body = f"(drop (call $emit (i32.const 0) (i32.const {at}) (i32.const 8))) (i32.const 0)"
    made = host.make(handler(body, EMIT), "pass")
    assert numbers(results(made, run_of(1))) == [1]
    assert "out of bounds" in host.said[0]
    made = host.make(handler(KEEP, buffer=f"(i32.const {at})"), "pass")
    assert numbers(results(made, run_of(1, 2))) == [1, 2]
    assert made.counts.traps == 2


def test_a_trap_where_room_is_asked_for(host: Host) -> None:
    made = host.make(handler(KEEP, buffer="unreachable"), "pass")
    assert numbers(results(made, run_of(1, 2))) == [1, 2]
    made = host.make(handler(KEEP, buffer="unreachable"))
    assert results(made, run_of(1, 2)) == []
    assert made.failure is not None
    assert made.counts.trapped == 2


def test_a_trap_in_a_tick(host: Host) -> None:
    more = '(func (export "ecli_tick") (param i64) (result i32) unreachable)'
    made = host.make(handler(KEEP, more=more), "drop")
    assert made.tick() == []
    assert "unreachable" in host.said[0]
    assert numbers(results(made, run_of(1))) == [1]
    made = host.make(handler(KEEP, more=more.replace("unreachable", "(i32.const -3)")))
    assert made.tick() == []
    assert str(made.failure) == "handler small ended the run: ecli_tick returned -3"


def test_an_error_at_the_start(host: Host) -> None:
    more = '(func (export "ecli_init") (param i32 i32) (result i32) {})'
    with pytest.raises(WasmError, match="handler small: ecli_init returned -5"):
        host.make(handler(KEEP, more=more.format("(i32.const -5)")))
    with pytest.raises(WasmError, match="handler small did not start: wasm `unreachable`"):
        host.make(handler(KEEP, more=more.format("unreachable")))
    with pytest.raises(WasmError, match="did not start: ecli_buffer returned an address outside of its memory"):
        host.make(handler(KEEP, more=more.format("(i32.const 0)"), buffer="(i32.const -9)"))
    with pytest.raises(WasmError, match="it is of version 2 of the ABI"):
        host.make(handler(KEEP, abi=2))


def test_the_end_of_its_process_is_a_trap(host: Host) -> None:
    exit_ = '(import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))'
    made = host.make(handler("(call $exit (i32.const 3)) (i32.const 0)", exit_))
    assert results(made, run_of(1)) == []
    assert "it ended its process with status 3" in str(made.failure)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (b"", "this is no Wasm module"),
        (b"\0asm\1\0\0\0", "neither drives eBPF programs nor handles events"),
        (b"\0asm\1\0\0\0\xff", "the module is not valid"),
        (lambda: handler(KEEP, '(import "env" "puts" (func (param i32)))'), "imports what nobody provides: env.puts"),
        (lambda: handler(KEEP, '(import "ecli" "system" (func))'), "imports what nobody provides: ecli.system"),
        (lambda: handler(KEEP, '(import "ecli.lookup" "m" (global i32))'), r"ecli.lookup.m \(global\)"),
        (lambda: handler(KEEP, '(import "ecli" "emit" (func (param i64)))'), r"imports ecli.emit as \(i64\) -> \(\), not"),
        (lambda: handler(KEEP, '(import "ecli.next" "m" (func))'), r"imports ecli.next.m as \(\) -> \(\)"),
        (
            lambda: handler(KEEP, '(import "wasi_snapshot_preview1" "fd_write" (func (param i64)))'),
            r"imports wasi_snapshot_preview1.fd_write as \(i64\) -> \(\), which is not that of WASI",
        ),
        (
            lambda: handler(KEEP, '(import "wasi_snapshot_preview1" "new" (func (param f64) (result v128)))'),
            "which is not that of WASI",
        ),
        (lambda: handler(KEEP, more='(func (export "ecli_tick"))'), r"ecli_tick is \(\) -> \(\); it must be \(i64\) -> \(i32\)"),
        (lambda: handler(KEEP, more='(global (export "ecli_finish") i32 (i32.const 0))'), "ecli_finish is no function"),
        (lambda: wat('(module (func (export "ecli_abi") (result i32) (i32.const 1)))'), "does not export memory and ecli_event"),
        (
            lambda: wat(
                f"""(module (func (export "memory")) (func (export "ecli_abi") (result i32) (i32.const 1))
                (func (export "ecli_event") (param i32 i32 i32) (result i32) {KEEP})
                (func (export "ecli_buffer") (param i32) (result i32) {BUFFER}))"""
            ),
            "what it exports as memory is none",
        ),
    ],
)
def test_what_is_no_handler(code: object, message: str) -> None:
    data = code() if callable(code) else code
    assert isinstance(data, bytes)
    with pytest.raises(WasmError, match=message) as caught:
        HandlerModule("small", data)
    assert str(caught.value).startswith("handler small: ")


def test_more_than_it_is_granted() -> None:
    code = handler(KEEP, '(import "ecli.delete" "m" (func (param i32 i32) (result i32)))')
    module = HandlerModule("small", code)
    with pytest.raises(WasmError, match="handler small wants to change map m, which it is not granted") as caught:
        check_grants(module, None)
    assert caught.value.hint == "--grant m allows it"
    check_grants(module, None, ["m"])
    check_grants(module, WasmModule("small", code, writes=("m",)))
    wasi = handler(KEEP, '(import "wasi_snapshot_preview1" "random_get" (func (param i32 i32) (result i32)))')
    with pytest.raises(WasmError, match=r"handler small wants WASI \(random_get\)"):
        check_grants(HandlerModule("small", wasi), None, ["m"])
    check_grants(HandlerModule("small", wasi), None, ["wasi"])
    check_grants(HandlerModule("small", wasi), WasmModule("small", wasi, wasi=True))


def test_room_that_is_a_trap_only_for_the_next_instance(host: Host) -> None:
    """The two are told apart by an option, which the test changes meanwhile."""
    imports = '(import "ecli" "option" (func $option (param i32 i32 i32 i32) (result i32)))'
    asked = "(call $option (i32.const 0) (i32.const 4) (i32.const 9) (i32.const 0))"
    buffer = f"(if (i32.eq {asked} (i32.const 1)) (then unreachable)) {BUFFER}"
    code = handler(TRAP_AT_3, imports, '(data (i32.const 0) "trap")', buffer)
    for on_trap, expected in (("pass", [2, 3, 4]), ("drop", [2, 4])):
        options = {"trap": ""}
        made = host.make(code, on_trap, options)
        assert numbers(results(made, run_of(1))) == [1]
        options["trap"] = "x"
        assert numbers(results(made, run_of(2, 3, 4))) == expected
        assert made.counts.traps == 2


def test_limits_that_a_package_may_not_give() -> None:
    package = load_package_with(WasmLimits(batch_ms=1_000_000))
    with pytest.raises(WasmError, match="wants a limit of 1000000 for time, and packages may give 10000") as caught:
        load_modules(package, Choice())
    assert "--handler-limit time=" in caught.value.hint
    (module,) = load_modules(package, Choice(limits=WasmLimits(batch_ms=20_000)))
    assert module.limits.batch_ms == 20_000
    with pytest.raises(WasmError, match="for stack"):
        load_modules(load_package_with(WasmLimits(stack_bytes=1 << 30)), Choice())
    with pytest.raises(EcliError, match="a stack has at most 1M"):
        parse_limits(["stack=2M"])


def load_package_with(limits: WasmLimits) -> Package:
    return Package("tool", "tool", b"", wasm=(WasmModule("small", handler(KEEP), limits=limits),))


def test_limits_in_words() -> None:
    words = ["memory=64M", "stack=512K", "time=2s", "fuel=1000", "emitted=8MiB"]
    assert parse_limits(words) == WasmLimits(64 << 20, 512 << 10, 2000, 1000, 8 << 20)
    for wrong in (
        "memory",
        "memory=",
        "memory=x",
        "memory=0",
        "memory=4G",
        "time=5",
        "time=0ms",
        "fuel=-1",
        "size=5",
        "=1",
        "time=²s",
    ):
        with pytest.raises(EcliError, match="--handler-limit: expected a limit"):
            parse_limits([wrong])


def test_inspect_shows_what_a_module_asks_for(ecli: Ecli) -> None:
    imports = """(import "ecli.lookup" "started" (func (param i32 i32 i32 i32) (result i32)))
      (import "ecli.delete" "events\\1b[1m" (func (param i32 i32) (result i32)))
      (import "wasi_snapshot_preview1" "random_get" (func (param i32 i32) (result i32)))"""
    (ecli.directory / "asks.wasm").write_bytes(handler(KEEP, imports))
    outcome = ecli("inspect", "asks.wasm")
    assert outcome.stdout.startswith("event handler: events of a package pass through it\n")
    assert "ecli-py run PACKAGE --handler asks.wasm" in outcome.stdout
    assert "\x1b" not in outcome.stdout
    document = json.loads(ecli("inspect", "asks.wasm", "--json").stdout)
    assert document["kind"] == "handler"
    assert document["asks"] == {
        "reads": ["started"],
        "writes": ["events\x1b[1m"],
        "wasi": ["random_get"],
        "memory": 131072,
    }
    ecli("inspect", "asks.wasm", "--object", "-").fails("a Wasm module has no object")
    (ecli.directory / "none.wasm").write_bytes(b"\0asm\1\0\0\0")
    ecli("inspect", "none.wasm").fails("neither drives eBPF programs nor handles events")
