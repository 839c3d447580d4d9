"""The module between a ring and a guest: it walks records and calls the guest's callback for each, all within Wasm.

The host copies a piece of a ring into the adapter's memory and calls it once; crossing from Python into Wasm costs more than a
hundred callbacks. How far it came is in exported globals, so that it is known also when the callback traps.
"""

from __future__ import annotations

import struct
import sys

from ecli_runtime.errors import WasmError
from ecli_runtime.read.barrier import fence
from ecli_runtime.read.ringbuf import BUSY, DISCARD, LENGTH
from ecli_runtime.read.run import HEADER_SIZE_BYTES, stride_of
from ecli_runtime.wasm.raw import export

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ecli_runtime.wasm.memory import GuestMemory
    from ecli_runtime.wasm.raw import Pending

STAGING_BYTES = 1 << 18
# Behind it there is how far the adapter came.
_PAGES = (STAGING_BYTES >> 16) + 1
_AT, _COUNT = STAGING_BYTES, STAGING_BYTES + 4

# Records as in a ring buffer: u32 length with the bits BUSY and DISCARD, four bytes, payload, padding to 8 bytes.
_MODULE = f"""
(module
  {{imports}}
  (memory $staging (export "staging") {_PAGES} {_PAGES})
  (func $stride (param $header i32) (result i32)
    (i32.and
      (i32.add (i32.and (local.get $header) (i32.const {LENGTH:#x})) (i32.const {HEADER_SIZE_BYTES + 7}))
      (i32.const -8)))
  ;; How many of the bytes are records that are finished.
  (func (export "scan") (param $size i32) (result i32)
    (local $at i32) (local $header i32) (local $next i32)
    (block $end
      (loop $records
        (br_if $end (i32.ge_u (local.get $at) (local.get $size)))
        (local.set $header (i32.load $staging (local.get $at)))
        (br_if $end (i32.lt_s (local.get $header) (i32.const 0)))
        (local.set $next (i32.add (local.get $at) (call $stride (local.get $header))))
        (br_if $end (i32.gt_u (local.get $next) (local.get $size)))
        (local.set $at (local.get $next))
        (br $records)))
    (local.get $at))
  ;; Calls back for each record; returns what a callback returned that wants no more, else 0.
  (func (export "drain") (param $size i32) (param $function i32) (param $context i32) (param $data i32) (param $max i32)
    (result i32)
    (local $at i32) (local $record i32) (local $header i32) (local $length i32) (local $count i32) (local $result i32)
    (i32.store $staging (i32.const {_COUNT}) (i32.const 0))
    (loop $records
      (i32.store $staging (i32.const {_AT}) (local.get $at))
      (if (i32.ge_u (local.get $at) (local.get $size)) (then (return (i32.const 0))))
      (local.set $record (local.get $at))
      (local.set $header (i32.load $staging (local.get $record)))
      (local.set $at (i32.add (local.get $record) (call $stride (local.get $header))))
      (br_if $records (i32.and (local.get $header) (i32.const {DISCARD:#x})))
      (i32.store $staging (i32.const {_AT}) (local.get $at))
      (i32.store $staging (i32.const {_COUNT}) (local.tee $count (i32.add (local.get $count) (i32.const 1))))
      (local.set $length (i32.and (local.get $header) (i32.const {LENGTH:#x})))
      (if (i32.gt_u (local.get $length) (local.get $max)) (then (local.set $length (local.get $max))))
      (memory.copy $guest $staging
        (local.get $data) (i32.add (local.get $record) (i32.const {HEADER_SIZE_BYTES})) (local.get $length))
      (local.set $result {{call}})
      (br_if $records (i32.ge_s (local.get $result) (i32.const 0))))
    (local.get $result))
  ;; One call back, of a record that has no room here.
  (func (export "call") (param $function i32) (param $context i32) (param $data i32) (param $length i32) (result i32)
    {{call}}))
"""
_MEMORY = '(import "guest" "memory" (memory $guest 0))'
_CALLBACK = "(func {} (param i32 i32 i32) (result i32))"
_ARGUMENTS = "(local.get $context) (local.get $data) (local.get $length)"


class Adapter:
    """Calls one guest's callbacks.

    Args:
        store: ``wasmtime.Store`` of the guest.
        guest: The guest's memory, a ``wasmtime.Memory``.
        memory: The same, as the host reads it.
        callbacks: ``wasmtime.Table`` that the callbacks are in, or the one callback, a ``wasmtime.Func``.
        pending: Where errors of the host's functions are kept that callbacks call.
        raw: Whether to use the raw calls; ``None``: if they work.

    Attributes:
        count: Callbacks that the last call made.
        consumed: Bytes of records that it is done with, also when it failed.

    Raises:
        WasmError: The guest's table or callback is none that can be called.
    """

    def __init__(
        self, store: Any, guest: Any, memory: GuestMemory, callbacks: Any, pending: Pending, raw: bool | None = None
    ) -> None:
        from wasmtime import Instance, Module, Table, Trap, WasmtimeError

        if isinstance(callbacks, Table):
            imports = f'{_MEMORY} (import "guest" "table" (table 0 funcref)) (type $callback {_CALLBACK.format("")})'
            call = f"(call_indirect (type $callback) {_ARGUMENTS} (local.get $function))"
        else:
            imports = f'{_MEMORY} (import "guest" "callback" {_CALLBACK.format("$callback")})'
            call = f"(call $callback {_ARGUMENTS})"
        try:
            module = Module(store.engine, _MODULE.format(imports=imports, call=call))
            exports: Any = Instance(store, module, [guest, callbacks]).exports(store)
        except (WasmtimeError, Trap) as error:
            raise WasmError("the module's callbacks are no functions (i32, i32, i32) -> i32 of its table or exports") from error
        self._memory = memory
        self._scan = export(store, exports["scan"], pending, raw)
        self._drain = export(store, exports["drain"], pending, raw)
        self._call = export(store, exports["call"], pending, raw)
        # The store keeps the memory, which has a fixed size, and this object the store.
        self._staging = memoryview(exports["staging"].get_buffer_ptr(store)).cast("B")
        self.count = self.consumed = 0

    def drain(self, records: memoryview, function: int, context: int, data: int, max_size: int) -> int:
        """Call back for the finished records at the beginning of some bytes.

        Args:
            records: Records, the last of which may be cut off; at most :data:`STAGING_BYTES`, but for a larger first one.
            function: Number of the callback in the table.
            context: First argument of the callback.
            data: Address in the guest that each payload is copied to.
            max_size: Bytes of it that are copied, at most.

        Returns:
            0, or what a callback returned that is negative: it was the last.

        Raises:
            wasmtime.Trap: The callback trapped.
            Exception: Whatever a function of the host raised that the callback called.
        """
        self.count = self.consumed = 0
        size = len(records)
        if not size:
            return 0
        if size > STAGING_BYTES:
            header = int.from_bytes(records[:4], sys.byteorder)
            if stride_of(header & LENGTH) > STAGING_BYTES:
                return self._drain_large(records, header, function, context, data, max_size)
            records, size = records[:STAGING_BYTES], STAGING_BYTES
        staging = self._staging
        staging[:size] = records
        finished = self._scan(size) or 0
        if not finished:
            return 0
        fence()
        # Once more: a copy may run in any order, and so hold what was not written yet of a record that was found finished.
        staging[:finished] = records[:finished]
        try:
            return self._drain(finished, function, context, data, max_size) or 0
        finally:
            self.consumed, self.count = struct.unpack_from("<II", staging, _AT)

    def _drain_large(self, records: memoryview, header: int, function: int, context: int, data: int, max_size: int) -> int:
        """Call back for one record that is larger than the adapter's memory, of which it gets what the guest has room for."""
        length = header & LENGTH
        if header & BUSY or len(records) < stride_of(length):
            return 0
        if header & DISCARD:
            self.consumed = stride_of(length)
            return 0
        fence()
        size = min(length, max_size)
        self._memory.view(data, size)[:] = records[HEADER_SIZE_BYTES : HEADER_SIZE_BYTES + size]
        self.consumed, self.count = stride_of(length), 1
        return self._call(function, context, data, size) or 0
