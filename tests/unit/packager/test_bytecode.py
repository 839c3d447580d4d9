"""Event calls found in code written instruction by instruction."""

from __future__ import annotations

from ecli_packager.bytecode import EventCall, interpret
from ecli_packager.instructions import Function, Instruction
from ecli_packager.values import Argument, Frame, MapAddress, MapValue, Result


def op(
    opcode: int, destination: int = 0, source: int = 0, offset: int = 0, immediate: int = 0, symbol: str | None = None
) -> list[Instruction | None]:
    return [Instruction(opcode, destination, source, offset, immediate, symbol)]


def load_map(register: int, name: str = "events") -> list[Instruction | None]:
    return [*op(0x18, register, 1, symbol=name), None]


def move(register: int, immediate: int) -> list[Instruction | None]:
    return op(0xB7, register, immediate=immediate)


def copy(register: int, source: int) -> list[Instruction | None]:
    return op(0xBF, register, source)


def add(register: int, immediate: int) -> list[Instruction | None]:
    return op(0x07, register, immediate=immediate)


def call(helper: int) -> list[Instruction | None]:
    return op(0x85, immediate=helper)


def subprogram(name: str) -> list[Instruction | None]:
    return op(0x85, source=1, symbol=name)


EXIT = op(0x95)


def function(name: str, *parts: list[Instruction | None]) -> Function:
    words = [word for part in parts for word in part]
    return Function(name, 0, {index: word for index, word in enumerate(words) if word is not None})


def events(*functions: Function) -> list[tuple[set[str], set[int]]]:
    return [(set(call.maps), set(call.sizes_bytes)) for call in interpret(list(functions))]


def test_reserve() -> None:
    (found,) = interpret([function("f", load_map(1), move(2, 40), move(3, 0), call(131), EXIT)])
    assert found == EventCall(frozenset({"events"}), frozenset({40}), frozenset(), "f", 40)


def test_data_on_the_stack_and_size_in_a_copied_register() -> None:
    code = function("f", move(6, 24), load_map(2), copy(4, 10), add(4, -24), copy(5, 6), call(25), EXIT)
    (found,) = interpret([code])
    assert (set(found.maps), set(found.sizes_bytes), set(found.origins)) == ({"events"}, {24}, {Frame("f", 56, 0)})
    assert found.holders == {4}


def test_data_in_the_value_of_another_map() -> None:
    code = function("f", load_map(1, "heap"), call(1), copy(6, 0), load_map(1), copy(2, 6), move(3, 8), call(130), EXIT)
    (found,) = interpret([code])
    assert set(found.origins) == {MapValue("heap", 0, 2)}
    assert {(24, 0), (32, 6), (64, 2)} <= found.copies


def test_what_a_helper_returned_is_known_by_its_copies_and_beside_a_value_of_a_map() -> None:
    reserve = [*load_map(1), *move(2, 64), *move(3, 0), *call(131), *copy(6, 0)]
    heap = [*load_map(1, "heap"), *call(1), *copy(6, 0)]
    either = [*op(0x15, 7, offset=len(reserve) + 1), *reserve, *op(0x05, offset=len(heap)), *heap]  # if (r7 == 0) the heap's
    send = [*load_map(1), *copy(2, 6), *copy(3, 8), *call(130)]
    reserved, sent = interpret([function("f", either, send, EXIT)])
    assert (set(reserved.sizes_bytes), set(sent.sizes_bytes)) == ({64}, set())
    assert sent.origins == {Result(5), MapValue("heap", 0, 10)}
    assert {2, 6} <= sent.holders
    passed = [*call(14), *copy(1, 0), *subprogram("output")]  # to a subprogram it means nothing
    (sent,) = interpret([function("f", passed, EXIT), function("output", copy(2, 1), load_map(1), move(3, 8), call(130), EXIT)])
    assert sent.origins == {Argument(1)}


def test_a_size_that_is_computed_from_constants_is_known_and_others_are_not() -> None:
    assert events(function("f", load_map(1), move(3, 8), add(3, 4), call(130), EXIT)) == [({"events"}, {12})]
    assert events(function("f", load_map(1), move(3, 8), op(0x0F, 3, 4), call(130), EXIT)) == [({"events"}, set())]


def test_both_ways_of_a_branch_count() -> None:
    branch = op(0x15, 1, offset=1)  # if r1 == 0, skip the next instruction
    code = function("f", move(6, 16), branch, move(6, 32), load_map(1), copy(2, 6), call(131), EXIT)
    assert events(code) == [({"events"}, {16, 32})]


def test_each_map_has_its_own_sizes_where_two_calls_became_one() -> None:
    branch, skip = op(0x15, 1, offset=4), op(0x05, offset=3)  # if r1 == 0, skip four instructions; skip three
    code = function("f", branch, load_map(2, "a"), move(5, 8), skip, load_map(2, "b"), move(5, 16), call(25), EXIT)
    assert sorted(events(code), key=str) == [({"a"}, {8}), ({"b"}, {16})]


def test_an_element_of_a_global_array() -> None:
    element = op(0x0F, 2, 8)  # r2 += r8, which is not known
    (found,) = interpret([function("f", load_map(2, "slots"), element, load_map(1), move(3, 16), call(130), EXIT)])
    assert set(found.origins) == {MapAddress("slots")}


def test_values_kept_with_tasks_and_their_like_are_of_their_maps() -> None:
    code = function("f", load_map(1, "kept"), call(156), copy(6, 0), load_map(1), copy(2, 6), move(3, 8), call(130), EXIT)
    (found,) = interpret([code])
    assert set(found.origins) == {MapValue("kept", 0, 2)}


def test_a_record_behind_a_dynptr_that_is_written_in_one_piece() -> None:
    pointer = [*copy(4, 10), *add(4, -16)]
    reserve = [*load_map(1), *move(2, 24), *pointer, *call(198)]
    write = [*copy(1, 10), *add(1, -16), *move(2, 0), *copy(3, 10), *add(3, -40), *move(4, 24), *call(202)]
    (found,) = interpret([function("f", reserve, write, EXIT)])
    assert (set(found.sizes_bytes), set(found.origins)) == ({24}, {Frame("f", 104, 0)})


def test_a_register_that_was_spilled() -> None:
    spill, fill = op(0x7B, 10, 6, -8), op(0x79, 2, 10, -8)
    overwrite = op(0x62, 10, 0, -4)
    assert events(function("f", move(6, 16), spill, load_map(1), fill, call(131), EXIT)) == [({"events"}, {16})]
    assert events(function("f", move(6, 16), spill, overwrite, load_map(1), fill, call(131), EXIT)) == [({"events"}, set())]


def test_a_call_clobbers_its_arguments() -> None:
    assert events(function("f", load_map(1), move(2, 40), call(14), call(131), EXIT)) == [(set(), set())]


def test_arguments_and_results_of_subprograms_are_followed() -> None:
    program = function("f", load_map(1), move(2, 40), subprogram("send"), EXIT)
    send = function("send", copy(6, 1), copy(7, 2), subprogram("flags"), copy(1, 6), copy(2, 7), copy(3, 0), call(131), EXIT)
    flags = function("flags", move(0, 0), EXIT)
    assert events(program, send, flags) == [({"events"}, {40})]


def test_a_subprogram_that_is_called_twice() -> None:
    first = function("f", load_map(1, "a"), move(2, 8), subprogram("send"), EXIT)
    second = function("g", load_map(1, "b"), move(2, 16), subprogram("send"), EXIT)
    assert events(first, second, function("send", call(131), EXIT)) == [({"a"}, {8}), ({"b"}, {16})]


def test_what_a_function_was_given_is_known_by_its_copies() -> None:
    (found,) = interpret([function("f", copy(6, 2), copy(7, 3), load_map(1), copy(2, 6), move(3, 16), call(130), EXIT)])
    assert set(found.origins) == {Argument(2)}
    assert found.holders == {2, 6}
    branch = op(0x15, 1, offset=1)  # if r1 == 0, skip the next instruction
    assert events(function("f", copy(6, 2), branch, move(6, 8), load_map(1), copy(3, 6), call(130), EXIT)) == [
        ({"events"}, set())
    ]


def test_what_lies_on_the_stack_of_the_caller() -> None:
    first = function("f", op(0x7A, 10, offset=-40), copy(1, 10), add(1, -24), subprogram("send"), EXIT)
    send = function("send", copy(2, 1), load_map(1), move(3, 24), subprogram("output"), EXIT)
    (found,) = interpret([first, send, function("output", call(130), EXIT)])
    assert (set(found.origins), found.function, found.functions) == ({Frame("f", 32, 16)}, "output", {"output", "f"})


def test_a_subprogram_that_is_called_in_many_ways() -> None:
    calls = [word for size in range(100) for word in (*load_map(1), *move(2, size * 8), *subprogram("send"))]
    found = events(function("f", calls, EXIT), function("send", call(131), EXIT))
    assert found[:2] == [({"events"}, {0}), ({"events"}, {8})]
    assert found[-1] == ({"events"}, set())


def test_code_behind_a_call_that_has_not_returned_yet_is_not_guessed_at() -> None:
    code = function("f", subprogram("size"), copy(2, 0), load_map(1), subprogram("send"), EXIT)
    assert events(code, function("size", move(0, 8), EXIT), function("send", call(131), EXIT)) == [({"events"}, {8})]


def test_the_first_piece_of_a_record_behind_a_dynptr_tells() -> None:
    pointer = copy(4, 10), add(4, -16)
    reserve = [*load_map(1), *op(0x61, 2, 6), *[word for part in pointer for word in part], *call(198)]
    write = [*copy(1, 10), *add(1, -16), *move(2, 0), *copy(3, 10), *add(3, -24), *move(4, 8), *call(202)]
    rest = [*copy(1, 10), *add(1, -16), *move(2, 8), *copy(3, 10), *add(3, -48), *move(4, 24), *call(202)]
    assert events(function("f", reserve, write, rest, EXIT)) == [({"events"}, {8})]
    assert events(function("f", reserve, EXIT)) == [({"events"}, set())]


def test_loops_end() -> None:
    code = function("f", move(2, 0), load_map(1), add(2, 1), op(0x05, offset=-2), EXIT)
    assert events(code) == []
    counted = function("f", move(6, 0), add(6, 1), op(0x15, 7, offset=-2), load_map(1), copy(2, 6), call(131), EXIT)
    assert events(counted) == [({"events"}, set())]


def test_other_helpers_are_none() -> None:
    assert events(function("f", load_map(1, "hash"), call(1), EXIT)) == []


def contents(*functions: Function) -> list[list[int | set[int] | None]]:
    """Return the bytes of each event: a constant, several, or None."""
    held = [call.contents for call in interpret(list(functions), "little")]
    return [[None if each is None else next(iter(each)) if len(each) == 1 else set(each) for each in event] for event in held]


def store(register: int, offset: int, immediate: int, opcode: int = 0x62) -> list[Instruction | None]:
    return op(opcode, register, offset=offset, immediate=immediate)


def test_what_an_event_on_the_stack_holds() -> None:
    output = [*load_map(2), *copy(4, 10), *add(4, -8), *move(5, 8), *call(25)]
    zero, kind = store(10, -8, 0, 0x7A), store(10, -6, 0x0203, 0x6A)
    assert contents(function("f", zero, kind, output, EXIT)) == [[0, 0, 3, 2, 0, 0, 0, 0]]
    unknown = op(0x63, 10, 6, -4)  # *(u32 *)(r10 - 4) = r6
    assert contents(function("f", zero, kind, unknown, output, EXIT)) == [[0, 0, 3, 2, None, None, None, None]]
    read_into = [*copy(1, 10), *add(1, -7), *move(2, 2), *call(113)]
    assert contents(function("f", zero, kind, read_into, output, EXIT)) == [[0, None, None, 2, 0, 0, 0, 0]]
    lent = [*copy(1, 10), *add(1, -4), *subprogram("g")]
    assert contents(function("f", zero, lent, output, EXIT), function("g", move(0, 0), EXIT)) == [
        [0, 0, 0, 0, None, None, None, None]
    ]


def test_what_a_record_holds_when_it_is_submitted() -> None:
    reserve = [*load_map(1), *move(2, 8), *call(131), *copy(6, 0)]
    branch = op(0x15, 7, offset=2)  # if r7 == 0, skip two instructions
    fill = [*store(6, 0, 1), *branch, *store(6, 0, 2), *move(8, 0), *copy(1, 6), *call(132)]
    assert contents(function("f", reserve, fill, EXIT)) == [[{1, 2}, 0, 0, 0]]
    assert contents(function("f", reserve, EXIT)) == [[]]


def test_what_a_map_value_holds() -> None:
    lookup = [*load_map(1, "heap"), *call(1), *copy(6, 0), *store(6, 0, 7)]
    assert contents(function("f", lookup, load_map(1), copy(2, 6), move(3, 4), call(130), EXIT)) == [[7, 0, 0, 0]]
