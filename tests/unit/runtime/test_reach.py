"""What of a program can be reached, where constants decide: programs of a few instructions, written by hand (RFC 9669)."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from ecli_runtime.code import CodeSection, Target
from ecli_runtime.portability.reach import Patch, Reached, Walk
from ecli_runtime.portability.values import MASK64, Data, Frame, Pointer, compute, join, jumps, load

if TYPE_CHECKING:
    from ecli_runtime.portability.values import Value

LAYOUT = "<BBhi"
SECTION, TEXT, RODATA = 1, 2, 3


def op(code: int, destination: int = 0, source: int = 0, offset: int = 0, immediate: int = 0) -> bytes:
    return struct.pack(LAYOUT, code, destination | source << 4, offset, immediate)


def mov(register: int, number: int) -> bytes:
    return op(0xB7, register, immediate=number)


def load_address(register: int) -> bytes:
    return op(0x18, register) + op(0)


def helper(number: int) -> bytes:
    return op(0x85, immediate=number)


EXIT = op(0x95)
STORE_1, LOAD_2 = op(0x7B, 10, 1, -8), op(0x79, 2, 10, -8)  # *(u64 *)(r10 - 8) = r1; r2 = *(u64 *)(r10 - 8)


def skip_unless(register: int, count: int) -> bytes:
    """Return a jump over some instructions where a register is zero."""
    return op(0x15, register, offset=count)


def walk(
    code: bytes,
    patches: dict[int, Patch] | None = None,
    targets: dict[int, Target] | None = None,
    value_of: Callable[[Target, int], Value] = lambda _target, _immediate: Pointer(),
    text: bytes = b"",
) -> Reached:
    sections = {
        SECTION: CodeSection(SECTION, "tp", code, (), targets or {}),
        TEXT: CodeSection(TEXT, ".text", text, (), {}),
    }
    reached = Reached()
    at = {(SECTION, index): patch for index, patch in (patches or {}).items()}
    Walk(sections, LAYOUT, at, value_of, reached).follow(SECTION, 0)
    return reached


INVALID = Patch(None, "there is no such field")


@pytest.mark.parametrize(("exists", "is_reached"), [(0, False), (1, True)])
def test_the_answer_to_a_question_decides_what_is_reached(exists: int, is_reached: bool) -> None:
    code = mov(1, 7) + skip_unless(1, 2) + helper(112) + helper(1) + EXIT
    reached = walk(code, {0: Patch(exists), 2: INVALID})
    assert ((SECTION, 2) in reached.invalid) == is_reached
    assert 1 not in reached.helpers  # behind what is invalid nothing is reached, either


@pytest.mark.parametrize("exists", [0, 1])
def test_answers_are_known_in_the_frame_too(exists: int) -> None:
    code = mov(1, 7) + STORE_1 + helper(5) + LOAD_2 + skip_unless(2, 1) + helper(112) + EXIT
    assert (112 in walk(code, {0: Patch(exists)}).helpers) == bool(exists)


def test_what_a_helper_may_have_written_is_not_known() -> None:
    code = (
        mov(1, 0) + STORE_1 + op(0xBF, 1, 10) + op(0x07, 1, immediate=-8) + helper(4) + LOAD_2 + skip_unless(2, 1) + helper(112)
    )
    assert 112 in walk(code + EXIT).helpers


def test_what_differs_by_the_way_that_was_taken_is_not_known() -> None:
    # r0 = helper; r1 = 0; if r0 == 0 goto +1; r1 = 1; if r1 == 0 goto +1; call 112
    code = helper(7) + mov(1, 0) + skip_unless(0, 1) + mov(1, 1) + skip_unless(1, 1) + helper(112) + EXIT
    assert 112 in walk(code).helpers


def test_constants_and_options_are_read_from_data() -> None:
    code = load_address(1) + op(0x61, 2, 1, 4) + skip_unless(2, 1) + helper(112) + EXIT
    targets = {0: Target("limit", RODATA, 0)}
    for number in (0, 3):
        data = struct.pack("<II", 9, number)
        reached = walk(code, targets=targets, value_of=lambda target, at, data=data: Data(data, target.byte_offset + at))  # type: ignore[misc]
        assert (112 in reached.helpers) == bool(number)


@pytest.mark.parametrize(("value", "is_called"), [(0, False), (Pointer(), True)])
def test_functions_that_may_be_missing(value: Value, is_called: bool) -> None:
    code = load_address(1) + skip_unless(1, 1) + op(0x85, source=2) + EXIT
    targets = {0: Target("bpf_task_acquire", 0, 0), 3: Target("bpf_task_acquire", 0, 0)}
    reached = walk(code, targets=targets, value_of=lambda _target, _at: value)
    assert ("bpf_task_acquire" in reached.kfuncs) == is_called


@pytest.mark.parametrize("number", [0, 1])
def test_functions_are_followed_with_what_they_are_given(number: int) -> None:
    text = skip_unless(1, 1) + helper(112) + mov(0, 4) + EXIT
    code = mov(1, number) + op(0x85, source=1, immediate=-1) + op(0x15, 0, offset=1, immediate=4) + helper(113) + EXIT
    reached = walk(code, targets={1: Target("", TEXT, 0)}, text=text)
    assert (112 in reached.helpers) == bool(number)
    assert 113 not in reached.helpers  # their result is known


def test_loops_end() -> None:
    code = mov(1, 0) + op(0x07, 1, immediate=1) + op(0xA5, 1, offset=-2, immediate=100) + helper(112) + EXIT
    reached = walk(code)
    assert reached.complete
    assert 112 in reached.helpers


@pytest.mark.parametrize(
    ("code", "feature"),
    [
        (op(0xDB, 10, 1, -8, 0x01), "atomics"),
        (op(0xDB, 10, 1, -8, 0xF1), "atomics"),
        (op(0xBF, 1, 2, 8), "sign_extension"),
        (op(0x81, 1, 10, -8), "sign_extension"),
        (op(0x3F, 1, 2, 1), "signed_division"),
        (op(0xD7, 1, immediate=16), "byte_swaps"),
        (op(0xE5), "may_goto"),
    ],
)
def test_instructions_that_not_every_kernel_has(code: bytes, feature: str) -> None:
    assert set(walk(code + EXIT).features) == {feature}


def test_an_addition_in_memory_is_as_old_as_ebpf() -> None:
    assert not walk(op(0xDB, 10, 1, -8, 0) + EXIT).features


@pytest.mark.parametrize("code", [b"", op(0x05, offset=9), op(0x05, offset=-9), op(0x0D, 1), op(0xB7, 11), mov(0, 0)])
def test_code_that_leads_nowhere_is_not_complete(code: bytes) -> None:
    assert not walk(code).complete


def test_arithmetic() -> None:
    assert compute(0x07, MASK64, 1, 0) == 0
    assert compute(0x04, MASK64, 1, 0) == 0
    assert compute(0x04, 5, MASK64, 0) == 4
    assert compute(0x37, 7, 0, 0) == 0
    assert compute(0x97, 7, 0, 0) == 7
    assert compute(0xC7, MASK64 - 15, 2, 0) == MASK64 - 3
    assert compute(0xC4, 0x80000000, 31, 0) == 0xFFFFFFFF
    assert compute(0xBF, None, 0x80, 8) == MASK64 - 127
    assert compute(0xB4, None, MASK64, 0) == 0xFFFFFFFF
    assert compute(0x07, None, 1, 0) is None
    assert compute(0x07, Frame(0), MASK64 - 7, 0) == Frame(-8)
    assert compute(0x0F, Frame(0), None, 0) == Frame(None)


def test_comparisons() -> None:
    assert jumps(0x65, MASK64, 0) is False  # signed: -1 > 0
    assert jumps(0x25, MASK64, 0) is True
    assert jumps(0x16, 1 << 32, 0) is True  # of 32 bits
    assert jumps(0x15, Pointer(), 0) is False
    assert jumps(0x55, Data(b"", 0), 0) is True
    assert jumps(0x15, None, 0) is None
    assert jumps(0x15, Pointer(), 1) is None


def test_joining_and_loading() -> None:
    assert join(1, 1) == 1
    assert join(1, 2) is None
    assert join(Frame(-8), Frame(-16)) == Frame(None)
    assert join(Pointer(), Data(b"x", 0)) == Pointer()
    assert load(Data(b"\xff\x01", 0), 0, 1, "<", True) == MASK64
    assert load(Data(b"\xff\x01", 0), 0, 2, ">", False) == 0xFF01
    assert load(Data(b"\xff\x01", 0), 1, 2, "<", False) is None
