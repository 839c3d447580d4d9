"""Controllers without a kernel: guests written as text, with rings that hold what a kernel cannot be made to leave in one."""

from __future__ import annotations

import struct
import threading
import time

import pytest

from ecli_runtime.errors import WasmError, WasmTrapError
from ecli_runtime.wasm.controller.adapter import STAGING_BYTES
from ecli_runtime.wasm.controller.session import Controller, Surroundings
from ecli_runtime.wasm.errnos import guest_errno
from ecli_runtime.wasm.kinds import Kind, kind_of
from ecli_runtime.wasm.limits import Limits
from tests.guests import HASH_FD, OTHER_FD, RING_FD, FakeObjects, FakeRing, busy, discarded, guest, record, run, wasm

EBADF, EBUSY, EFAULT, EINTR, EINVAL, ENOENT = 8, 10, 21, 27, 28, 44

POLL = "(call $say (call $poll (i32.const 1) (i32.const 64)))"


def number(value: int, size: int = 4) -> bytes:
    return struct.pack("<I", value).ljust(size, b"\xee")


@pytest.fixture(params=[True, False], ids=["raw calls", "public calls"])
def raw(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


# Polling.


def test_one_poll_delivers_every_record(raw: bool) -> None:
    ring = FakeRing(b"".join(record(number(index, 4 + index)) for index in range(10)))
    ran = run(guest(POLL), ring, raw=raw)
    assert ran.numbers == [*(each for index in range(10) for each in (4 + index, index)), 10]
    assert ring.data == b""
    assert ring.closed


@pytest.mark.parametrize("pointer", ["i32", "i64"])
def test_both_widths_of_pointers(pointer: str, raw: bool) -> None:
    assert run(guest(POLL, pointer=pointer), FakeRing(record(number(5))), raw=raw).numbers == [4, 5, 1]


def test_busy_and_discarded_records() -> None:
    ring = FakeRing(record(number(1)) + discarded(number(2)) + record(number(3)) + busy(number(4)) + record(number(5)))
    assert run(guest(POLL + POLL), ring).numbers == [4, 1, 4, 3, 2, 0]
    assert ring.data == busy(number(4)) + record(number(5))


def test_records_that_are_all_discarded() -> None:
    ring = FakeRing(discarded(number(2)) * 3)
    assert run(guest(POLL), ring).numbers == [0]
    assert ring.data == b""


def test_a_record_that_is_cut_off_waits_for_its_rest() -> None:
    ring = FakeRing(record(number(1)) + record(number(2, 100), cut=40))
    assert run(guest(POLL), ring).numbers == [4, 1, 1]
    assert len(ring.data) == 40


def test_the_guest_gets_what_it_has_room_for() -> None:
    assert run(guest(POLL), FakeRing(record(number(1, 65)) + record(number(2, 64)))).numbers == [64, 1, 64, 2, 2]


@pytest.mark.parametrize("size", [STAGING_BYTES - 9, STAGING_BYTES - 8, STAGING_BYTES - 7, STAGING_BYTES * 4])
def test_huge_records(size: int) -> None:
    huge = [record(number(value, size)) for value in range(3)]
    ring = FakeRing(huge[0] + record(number(7)) + discarded(number(8, size)) + huge[1] + busy(number(9, size)) + huge[2])
    assert run(guest(POLL + POLL), ring).numbers == [64, 0, 4, 7, 64, 1, 3, 0]
    assert len(ring.data) == 2 * len(huge[0])


def test_more_records_than_fit_at_once() -> None:
    count = 3 * STAGING_BYTES // 208
    ring = FakeRing(record(number(1, 200)) * count)
    body = "(call $say (call $poll (i32.const 2) (i32.const 64)))"
    quiet = "(func $quiet (type $callback) (i32.const 0)) (elem (i32.const 2) $quiet)"
    assert run(guest(body, quiet), ring).numbers == [count]


def test_a_negative_result_ends_the_poll_and_is_its_result() -> None:
    more = "(func $no (type $callback) (i32.sub (i32.const -5) (i32.load (local.get 1)))) (elem (i32.const 2) $no)"
    ring = FakeRing(record(number(1)) + record(number(2)))
    no = "(call $say (call $poll (i32.const 2) (i32.const 64)))"
    assert run(guest(no + no + no, more), ring).numbers == [-6, -7, 0]


def test_a_trap_in_the_middle_is_not_swallowed(raw: bool) -> None:
    more = """
    (func $trap (type $callback)
      (if (i32.eq (i32.load (local.get 1)) (i32.const 2)) (then unreachable))
      (call $seen (local.get 0) (local.get 1) (local.get 2)))
    (elem (i32.const 2) $trap)"""
    ring = FakeRing(b"".join(record(number(index)) for index in range(4)))
    with pytest.raises(WasmTrapError, match="unreachable"):
        run(guest("(call $say (call $poll (i32.const 2) (i32.const 64)))", more), ring, raw=raw)
    assert ring.data == record(number(3))  # the one that it trapped on is done with


def test_slots_of_the_table_that_are_no_callbacks() -> None:
    polls = "".join(f"(call $say (call $poll (i32.const {index}) (i32.const 64)))" for index in (0, 2, 8, -1))
    ring = FakeRing(record(number(1)))
    assert run(guest(polls), ring).numbers == [-EINVAL] * 4
    assert ring.data


@pytest.mark.parametrize("type_", ["(param i32) (result i32)", "(param v128)"])
def test_a_callback_of_another_type(type_: str) -> None:
    more = f"(func $other {type_} unreachable) (elem (i32.const 3) $other)"
    with pytest.raises(WasmTrapError, match="type mismatch"):
        run(guest("(call $say (call $poll (i32.const 3) (i32.const 64)))", more), FakeRing(record(number(1))))


def test_a_table_of_something_else() -> None:
    more = """(table (export "__indirect_function_table") 1 externref)"""
    ran = run(guest(POLL, more, table=False), FakeRing(record(number(1))))
    assert ran.numbers == [-EINVAL]
    assert "callbacks are no functions" in str(ran.errors[0])


def test_a_guest_without_a_table() -> None:
    assert run(guest(POLL, table=False), FakeRing(record(number(1)))).numbers == [-EINVAL]


def test_buffers_that_are_not_in_memory() -> None:
    ring = FakeRing(record(number(1)))
    sizes = "".join(f"(call $say (call $poll (i32.const 1) (i32.const {size})))" for size in (131072 - 4096 + 1, -1, 1 << 30))
    assert run(guest(sizes), ring).numbers == [-EFAULT] * 3
    assert ring.data
    whole = "(call $say (call $poll (i32.const 1) (i32.const 126976)))"
    assert run(guest(whole), ring).numbers == [4, 1, 1]


def test_several_pollers_of_one_object() -> None:
    other = f"""(call $say (call $buffer_poll (i64.const 1) (i32.const {OTHER_FD}) (i32.const 1) (i32.const 0)
      (i32.const 4096) (i32.const 64) (i32.const 0)))"""
    rings = FakeRing(record(number(1))), FakeRing(record(number(2)) * 2)
    assert run(guest(other + POLL), *rings).numbers == [4, 2, 4, 2, 2, 4, 1, 1]


@pytest.mark.parametrize(
    ("handle", "fd", "expected"), [(2, RING_FD, -EINVAL), (1, 3, -ENOENT), (1, HASH_FD, -EINVAL), (-1, RING_FD, -EINVAL)]
)
def test_what_cannot_be_polled(handle: int, fd: int, expected: int) -> None:
    body = f"""(call $say (call $buffer_poll (i64.const {handle}) (i32.const {fd}) (i32.const 1) (i32.const 0)
      (i32.const 4096) (i32.const 64) (i32.const 0)))"""
    assert run(guest(body)).numbers == [expected]


def test_polling_and_closing_from_a_callback_is_refused() -> None:
    more = f"""
    (func $again (type $callback) {POLL} (call $say (call $close (i64.const 1))) (i32.const 0))
    (elem (i32.const 2) $again)"""
    ran = run(guest(f"(call $say (call $poll (i32.const 2) (i32.const 64))) {POLL}", more), FakeRing(record(number(1))))
    assert ran.numbers == [-EBUSY, -EBUSY, 1, 0]


def test_a_closed_object_is_gone() -> None:
    ring = FakeRing(record(number(1)))
    ran = run(guest(f"{POLL} (call $say (call $close (i64.const 1))) {POLL} (call $say (call $close (i64.const 1)))"), ring)
    assert ran.numbers == [4, 1, 1, 0, -EINVAL, -EINVAL]
    assert ring.closed


def test_there_are_no_descriptors_to_attach_to() -> None:
    module = wasm("""
(module
  (import "wasm_bpf" "wasm_load_bpf_object" (func $load (param i32 i32) (result i64)))
  (import "wasm_bpf" "wasm_attach_bpf_program_fd" (func $attach (param i64 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
  (memory (export "memory") 1)
  (data (i32.const 16) "program\\00")
  (func (export "_start")
    (call $proc_exit (i32.sub (i32.const 0) (i32.add
      (call $attach (call $load (i32.const 0) (i32.const 8)) (i32.const 16) (i32.const 3))
      (call $attach (i64.const 1) (i32.const 16) (i32.const -1)))))))
""")
    ran = run(module)
    assert ran.status == EBADF + EINVAL
    assert [str(each) for each in ran.errors] == ["the object has no program 'program'"]


def test_samples_that_were_lost_are_told() -> None:
    ring = FakeRing(record(number(1)))
    ring.lost = 5
    with Controller(guest(POLL), Surroundings(["x"], lambda _fd, _data: None, print), objects=FakeObjects(ring)) as controller:
        controller.run()
        assert controller.lost() == [("ring", 5)]


def tinygo(callback: str = '(export "go-callback")') -> bytes:
    return wasm(f"""
(module
  (import "wasm_bpf" "wasm_load_bpf_object" (func $load (param i64 i32) (result i64)))
  (import "wasm_bpf" "wasm_bpf_map_fd_by_name" (func $map_fd (param i64 i64) (result i32)))
  (import "callback-wrapper" "wasm_bpf_buffer_poll" (func $poll (param i64 i32 i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
  (memory (export "memory") 1)
  (global $sum (mut i32) (i32.const 0))
  (data (i32.const 1024) "ring\\00")
  (func {callback} (param i32 i32 i32) (result i32)
    (global.set $sum (i32.add (global.get $sum) (i32.add (local.get 0) (i32.load (local.get 1))))) (i32.const 0))
  (func (export "_start")
    (drop (call $load (i64.const 0) (i32.const 8)))
    (drop (call $map_fd (i64.const 1) (i64.const 1024)))
    (drop (call $poll (i64.const 1) (i32.const {RING_FD}) (i32.const 7) (i32.const 64) (i32.const 64) (i32.const 0)))
    (call $proc_exit (global.get $sum))))
""")


def test_the_form_of_tinygo() -> None:
    assert run(tinygo(), FakeRing(record(number(20)) + record(number(22)))).status == 7 + 20 + 7 + 22
    ran = run(tinygo(callback=""), FakeRing(record(number(20))))
    assert ran.status == 0
    assert "go-callback" in str(ran.errors[0])


# The end.


@pytest.mark.parametrize("status", [0, 1, 2, 125, 126, 127, 128, 254, 255])
def test_exit_statuses(status: int, raw: bool) -> None:
    assert run(guest(f"(call $proc_exit (i32.const {status}))"), raw=raw).status == status


def test_every_exit_status_in_one_guest_each() -> None:
    assert [run(guest(f"(call $proc_exit (i32.const {status}))")).status for status in range(0, 256, 5)] == list(range(0, 256, 5))


def test_larger_exit_statuses_are_cut_as_the_kernel_does() -> None:
    assert run(guest("(call $proc_exit (i32.const -1))")).status == 255


def test_returning_is_success() -> None:
    assert run(guest("")).status == 0


def stop_soon(controller: Controller) -> None:
    threading.Timer(0.1, controller.stop).start()


def test_what_spins_is_killed(raw: bool) -> None:
    ran = run(guest("(loop $for_ever (br $for_ever))"), raw=raw, on_controller=stop_soon)
    assert ran.was_killed
    assert ran.status == 0


def test_what_sleeps_wakes_up_and_ends_by_itself() -> None:
    begin = time.monotonic()
    ran = run(guest("(call $sleep (i64.const 100)) (call $proc_exit (i32.const 9))"), on_controller=stop_soon, grace_s=50)
    assert (ran.status, ran.was_killed) == (9, False)
    assert time.monotonic() - begin < 20


def test_what_sleeps_again_is_killed() -> None:
    begin = time.monotonic()
    ran = run(guest("(loop $for_ever (call $sleep (i64.const 100)) (br $for_ever))"), on_controller=stop_soon)
    assert ran.was_killed
    assert time.monotonic() - begin < 20


def test_a_kill_does_not_wait_for_the_grace() -> None:
    begin = time.monotonic()
    spin = guest("(loop $for_ever (br $for_ever))")
    ran = run(spin, on_controller=lambda controller: threading.Timer(0.1, controller.kill).start(), grace_s=50)
    assert ran.was_killed
    assert time.monotonic() - begin < 20


def test_polls_say_that_it_shall_end() -> None:
    more = f"""
    (func $until_stopped (local $result i32)
    (loop $polls
      (local.set $result (call $buffer_poll (i64.const 1) (i32.const {RING_FD}) (i32.const 1) (i32.const 0)
        (i32.const 4096) (i32.const 64) (i32.const 10)))
      (br_if $polls (i32.ge_s (local.get $result) (i32.const 0))))
    (call $proc_exit (i32.sub (i32.const 0) (local.get $result))))"""
    ran = run(guest("(call $until_stopped)", more), on_controller=stop_soon, grace_s=50)
    assert (ran.status, ran.was_killed) == (EINTR, False)


def test_a_poll_that_waits_for_ever_ends() -> None:
    body = f"""(call $say (call $buffer_poll (i64.const 1) (i32.const {RING_FD}) (i32.const 1) (i32.const 0)
        (i32.const 4096) (i32.const 64) (i32.const -1)))"""
    assert run(guest(body), on_controller=stop_soon, grace_s=50).numbers == [-EINTR]


def test_what_was_stopped_before_it_began() -> None:
    assert run(guest("(loop $for_ever (br $for_ever))"), on_controller=lambda controller: controller.kill()).was_killed


# Limits.


def test_deep_recursion() -> None:
    with pytest.raises(WasmTrapError, match="stack"):
        run(guest("(call $deep)", "(func $deep (call $deep) (call $say (i32.const 1)))"))


def test_memory_grows_up_to_its_limit() -> None:
    grow = "(call $say (memory.grow (i32.const 16)))"
    ran = run(guest(grow * 3), limits=Limits(memory_bytes=40 << 16))
    assert ran.numbers == [2, 18, -1]


def test_samples_go_into_memory_that_has_grown() -> None:
    body = f"""(drop (memory.grow (i32.const 100)))
    (call $say (call $buffer_poll (i64.const 1) (i32.const {RING_FD}) (i32.const 1) (i32.const 0)
        (i32.const 6000000) (i32.const 64) (i32.const 0)))"""
    assert run(guest(body), FakeRing(record(number(3)))).numbers == [4, 3, 1]


def test_memory_may_grow_in_a_callback() -> None:
    more = """(func $grow (type $callback) (drop (memory.grow (i32.const 50)))
      (call $seen (local.get 0) (local.get 1) (local.get 2))) (elem (i32.const 2) $grow)"""
    ran = run(guest("(call $say (call $poll (i32.const 2) (i32.const 64)))", more), FakeRing(record(number(3)) * 2))
    assert ran.numbers == [4, 3, 4, 3, 2]


def test_a_module_that_begins_with_too_much_memory() -> None:
    with pytest.raises(WasmError, match="memory"):
        run(guest("", memory="600"), limits=Limits(memory_bytes=16 << 20))


def test_fuel() -> None:
    with pytest.raises(WasmTrapError, match="fuel"):
        run(guest("(loop $for_ever (br $for_ever))"), limits=Limits(fuel=1_000_000))
    assert run(guest(POLL), FakeRing(record(number(3))), limits=Limits(fuel=1_000_000)).numbers == [4, 3, 1]


def test_two_modules_in_two_threads() -> None:
    """Each gets its own errors: wasmtime's Python bindings have one place for those of all threads."""
    statuses: dict[int, list[int]] = {1: [], 2: []}
    more = "(func $exit (type $callback) (call $proc_exit (i32.load (local.get 1))) (i32.const 0)) (elem (i32.const 2) $exit)"
    module = guest("(drop (call $poll (i32.const 2) (i32.const 64)))", more)

    def work(which: int) -> None:
        for _ in range(60):
            statuses[which].append(run(module, FakeRing(record(number(which)))).status)

    threads = [threading.Thread(target=work, args=(which,)) for which in statuses]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == {1: [1] * 60, 2: [2] * 60}


# WASI.


def test_arguments_and_nothing_else() -> None:
    module = wasm("""
(module
  (import "wasm_bpf" "wasm_close_bpf_object" (func (param i64) (result i32)))
  (import "wasi_snapshot_preview1" "args_sizes_get" (func $sizes (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "args_get" (func $args (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "environ_sizes_get" (func $environ (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_prestat_get" (func $prestat (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_open" (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "sock_accept" (func $accept (param i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_raise" (func $raise (param i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "_start")
    (drop (call $sizes (i32.const 100) (i32.const 104)))
    (drop (call $environ (i32.const 108) (i32.const 112)))
    (i32.store (i32.const 116) (call $prestat (i32.const 3) (i32.const 0)))
    (i32.store (i32.const 120) (call $open (i32.const 3) (i32.const 0) (i32.const 0) (i32.const 1)
      (i32.const 0) (i64.const 0) (i64.const 0) (i32.const 0) (i32.const 0)))
    (i32.store (i32.const 124) (call $accept (i32.const 3) (i32.const 0) (i32.const 0)))
    (i32.store (i32.const 128) (call $raise (i32.const 2)))
    (i32.store (i32.const 132) (call $args (i32.const -4) (i32.const 0)))
    (i32.store (i32.const 136) (call $write (i32.const 5) (i32.const 0) (i32.const 0) (i32.const 0)))
    (drop (call $args (i32.const 200) (i32.const 140)))
    (i32.store (i32.const 0) (i32.const 100))
    (i32.store (i32.const 4) (i32.const 48))
    (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 16)))))
""")
    ran = run(module, arguments=["a.wasm", "b"])
    assert ran.numbers[:10] == [2, 9, 0, 0, EBADF, EBADF, EBADF, 52, EFAULT, EBADF]
    assert struct.pack("<2i", *ran.numbers[10:]) == b"a.wasm\0b"


def test_wasi_with_another_type() -> None:
    module = wasm("""(module
      (import "wasm_bpf" "wasm_close_bpf_object" (func (param i64) (result i32)))
      (import "wasi_snapshot_preview1" "proc_exit" (func (param i64)))
      (memory (export "memory") 1) (func (export "_start")))""")
    with pytest.raises(WasmError, match="proc_exit"):
        run(module)


def test_errors_are_those_of_wasi_libc() -> None:
    assert [guest_errno(each) for each in (1, 2, 4, 14, 16, 17, 22, 95, 524, 4001)] == [63, 44, 27, 21, 10, 20, 28, 58, 58, 29]


# What is no such module.

CLOSE = '(import "wasm_bpf" "wasm_close_bpf_object" (func (param i64) (result i32)))'
START = '(memory (export "memory") 1) (func (export "_start"))'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f'(module (import "wasm_bpf" "wasm_fly" (func)) {START})', "wasm_bpf.wasm_fly"),
        (f'(module (import "env" "abort" (func)) (import "gojs" "x" (func)) {START})', "env.abort, gojs.x"),
        (f"(module {START})", "neither drives"),
        (f"(module {CLOSE})", "memory and _start"),
        (f'(module (import "wasm_bpf" "wasm_close_bpf_object" (func (param f64) (result i32))) {START})', r"\(f64\) -> \(i32\)"),
        (
            f'(module (import "wasm_bpf" "wasm_close_bpf_object" (func (param i32 i32) (result i32))) {START})',
            r"\(i32, i32\) -> \(i32\)",
        ),
        (
            f'(module {CLOSE} (func (export "memory")) (func (export "_start")))',
            "is no memory",
        ),
        (
            f'(module {CLOSE} (memory (export "memory") 1) (func (export "_start") (param i32)))',
            "_start",
        ),
        ('(module (import "wasm_bpf" "x" (memory 1)) (func (export "_start")))', r"wasm_bpf.x \(memory\)"),
        (
            f"(module {CLOSE} (memory 1) {START})",
            "several memories",
        ),
        ('(module (func (export "ecli_abi") (result i32) (i32.const 1)))', "handler"),
        ('(module (import "env" "create_bpf" (func (param i32 i32) (result i32))))', "legacy"),
    ],
)
def test_modules_that_cannot_be_run(text: str, expected: str) -> None:
    with pytest.raises(WasmError, match=expected):
        run(wasm(text))


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"\0asm", "version"),
        (b"\0asm\2\0\0\0", "version 2"),
        (b"\0asm\r\0\1\0", "component"),
        (b"\0asm\1\0\0\0\1\2", "not valid"),
        (b"(module)", "no Wasm module"),
        (b"", "no Wasm module"),
    ],
)
def test_what_is_no_module(data: bytes, expected: str) -> None:
    with pytest.raises(WasmError, match=expected):
        run(data)


def test_a_start_function_may_call_before_there_is_memory() -> None:
    module = wasm("""(module
      (import "wasm_bpf" "wasm_load_bpf_object" (func $load (param i32 i32) (result i64)))
      (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
      (memory (export "memory") 1) (func (export "_start"))
      (func $start
        (drop (call $load (i32.const 0) (i32.const 8)))
        (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 0))))
      (start $start))""")
    assert run(module).status == 0


def test_kinds() -> None:
    assert kind_of(guest("")) is Kind.CONTROLLER
    assert kind_of(tinygo()) is Kind.CONTROLLER
    legacy = '(import "env" "create_bpf" (func (param i32 i32) (result i32))) (memory (export "memory") 1)'
    assert kind_of(wasm(f'(module {legacy} (func (export "bpf_main") (param i32 i32) (result i32) unreachable))')) is Kind.LEGACY
    exports = "".join(f'(func (export "{name}"))' for name in ("ecli_abi", "ecli_event", "ecli_buffer"))
    assert kind_of(wasm(f'(module (memory (export "memory") 1) {exports})')) is Kind.HANDLER


def test_what_output_raises_ends_the_module(raw: bool) -> None:
    def fail(_fd: int, _data: bytes) -> None:
        raise BrokenPipeError

    with (
        Controller(guest("(loop $l (call $say (i32.const 1)) (br $l))"), Surroundings(["x"], fail, print), raw=raw) as controller,
        pytest.raises(BrokenPipeError),
    ):
        controller.run()
