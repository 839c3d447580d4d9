"""What a callback of a controller costs: CPU time per sample of a ring that a Wasm module is called back for, beside Python."""

from __future__ import annotations

import struct
import time
from collections.abc import Callable
from typing import Any

from benchmarks.harness import Benchmark, Result, Target, UnavailableError, interleave
from ecli_runtime.errors import UnsupportedFeatureError
from ecli_runtime.libbpf.object import MAP_TYPE_RINGBUF
from ecli_runtime.read.run import HEADER_SIZE_BYTES, stride_of
from ecli_runtime.wasm.controller.objects import BpfObject, Loading, Objects
from ecli_runtime.wasm.controller.session import Controller, Surroundings

EVENT_SIZE = 168  # as that of bcc's execsnoop
RECORDS = 10_000
PASSES = 100  # over these, so that what a module's start takes does not count
RING_FD = 100

# The callback adds up the numbers that the samples begin with; the sum's lowest byte is the exit status.
_GUEST = f"""(module
  (type $callback (func (param i32 i32 i32) (result i32)))
  (import "wasm_bpf" "wasm_load_bpf_object" (func $load (param i32 i32) (result i64)))
  (import "wasm_bpf" "wasm_bpf_map_fd_by_name" (func $map_fd (param i64 i32) (result i32)))
  (import "wasm_bpf" "wasm_bpf_buffer_poll" (func $poll (param i64 i32 i32 i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
  (memory (export "memory") 1)
  (table (export "__indirect_function_table") 2 2 funcref)
  (elem (i32.const 1) $seen)
  (data (i32.const 1024) "ring\\00")
  (global $sum (mut i32) (i32.const 0))
  (func $seen (type $callback)
    (global.set $sum (i32.add (global.get $sum) (i32.load (local.get 1))))
    (i32.const 0))
  (func (export "_start")
    (drop (call $load (i32.const 0) (i32.const 8)))
    (drop (call $map_fd (i64.const 1) (i32.const 1024)))
    (loop $more
      (br_if $more (i32.gt_s
        (call $poll
          (i64.const 1) (i32.const {RING_FD}) (i32.const 1) (i32.const 0) (i32.const 4096) (i32.const 4096) (i32.const 0))
        (i32.const 0))))
    (call $proc_exit (global.get $sum))))"""


class _Ring:
    """A ring of samples that nobody has to make meanwhile: the same ones, again and again."""

    lost = 0
    fds: tuple[int, ...] = ()

    def __init__(self, data: bytes) -> None:
        self._view = memoryview(data)
        self._at, self._passes = 0, PASSES

    def peek(self, limit: int) -> memoryview:
        if self._at == len(self._view) and self._passes > 1:
            self._at, self._passes = 0, self._passes - 1
        return self._view[self._at : self._at + limit]

    def advance(self, size: int) -> None:
        self._at += size

    def close(self) -> None:
        self._view.release()


class _Map:
    name, type, fd, data_section = "ring", MAP_TYPE_RINGBUF, RING_FD, ""


class _Loaded:
    """What stands for an object in the kernel: one ring."""

    maps = (_Map,)
    programs = ()

    def close(self) -> None:
        pass


class _Objects(Objects):
    def __init__(self, data: bytes) -> None:
        super().__init__("benchmark", Loading())
        self._data = data

    def _make(self, _data: bytes) -> BpfObject:
        loaded: Any = _Loaded()
        open_ring: Callable[[Any], Any] = lambda _map: _Ring(self._data)  # noqa: E731
        return BpfObject(loaded, open_ring)


def in_wasm(module: bytes, data: bytes) -> int:
    """Run the module, and return the lowest byte of its sum."""
    with Controller(module, Surroundings(["benchmark"], lambda _fd, _data: None, print), objects=_Objects(data)) as controller:
        return controller.run()


def in_python(data: bytes) -> int:
    """Do the same with a callback in Python for each sample."""
    total = 0

    def seen(sample: memoryview) -> None:
        nonlocal total
        total += int.from_bytes(sample[:4], "little")

    view = memoryview(data)
    for _ in range(PASSES):
        at = 0
        while at < len(view):
            length = int.from_bytes(view[at : at + 4], "little")
            seen(view[at + HEADER_SIZE_BYTES : at + HEADER_SIZE_BYTES + length])
            at += stride_of(length)
    return total & 0xFF


def measure(rounds: int) -> Result:
    """Measure both, on samples that are there already."""
    try:
        from wasmtime import wat2wasm
    except ImportError as error:
        raise UnavailableError("there is no wasmtime") from error
    module = bytes(wat2wasm(_GUEST))
    padding = bytes(stride_of(EVENT_SIZE) - HEADER_SIZE_BYTES - 4)
    data = b"".join(struct.pack("<III", EVENT_SIZE, 0, index) + padding for index in range(RECORDS))
    expected = PASSES * sum(range(RECORDS)) & 0xFF

    def ns_per_sample(work: Callable[[], int]) -> Callable[[], float]:
        def timed() -> float:
            begin = time.process_time_ns()
            found = work()
            spent = time.process_time_ns() - begin
            assert found == expected, f"{found} is not {expected}"
            return spent / (RECORDS * PASSES)

        return timed

    try:
        in_wasm(module, data)
    except UnsupportedFeatureError as error:
        raise UnavailableError(str(error)) from error
    contenders = {
        "controller callback": ns_per_sample(lambda: in_wasm(module, data)),
        "callback in Python": ns_per_sample(lambda: in_python(data)),
    }
    return Result(
        f"CPU time per sample of {EVENT_SIZE} bytes that a controller is called back for",
        "ns",
        [Target("controller callback", at_most=100, aim=40), Target("controller callback", "callback in Python")],
        interleave(contenders, rounds),
    )


BENCHMARKS = (Benchmark("controllers", measure, rounds=9),)
