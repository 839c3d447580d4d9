"""Bytes as modules and damaged controllers, again and again: an error or a run of ours, never another exception, nor a hang.

``python -m tests.fuzz_controllers --count 1000000`` runs for hours, and says how far it got; the suite runs a short version, in a
process of its own, because wasmtime may end the process that it is in. Rings stand in for the kernel.
"""

from __future__ import annotations

from ecli_runtime.wasm.limits import Limits
from tests.fuzz_modules import main
from tests.guests import HASH_FD, OTHER_FD, FakeRing, discarded, guest, record, run

LIMITS = Limits(memory_bytes=4 << 20, stack_bytes=65536)
# After this a module is killed.
BUDGET_S = 0.05


def originals() -> list[bytes]:
    """Return controllers that use all that there is."""
    body = f"""
    (call $say (call $poll (i32.const 1) (i32.const 64)))
    (call $say (call $buffer_poll (i64.const 1) (i32.const {OTHER_FD}) (i32.const 2) (i32.const 1) (POINTER.const 8192)
      (i32.const 4096) (i32.const 10)))
    (call $say (call $map_operate (i32.const {HASH_FD}) (i32.const 9) (POINTER.const 0) (POINTER.const 0) (POINTER.const 0)
      (i64.const 0)))
    (drop (memory.grow (i32.const 1)))
    (call $sleep (i64.const 0))
    (call $say (call $close (i64.const 1)))
    (call $proc_exit (i32.const 3))"""
    more = "(func $odd (type $callback) (i32.sub (i32.load (local.get 1)) (i32.const 1))) (elem (i32.const 2) $odd)"
    return [guest(body.replace("POINTER", pointer), more, pointer=pointer) for pointer in ("i32", "i64")]


def rings() -> list[FakeRing]:
    """Return what modules poll."""
    records = [record(bytes([size % 256]) * size) for size in (4, 64, 5, 300)]
    return [FakeRing(b"".join(records) + discarded(b"1234")), FakeRing(b"".join(records * 3))]


def use(code: bytes) -> str:
    """Run a module; return in a word how it ended."""
    ran = run(code, *rings(), limits=LIMITS, kill_after_s=BUDGET_S)
    return "killed" if ran.was_killed else "ran"


if __name__ == "__main__":
    main("fuzz_controllers", __doc__, originals(), use)
