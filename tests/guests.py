"""Guests of wasm-bpf written in the text form of Wasm, and rings that hold what a kernel cannot be made to leave in one."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from threading import Timer
from typing import Any

import wasmtime

from ecli_runtime.errors import EcliError
from ecli_runtime.read.ringbuf import BUSY, DISCARD
from ecli_runtime.read.run import stride_of
from ecli_runtime.wasm.controller.objects import BpfObject, Loading, Objects
from ecli_runtime.wasm.controller.session import Controller, Surroundings
from ecli_runtime.wasm.limits import CONTROLLER_LIMITS, Limits

RING_FD, OTHER_FD, HASH_FD = 100, 101, 102


def wasm(text: str) -> bytes:
    """Return a module that is given as text."""
    return bytes(wasmtime.wat2wasm(text))


def guest(body: str, more: str = "", pointer: str = "i32", memory: str = "2", table: bool = True) -> bytes:
    """Return a guest.

    Args:
        body: Instructions of ``_start``. ``$say`` writes a number of four bytes, ``$poll`` polls ``RING_FD`` of the first object
            with the callback of an index, a buffer at 4096 and its size.
        more: Functions and so on. Of the table, 1 is ``$seen``, which says the size and the first four bytes of each sample.
        pointer: Type of pointers, handles aside.
        memory: Its size in pages.
        table: Whether it exports its table.
    """
    export = '(export "__indirect_function_table")' if table else ""
    return wasm(f"""
(module
  (type $callback (func (param i32 i32 i32) (result i32)))
  (import "wasm_bpf" "wasm_load_bpf_object" (func $load (param {pointer} i32) (result i64)))
  (import "wasm_bpf" "wasm_close_bpf_object" (func $close (param i64) (result i32)))
  (import "wasm_bpf" "wasm_bpf_map_fd_by_name" (func $map_fd (param i64 {pointer}) (result i32)))
  (import "wasm_bpf" "wasm_bpf_map_operate"
    (func $map_operate (param i32 i32 {pointer} {pointer} {pointer} i64) (result i32)))
  (import "wasm_bpf" "wasm_bpf_buffer_poll"
    (func $buffer_poll (param i64 i32 i32 i32 {pointer} i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
  (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll_oneoff (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") {memory})
  (table {export} 8 8 funcref)
  (elem (i32.const 1) $seen)
  (data (i32.const 1024) "ring\\00")
  (data (i32.const 1032) "other\\00")
  (data (i32.const 1040) "hash\\00")
  (func $say (param i32)
    (i32.store (i32.const 8) (local.get 0))
    (i32.store (i32.const 0) (i32.const 8))
    (i32.store (i32.const 4) (i32.const 4))
    (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 12))))
  (func $seen (param $context i32) (param $data i32) (param $size i32) (result i32)
    (call $say (local.get $size))
    (call $say (i32.load (local.get $data)))
    (i32.const 0))
  (func $open
    (drop (call $load ({pointer}.const 2048) (i32.const 8)))
    (drop (call $map_fd (i64.const 1) ({pointer}.const 1024)))
    (drop (call $map_fd (i64.const 1) ({pointer}.const 1032)))
    (drop (call $map_fd (i64.const 1) ({pointer}.const 1040))))
  (func $poll (param $function i32) (param $max i32) (result i32)
    (call $buffer_poll (i64.const 1) (i32.const {RING_FD}) (local.get $function) (i32.const 7)
      ({pointer}.const 4096) (local.get $max) (i32.const 0)))
  (func $sleep (param $seconds i64)
    (i64.store (i32.const 512) (i64.const 0))
    (i64.store (i32.const 520) (i64.const 0))
    (i32.store (i32.const 528) (i32.const 1))
    (i64.store (i32.const 536) (i64.mul (local.get $seconds) (i64.const 1000000000)))
    (i64.store (i32.const 544) (i64.const 0))
    (i32.store (i32.const 552) (i32.const 0))
    (drop (call $poll_oneoff (i32.const 512) (i32.const 600) (i32.const 1) (i32.const 700))))
  {more}
  (func (export "_start") (call $open) {body}))
""")


def record(payload: bytes, flags: int = 0, cut: int | None = None) -> bytes:
    """Return a record of a ring buffer, of which ``cut`` bytes are there."""
    return (struct.pack("=II", len(payload) | flags, 0) + payload).ljust(stride_of(len(payload)), b"\0")[:cut]


def busy(payload: bytes) -> bytes:
    """Return a record that is not finished."""
    return record(payload, BUSY)


def discarded(payload: bytes) -> bytes:
    """Return a record that its program has thrown away."""
    return record(payload, DISCARD)


class FakeRing:
    """A ring that holds what a test puts in."""

    def __init__(self, data: bytes = b"") -> None:
        self.data = bytearray(data)
        self.fds: list[int] = []
        self.lost = 0
        self.closed = False

    def peek(self, limit: int) -> memoryview:
        first = stride_of(int.from_bytes(self.data[:4], "little") & 0x3FFF_FFFF) if self.data else 0
        return memoryview(bytes(self.data[: max(limit, first)]))

    def advance(self, size: int) -> None:
        assert size <= len(self.data)
        del self.data[:size]

    def close(self) -> None:
        self.closed = True


@dataclass
class FakeMap:
    name: str
    type: int
    fd: int
    data_section: str = ""
    key_size_bytes: int = 4
    lookup_size_bytes: int = 8


@dataclass
class FakeLoaded:
    """An object that is in no kernel."""

    maps: list[FakeMap]
    programs: list[Any] = field(default_factory=list)
    closed: bool = False

    def close(self) -> None:
        self.closed = True


class FakeObjects(Objects):
    """Loads nothing: each object has two ring buffers and a hash."""

    def __init__(self, *rings: FakeRing) -> None:
        super().__init__("guest", Loading())
        self.rings = {RING_FD + index: ring for index, ring in enumerate((*rings, FakeRing(), FakeRing())[:2])}
        self.loaded: list[FakeLoaded] = []

    def _make(self, data: bytes) -> BpfObject:
        maps = [FakeMap("ring", 27, RING_FD), FakeMap("other", 27, OTHER_FD), FakeMap("hash", 1, HASH_FD)]
        self.loaded.append(FakeLoaded(maps))
        open_ring: Callable[[Any], Any] = lambda found: self.rings[found.fd]  # noqa: E731
        loaded: Any = self.loaded[-1]
        return BpfObject(loaded, open_ring)


@dataclass
class Ran:
    """What a guest has done.

    Attributes:
        numbers: What it said.
        errors: What was reported to the user.
    """

    status: int
    numbers: list[int]
    errors: list[EcliError]
    was_killed: bool


def run(
    data: bytes,
    *rings: FakeRing,
    raw: bool | None = None,
    limits: Limits = CONTROLLER_LIMITS,
    arguments: Sequence[str] = ("guest.wasm",),
    on_controller: Callable[[Controller], None] = lambda _controller: None,
    grace_s: float = 0.2,
    kill_after_s: float = 60,
) -> Ran:
    """Run a guest to its end, with rings instead of a kernel."""
    written = bytearray()
    errors: list[EcliError] = []
    surroundings = Surroundings(arguments, lambda _fd, piece: written.extend(piece), errors.append)
    with Controller(data, surroundings, limits=limits, raw=raw, objects=FakeObjects(*rings)) as controller:
        on_controller(controller)
        timer = Timer(kill_after_s, controller.kill)
        timer.start()
        try:
            status = controller.run(grace_s)
        finally:
            timer.cancel()
            timer.join()
        count = len(written) // 4
        return Ran(status, list(struct.unpack_from(f"<{count}i", written)), errors, controller.was_killed)
