"""Bytes as modules and damaged handlers, again and again: an error or a run of ours, never another exception, nor a hang.

``python -m tests.fuzz_handlers --count 1000000`` runs for hours, and says how far it got; the suite runs a short version, in a
process of its own, because wasmtime may end the process that it is in.
"""

from __future__ import annotations

from ecli_py.handlers import check_grants
from ecli_runtime.wasm.handler.filter import Handler, Settings
from ecli_runtime.wasm.handler.module import HandlerModule
from ecli_runtime.wasm.limits import EpochTicker
from ecli_schemas.model import WasmLimits
from tests.fuzz_modules import main
from tests.handler_modules import EMIT, KINDS, LOG, handler, run_of

LIMITS = WasmLimits(memory_bytes=1 << 20, stack_bytes=65536, batch_ms=100, emitted_bytes=65536)
GRANTS = ("m", "wasi")


def originals() -> list[bytes]:
    """Return handlers that use all that there is."""
    imports = f"""{EMIT} {LOG}
      (import "ecli" "option" (func $option (param i32 i32 i32 i32) (result i32)))
      (import "ecli" "type" (func $kind (param i32 i32) (result i32)))
      (import "ecli" "now" (func $now (param i32) (result i64)))
      (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))"""
    body = """
      (drop (call $emit (i32.const 1) (local.get $at) (i32.const 16)))
      (drop (call $emit (i32.const -1) (i32.const 0) (i32.const 5)))
      (call $log (i32.const 1) (i32.const 0) (i32.const 5))
      (drop (call $option (i32.const 0) (i32.const 3) (i32.const 512) (i32.const 64)))
      (drop (call $kind (i32.const 0) (i32.const 5)))
      (i64.store (local.get $at) (call $now (i32.const 0)))
      (drop (call $fd_write (i32.const 1) (i32.const 256) (i32.const 1) (i32.const 300)))
      (i32.and (i32.load (local.get $at)) (i32.const 1))"""
    more = """
      (func (export "ecli_init") (param i32 i32) (result i32) (i32.const 0))
      (func (export "ecli_tick") (param i64) (result i32) (drop (memory.grow (i32.const 1))) (i32.const 0))
      (func (export "ecli_finish") (result i32) (call $emit (i32.const -1) (i32.const 0) (i32.const 5)))
      (data (i32.const 0) "hello")"""
    return [handler(body, imports, more), handler("(i32.const 0)")]


def use(code: bytes) -> str:
    """Do with a module all that a run does; return in a word how it ended."""
    module = HandlerModule("small", code, LIMITS)
    check_grants(module, None, GRANTS)
    if module.asks.reads or module.asks.writes:
        return "asks for a map"
    with EpochTicker(module.engine, period_ms=20):
        made = Handler(module, KINDS, Settings("drop", {"pid": "7"}), lambda _text: None)
        for number, size in ((0, 8), (1, 16), (0, 8)):
            made.run(number, run_of(1, 2, 3, size=size))
        made.tick()
        made.finish()
    if made.failure is not None:
        return "ended the run"
    return "quarantined" if made.quarantined else "trapped" if made.counts.traps else "ran"


if __name__ == "__main__":
    main("fuzz_handlers", __doc__, originals(), use)
