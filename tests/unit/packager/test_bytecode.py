"""Event calls found in code written instruction by instruction."""

from __future__ import annotations

import struct

from ecli_packager.bytecode import EventCall, section_calls


def instruction(opcode: int, destination: int = 0, source: int = 0, offset: int = 0, immediate: int = 0) -> bytes:
    return struct.pack("<BBhi", opcode, source << 4 | destination, offset, immediate)


def load_map(register: int) -> bytes:
    return instruction(0x18, register) + instruction(0)


def move(register: int, immediate: int) -> bytes:
    return instruction(0xB7, register, immediate=immediate)


def call(helper: int) -> bytes:
    return instruction(0x85, immediate=helper)


def test_reserve() -> None:
    code = load_map(1) + move(2, 40) + move(3, 0) + call(131)
    assert list(section_calls(code, {0: "events"}, True)) == [EventCall("events", 40)]


def test_perf_event_output_through_copies_of_registers() -> None:
    code = move(6, 24) + load_map(2) + instruction(0xBF, 5, 6) + call(25)
    assert list(section_calls(code, {8: "events"}, True)) == [EventCall("events", 24)]


def test_a_size_that_is_computed_is_not_known() -> None:
    code = load_map(1) + move(3, 8) + instruction(0x0F, 3, 4) + call(130)
    assert list(section_calls(code, {0: "events"}, True)) == [EventCall("events", None)]


def test_what_was_known_before_a_jump_target_is_not_known_there() -> None:
    code = instruction(0x15, 4, offset=2) + load_map(1) + move(2, 40) + call(131)  # if r4 == 0 goto the move
    assert list(section_calls(code, {8: "events"}, True)) == [EventCall(None, 40)]


def test_a_call_clobbers_its_arguments() -> None:
    code = load_map(1) + move(2, 40) + call(14) + call(131)
    assert list(section_calls(code, {0: "events"}, True)) == [EventCall(None, None)]


def test_other_helpers_are_none() -> None:
    assert list(section_calls(load_map(1) + call(1), {0: "hash"}, True)) == []
