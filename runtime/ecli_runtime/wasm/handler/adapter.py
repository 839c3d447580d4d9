"""The two modules around a handler, which walk a batch in Wasm: one call from Python for thousands of events.

``relay`` is there before the handler, which imports its ``emit`` and ``now``; it owns the memories that Python reads and writes.
``walker`` is there after it, imports its memory and ``ecli_event``, and puts its own function behind ``emit``.

Both are trusted: the handler writes to its own memory alone, so it can move neither a position nor a length.
"""

from __future__ import annotations

from struct import Struct

from ecli_runtime.read.run import HEADER_SIZE_BYTES

PAGE_SIZE_BYTES = 65536
# What is read in one call: a usual run, few enough for the caches of a processor.
INPUT_SIZE_BYTES = 1 << 20
MAX_BATCH = 4096  # records
MAX_RECORD_SIZE_BYTES = INPUT_SIZE_BYTES - HEADER_SIZE_BYTES - 8

# A loop copies records up to this size faster than a call of memcpy, which memory.copy is.
_MAX_UNROLLED_SIZE_BYTES = 512

# A part of the output: records of one type and length, one after the other, framed as in a run.
PART = Struct("<iII")  # type, length, count
_MAX_PARTS = 3 * MAX_BATCH
_MAX_EMITTED_PARTS = _MAX_PARTS - MAX_BATCH - 1  # so that what is kept always has room
_STATE_SIZE_BYTES = 64
_STATE_PAGES = -(-(_STATE_SIZE_BYTES + _MAX_PARTS * PART.size) // PAGE_SIZE_BYTES)

# What the state memory begins with: bytes of output, parts of it, events kept and dropped, bytes and number of what was emitted,
# what was emitted and found no room, where the walk is, how many types there are, how many bytes may be emitted.
STATE = Struct("<10I")
FIRST_PART = _STATE_SIZE_BYTES
AT_OFFSET, TYPES_OFFSET = 28, 32

TEXT = -1  # type of a line of text
EMIT_INVALID, EMIT_FULL = -1, -2


def output_size_bytes(emitted_size_bytes: int) -> int:
    """Return how large the output is: all that may be kept, and all that may be emitted."""
    pages = -(-(INPUT_SIZE_BYTES + emitted_size_bytes) // PAGE_SIZE_BYTES)
    return pages * PAGE_SIZE_BYTES


def relay(emitted_size_bytes: int) -> str:
    """Return the text of the first module."""
    pages = output_size_bytes(emitted_size_bytes) // PAGE_SIZE_BYTES
    in_pages = INPUT_SIZE_BYTES // PAGE_SIZE_BYTES
    return f"""
(module $relay
  (type $emit (func (param i32 i32 i32) (result i32)))
  (memory (export "in") {in_pages} {in_pages})
  (memory (export "out") {pages} {pages})
  (memory (export "state") {_STATE_PAGES} {_STATE_PAGES})
  (memory $clocks (export "clocks") 1 1)
  (table (export "slot") 1 1 funcref)
  (func (export "emit") (type $emit)
    ;; nothing is behind it while the handler is made
    (if (ref.is_null (table.get 0 (i32.const 0))) (then (return (i32.const {EMIT_INVALID}))))
    (call_indirect (type $emit) (local.get 0) (local.get 1) (local.get 2) (i32.const 0)))
  (func (export "now") (param $clock i32) (result i64)
    (if (i32.gt_u (local.get $clock) (i32.const 1)) (then (return (i64.const -1))))
    (i64.load $clocks (i32.shl (local.get $clock) (i32.const 3)))))
"""


WALKER = f"""
(module $walker
  (type $event (func (param i32 i32 i32) (result i32)))
  (import "handler" "memory" (memory $guest 0))
  (import "handler" "ecli_event" (func $event (type $event)))
  (import "relay" "in" (memory $in 1))
  (import "relay" "out" (memory $out 1))
  (import "relay" "state" (memory $state 1))
  (import "relay" "slot" (table $slot 1 1 funcref))
  (elem (table $slot) (i32.const 0) func $emit)

  ;; Copy bytes; the last sixteen by themselves, so that nothing behind them is touched.
  (func $copy_in (param $to i32) (param $from i32) (param $length i32)
    (local $end i32)
    (if (i32.gt_u (i32.sub (local.get $length) (i32.const 16)) (i32.const {_MAX_UNROLLED_SIZE_BYTES - 16}))
      (then
        (memory.copy $guest $in (local.get $to) (local.get $from) (local.get $length))
        (return)))
    (v128.store $guest (i32.sub (i32.add (local.get $to) (local.get $length)) (i32.const 16))
      (v128.load $in (i32.sub (i32.add (local.get $from) (local.get $length)) (i32.const 16))))
    (local.set $end (i32.add (local.get $from) (i32.and (local.get $length) (i32.const -16))))
    (loop $next
      (v128.store $guest (local.get $to) (v128.load $in (local.get $from)))
      (local.set $to (i32.add (local.get $to) (i32.const 16)))
      (local.set $from (i32.add (local.get $from) (i32.const 16)))
      (br_if $next (i32.lt_u (local.get $from) (local.get $end)))))

  ;; Copy bytes; the last sixteen by themselves, so that nothing behind them is touched.
  (func $copy_out (param $to i32) (param $from i32) (param $length i32)
    (local $end i32)
    (if (i32.gt_u (i32.sub (local.get $length) (i32.const 16)) (i32.const {_MAX_UNROLLED_SIZE_BYTES - 16}))
      (then
        (memory.copy $out $guest (local.get $to) (local.get $from) (local.get $length))
        (return)))
    (v128.store $out (i32.sub (i32.add (local.get $to) (local.get $length)) (i32.const 16))
      (v128.load $guest (i32.sub (i32.add (local.get $from) (local.get $length)) (i32.const 16))))
    (local.set $end (i32.add (local.get $from) (i32.and (local.get $length) (i32.const -16))))
    (loop $next
      (v128.store $out (local.get $to) (v128.load $guest (local.get $from)))
      (local.set $to (i32.add (local.get $to) (i32.const 16)))
      (local.set $from (i32.add (local.get $from) (i32.const 16)))
      (br_if $next (i32.lt_u (local.get $from) (local.get $end)))))

  ;; Append a record to the output; what is in the handler's memory is copied, or this traps.
  (func $append (param $type i32) (param $length i32) (param $from i32)
    (local $used i32) (local $need i32) (local $parts i32) (local $part i32)
    (local.set $used (i32.load $state (i32.const 0)))
    (local.set $need (i32.and (i32.add (local.get $length) (i32.const {HEADER_SIZE_BYTES + 7})) (i32.const -8)))
    (i64.store $out (i32.sub (i32.add (local.get $used) (local.get $need)) (i32.const 8)) (i64.const 0))
    (i64.store $out (local.get $used) (i64.extend_i32_u (local.get $length)))
    (call $copy_out (i32.add (local.get $used) (i32.const {HEADER_SIZE_BYTES})) (local.get $from) (local.get $length))
    (i32.store $state (i32.const 0) (i32.add (local.get $used) (local.get $need)))
    (local.set $parts (i32.load $state (i32.const 4)))
    (local.set $part (i32.add (i32.const {FIRST_PART - PART.size}) (i32.mul (local.get $parts) (i32.const {PART.size}))))
    (if (i32.and (i32.ne (local.get $parts) (i32.const 0))
                 (i32.and (i32.eq (i32.load $state (local.get $part)) (local.get $type))
                          (i32.eq (i32.load $state offset=4 (local.get $part)) (local.get $length))))
      (then
        (i32.store $state offset=8 (local.get $part)
          (i32.add (i32.load $state offset=8 (local.get $part)) (i32.const 1))))
      (else
        (i32.store $state offset={PART.size} (local.get $part) (local.get $type))
        (i32.store $state offset={PART.size + 4} (local.get $part) (local.get $length))
        (i32.store $state offset={PART.size + 8} (local.get $part) (i32.const 1))
        (i32.store $state (i32.const 4) (i32.add (local.get $parts) (i32.const 1))))))

  (func $emit (type $event)  ;; type, pointer, length
    (local $need i32)
    (if (i32.or (i32.ge_u (i32.add (local.get 0) (i32.const 1))
                          (i32.add (i32.load $state offset={TYPES_OFFSET} (i32.const 0)) (i32.const 1)))
                (i32.gt_u (local.get 2) (i32.const {MAX_RECORD_SIZE_BYTES})))
      (then (return (i32.const {EMIT_INVALID}))))
    (local.set $need (i32.and (i32.add (local.get 2) (i32.const {HEADER_SIZE_BYTES + 7})) (i32.const -8)))
    (if (i32.or (i32.gt_u (i32.add (i32.load $state offset=16 (i32.const 0)) (local.get $need))
                          (i32.load $state offset=36 (i32.const 0)))
                (i32.ge_u (i32.load $state offset=4 (i32.const 0)) (i32.const {_MAX_EMITTED_PARTS})))
      (then
        (i32.store $state offset=24 (i32.const 0) (i32.add (i32.load $state offset=24 (i32.const 0)) (i32.const 1)))
        (return (i32.const {EMIT_FULL}))))
    (call $append (local.get 0) (local.get 2) (local.get 1))
    (i32.store $state offset=16 (i32.const 0) (i32.add (i32.load $state offset=16 (i32.const 0)) (local.get $need)))
    (i32.store $state offset=20 (i32.const 0) (i32.add (i32.load $state offset=20 (i32.const 0)) (i32.const 1)))
    (i32.const 0))

  ;; Walk records of one length that are not discarded, from $at to $end, and return 0, or what the handler returned to end it.
  (func (export "walk") (param $at i32) (param $end i32) (param $stride i32) (param $length i32)
                        (param $type i32) (param $buffer i32) (result i32)
    (local $verdict i32)
    (block $done
      (loop $next
        (br_if $done (i32.ge_u (local.get $at) (local.get $end)))
        (if (i32.eq (i32.load $in (local.get $at)) (local.get $length))
          (then
            (i32.store $state offset={AT_OFFSET} (i32.const 0) (local.get $at))
            (call $copy_in (local.get $buffer) (i32.add (local.get $at) (i32.const {HEADER_SIZE_BYTES})) (local.get $length))
            (local.set $verdict (call $event (local.get $type) (local.get $buffer) (local.get $length)))
            (if (local.get $verdict)
              (then
                (if (i32.lt_s (local.get $verdict) (i32.const 0)) (then (return (local.get $verdict))))
                (i32.store $state offset=12 (i32.const 0) (i32.add (i32.load $state offset=12 (i32.const 0)) (i32.const 1))))
              (else
                (call $append (local.get $type) (local.get $length) (local.get $buffer))
                (i32.store $state offset=8 (i32.const 0) (i32.add (i32.load $state offset=8 (i32.const 0)) (i32.const 1)))))))
        (local.set $at (i32.add (local.get $at) (local.get $stride)))
        (br $next)))
    (i32.const 0)))
"""
