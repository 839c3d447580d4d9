"""What a sample decodes to, type by type. Samples are written by hand, independently of the decoder."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from ecli_runtime.btf import Btf
from ecli_runtime.decode.lines import Style, make_program
from ecli_runtime.decode.plan import (
    MAX_ELEMENT_COUNT,
    MAX_LINE_BYTES,
    MAX_OP_COUNT,
    event_type_id,
    flag_names,
    make_event_plan,
    make_plan,
    make_plan_of_members,
)
from ecli_runtime.decode.python import make_decoder
from ecli_runtime.decode.rows import PythonLines
from ecli_runtime.errors import BtfError, DecodeError
from ecli_runtime.read.run import Run
from tests.btf_builder import BtfBuilder


def decode(builder: BtfBuilder, type_id: int, sample: bytes) -> Any:
    return make_decoder(make_plan(Btf(builder.section()), type_id))(sample)


@pytest.mark.parametrize(
    ("size", "signed", "layout", "value"),
    [
        (1, True, "<b", -128),
        (1, False, "<B", 255),
        (2, True, "<h", -32768),
        (4, False, "<I", 4294967295),
        (8, True, "<q", -(1 << 63)),
        (8, False, "<Q", (1 << 64) - 1),
    ],
)
def test_integers(size: int, signed: bool, layout: str, value: int) -> None:
    builder = BtfBuilder()
    number = builder.integer("number", size, signed)
    assert decode(builder, number, struct.pack(layout, value)) == value


@pytest.mark.parametrize("value", [-(1 << 127), -1, 0, (1 << 127) - 1])
def test_integers_of_16_bytes(value: int) -> None:
    builder = BtfBuilder()
    assert decode(builder, builder.integer("__int128", 16, signed=True), value.to_bytes(16, "little", signed=True)) == value


def test_bool_and_floats() -> None:
    builder = BtfBuilder()
    flag, single, double = builder.integer("bool", 1, boolean=True), builder.floating("float", 4), builder.floating("double", 8)
    event = builder.struct("event", 16, ("flag", flag, 0), ("single", single, 32), ("double", double, 64))
    assert decode(builder, event, struct.pack("<B3xfd", 2, 0.5, -1.25)) == {"flag": True, "single": 0.5, "double": -1.25}


def test_strings_end_at_nul_and_are_never_an_error() -> None:
    builder = BtfBuilder()
    text = builder.array(builder.typedef("letter", builder.integer("char", 1, signed=True)), 4)
    assert decode(builder, text, b"ab\0x") == "ab"
    assert decode(builder, text, b"abcd") == "abcd"
    assert decode(builder, text, b"\xff\xc3\xa9\0") == "\ufffdé"
    assert decode(builder, text, b"\0\0\0\0") == ""


def test_an_array_at_the_end_may_be_sent_in_part() -> None:
    builder = BtfBuilder()
    number, text = builder.integer("number", 4), builder.array(builder.integer("char", 1, signed=True), 8)
    event = builder.struct("event", 12, ("length", number, 0), ("text", text, 32))
    assert decode(builder, event, struct.pack("<I3s", 3, b"abc")) == {"length": 3, "text": "abc"}
    assert decode(builder, event, struct.pack("<I", 0)) == {"length": 0, "text": ""}
    with pytest.raises(DecodeError):
        decode(builder, event, b"\0\0\0")
    numbers = builder.struct("numbers", 12, ("length", number, 0), ("values", builder.array(number, 2), 32))
    assert decode(builder, numbers, struct.pack("<II", 1, 7)) == {"length": 1, "values": [7, 0]}


def test_bytes_that_are_no_char_are_numbers() -> None:
    builder = BtfBuilder()
    address = builder.array(builder.integer("unsigned char", 1), 4)
    assert decode(builder, address, bytes([192, 168, 0, 1])) == [192, 168, 0, 1]


def test_enums_have_names_where_the_value_has_one() -> None:
    builder = BtfBuilder()
    kind = builder.enum("kind", 4, {"A": 0, "B": 7, "C": 7})
    assert decode(builder, kind, struct.pack("<I", 7)) == "B"
    assert decode(builder, kind, struct.pack("<I", 9)) == 9
    big = builder.enum64("big", {"MINUS": -1}, signed=True)
    assert decode(builder, big, b"\xff" * 8) == "MINUS"


@pytest.mark.parametrize("byteorder", ["little", "big"])
def test_bitfields(byteorder: str) -> None:
    builder = BtfBuilder(byteorder)
    u32, s32 = builder.integer("unsigned int", 4), builder.integer("int", 4, signed=True)
    event = builder.struct("event", 4, ("a", u32, 0, 3), ("b", s32, 3, 5), ("c", u32, 8, 20), ("d", u32, 28, 4))
    # In C: a = 5, b = -3, c = 0xABCDE, d = 9.
    if byteorder == "little":
        sample = (5 | (-3 & 31) << 3 | 0xABCDE << 8 | 9 << 28).to_bytes(4, "little")
    else:
        sample = (5 << 29 | (-3 & 31) << 24 | 0xABCDE << 4 | 9).to_bytes(4, "big")
    assert decode(builder, event, sample) == {"a": 5, "b": -3, "c": 0xABCDE, "d": 9}


def test_nested_and_anonymous_members() -> None:
    builder = BtfBuilder()
    u16 = builder.integer("unsigned short", 2)
    u8s = builder.array(builder.integer("unsigned char", 1), 2)
    point = builder.struct("point", 4, ("x", u16, 0), ("y", u16, 16))
    either = builder.union("", 2, ("port", u16, 0), ("bytes", u8s, 0))
    event = builder.struct("event", 8, ("at", point, 0), ("", either, 32), ("last", u16, 48))
    assert decode(builder, event, struct.pack("<4H", 1, 2, 0x0304, 5)) == {
        "at": {"x": 1, "y": 2},
        "port": 0x0304,
        "bytes": [4, 3],
        "last": 5,
    }


def test_arrays_of_structs_and_of_arrays() -> None:
    builder = BtfBuilder()
    u16 = builder.integer("unsigned short", 2)
    pair = builder.struct("pair", 4, ("a", u16, 0), ("b", u16, 16))
    matrix = builder.array(builder.array(u16, 2), 2)
    event = builder.struct("event", 16, ("pairs", builder.array(pair, 2), 0), ("matrix", matrix, 64))
    assert decode(builder, event, struct.pack("<8H", *range(8))) == {
        "pairs": [{"a": 0, "b": 1}, {"a": 2, "b": 3}],
        "matrix": [[4, 5], [6, 7]],
    }


def test_flexible_arrays_reach_to_the_end_of_the_sample() -> None:
    builder = BtfBuilder()
    u16, char = builder.integer("unsigned short", 2), builder.integer("char", 1, signed=True)
    event = builder.struct("event", 2, ("n", u16, 0), ("tail", builder.array(u16, 0), 16))
    assert decode(builder, event, struct.pack("<3H", 2, 8, 9)) == {"n": 2, "tail": [8, 9]}
    assert decode(builder, event, struct.pack("<H", 0)) == {"n": 0, "tail": []}
    text = builder.struct("text", 2, ("n", u16, 0), ("tail", builder.array(char, 0), 16))
    assert decode(builder, text, b"\x05\0hello") == {"n": 5, "tail": "hello"}


def test_flexible_arrays_of_structs_and_of_arrays() -> None:
    builder = BtfBuilder()
    u16 = builder.integer("unsigned short", 2)
    pair = builder.struct("pair", 4, ("a", u16, 0), ("b", u16, 16))
    event = builder.struct("event", 2, ("n", u16, 0), ("pairs", builder.array(pair, 0), 16))
    sample = struct.pack("<5HB", 1, 2, 3, 4, 5, 6)  # the last byte is no whole element
    assert decode(builder, event, sample) == {"n": 1, "pairs": [{"a": 2, "b": 3}, {"a": 4, "b": 5}]}
    outer = builder.struct("outer", 4, ("head", u16, 0), ("last", event, 16))
    assert decode(builder, outer, struct.pack("<4H", 1, 2, 3, 4)) == {"head": 1, "last": {"n": 2, "pairs": [{"a": 3, "b": 4}]}}
    rows = builder.struct("rows", 2, ("n", u16, 0), ("rows", builder.array(builder.array(u16, 2), 0), 16))
    assert decode(builder, rows, struct.pack("<5H", 1, 2, 3, 4, 5)) == {"n": 1, "rows": [[2, 3], [4, 5]]}


def test_an_array_of_nothing_is_flexible_only_where_nothing_follows() -> None:
    builder = BtfBuilder()
    u16, char = builder.integer("unsigned short", 2), builder.integer("char", 1, signed=True)
    marker, text, empty = builder.array(u16, 0), builder.array(char, 0), builder.struct("empty", 0)
    event = builder.struct("event", 4, ("a", u16, 0), ("mark", marker, 16), ("here", text, 16), ("b", u16, 16))
    assert decode(builder, event, b"\1\0\2\0tail") == {"a": 1, "b": 2}
    # DECLARE_FLEX_ARRAY of include/uapi/linux/stddef.h
    flex = builder.struct("", 0, ("__empty_bytes", empty, 0), ("bytes", text, 0))
    either = builder.union("", 0, ("", flex, 0), ("words", marker, 0))
    event = builder.struct("event", 2, ("a", u16, 0), ("", either, 16))
    assert decode(builder, event, b"\1\0AB") == {"a": 1, "__empty_bytes": {}, "bytes": "AB", "words": [0x4241]}
    inside = builder.struct("inside", 2, ("n", u16, 0), ("tail", text, 16))
    assert decode(builder, builder.array(inside, 2), b"\1\0\2\0") == [{"n": 1}, {"n": 2}]
    assert decode(builder, builder.struct("odd", 2, ("n", u16, 0), ("none", builder.array(marker, 3), 16)), b"\1\0") == {"n": 1}
    assert decode(builder, builder.struct("odd", 2, ("n", u16, 0), ("none", builder.array(empty, 0), 16)), b"\1\0") == {"n": 1}
    assert decode(builder, builder.array(empty, 2), b"") == [{}, {}]


def test_floats_that_python_does_not_know_are_hexadecimal_text() -> None:
    builder = BtfBuilder("big")
    event = builder.struct("event", 16, ("a", builder.floating("long double", 16), 0))
    assert decode(builder, event, bytes(range(1, 17))) == {"a": "0x102030405060708090a0b0c0d0e0f10"}


def test_integers_of_odd_sizes() -> None:
    for byteorder in ("little", "big"):
        builder = BtfBuilder(byteorder)
        number = builder.integer("number", 3, signed=True)
        event = builder.struct("event", 4, ("a", number, 8))
        assert decode(builder, event, b"\0" + (-70000).to_bytes(3, byteorder, signed=True)) == {"a": -70000}


def test_bitfields_as_btf_described_them_before_it_had_a_flag_for_them() -> None:
    builder = BtfBuilder()
    three = builder.add(1, "unsigned int", 4, extra=builder.pack("I", 3))
    rest = builder.add(1, "unsigned int", 4, extra=builder.pack("I", 29))
    event = builder.struct("event", 4, ("a", three, 0), ("b", rest, 3))
    assert decode(builder, event, (5 | 77 << 3).to_bytes(4, "little")) == {"a": 5, "b": 77}


def test_a_type_has_the_name_that_the_author_gave_it() -> None:
    builder = BtfBuilder()
    u16 = builder.integer("unsigned short", 2)
    port = builder.const(builder.typedef("__be16", u16))
    anonymous = builder.typedef("event_t", builder.struct("", 4, ("port", port, 0), ("ports", builder.array(port, 1), 16)))
    plan = make_plan(Btf(builder.section()), anonymous)
    assert (plan.type_name, [op.type_name for op in plan.ops]) == ("event_t", ["__be16", "__be16", "__be16"])


@pytest.mark.parametrize(
    ("values", "flags"),
    [
        ({"NONE": 0, "R": 1, "W": 2, "X": 4}, ["R", "W", "X"]),
        ({"R": 1, "W": 2, "X": 4, "ALL": 7}, ["R", "W", "X"]),
        ({"HIGH": 0x80, "LOW": 0x10, "SAME": 0x10}, ["LOW", "HIGH"]),
        ({"A": 1, "TOP": -(1 << 31)}, ["A", "TOP"]),
        ({"A": 1, "B": 2}, []),  # may be counting
        ({"A": 1, "B": 2, "C": 3, "D": 4}, []),  # counts
        ({"A": 4, "B": 9}, []),
        ({"A": 4, "END": -1}, []),
        ({}, []),
    ],
)
def test_enums_of_flags_are_told_from_those_that_count(values: dict[str, int], flags: list[str]) -> None:
    builder = BtfBuilder()
    kind = builder.enum("kind", 4, values, signed=min([0, *values.values()]) < 0)
    assert [name for _bit, name in flag_names(make_plan(Btf(builder.section()), kind).ops[0])] == flags


def test_flags_are_joined() -> None:
    builder = BtfBuilder()
    kind = builder.enum("kind", 4, {"R": 1, "W": 2, "RW": 3, "X": 8})
    for value, shown in ((3, "RW"), (9, "R|X"), (11, "R|W|X"), (8, "X"), (0, 0), (4, 4), (12, 12)):
        assert decode(builder, kind, struct.pack("<I", value)) == shown
    signed = builder.enum("signed", 4, {"A": 1, "TOP": -(1 << 31)}, signed=True)
    assert decode(builder, signed, struct.pack("<I", 0x80000001)) == "A|TOP"
    assert decode(builder, signed, struct.pack("<i", -1)) == -1


def test_pointers_are_hexadecimal_text() -> None:
    builder = BtfBuilder()
    pointer = builder.pointer(0)
    assert decode(builder, pointer, struct.pack("<Q", 0xFFFF888000001000)) == "0xffff888000001000"


def test_an_empty_struct_is_an_empty_object() -> None:
    builder = BtfBuilder()
    assert decode(builder, builder.struct("empty", 0), b"") == {}


def test_a_short_sample_is_a_decode_error_and_a_long_one_is_padding() -> None:
    builder = BtfBuilder()
    u32 = builder.integer("unsigned int", 4)
    event = builder.struct("event", 4, ("pid", u32, 0))
    with pytest.raises(DecodeError, match="event: need 4 bytes at offset 0, got 3"):
        decode(builder, event, b"abc")
    assert decode(builder, event, b"\1\0\0\0padding") == {"pid": 1}


def test_an_event_described_member_by_member() -> None:
    builder = BtfBuilder()
    u32, u16 = builder.integer("unsigned int", 4), builder.integer("unsigned short", 2)
    plan = make_plan_of_members(Btf(builder.section()), [("first", u32, 0), ("second", u16, 6)])
    assert plan.size_bytes == 8
    assert make_decoder(plan)(struct.pack("<I2xH", 1, 2)) == {"first": 1, "second": 2}


def test_an_event_that_is_no_struct_has_the_member_value() -> None:
    builder = BtfBuilder()
    u16 = builder.integer("unsigned short", 2)
    pair = builder.array(u16, 2)
    btf = Btf(builder.section())
    assert make_decoder(make_event_plan(btf, u16))(b"\x05\0") == {"value": 5}
    assert make_decoder(make_event_plan(btf, pair))(b"\1\0\2\0") == {"value": [1, 2]}


def test_absurd_types_are_errors() -> None:
    builder = BtfBuilder()
    itself = builder.struct("itself", 8, ("again", 1, 0))
    with pytest.raises(BtfError, match="deep"):
        make_plan(Btf(builder.section()), itself)

    builder = BtfBuilder()
    type_id = builder.integer("int", 4)
    for level in range(20):  # 2^20 members
        type_id = builder.struct(f"level{level}", 8, ("a", type_id, 0), ("b", type_id, 0))
    with pytest.raises(BtfError, match=f"more than {MAX_OP_COUNT} members"):
        make_plan(Btf(builder.section()), type_id)

    builder = BtfBuilder()
    huge = builder.array(builder.integer("int", 4), 1 << 30)
    with pytest.raises(BtfError, match="elements"):
        make_plan(Btf(builder.section()), huge)

    builder = BtfBuilder()
    vast = builder.struct("vast", 1 << 31, ("a", builder.array(builder.integer("int", 4), 2), 0))
    with pytest.raises(BtfError, match="type has 2147483648 bytes"):
        make_plan(Btf(builder.section()), vast)

    builder = BtfBuilder()
    outer = builder.struct("empty", 0)
    for _ in range(4):  # 4096^4 elements
        outer = builder.array(builder.struct("", 0, ("x", outer, 0)), 4096)
    with pytest.raises(BtfError, match="elements"):
        make_plan(Btf(builder.section()), outer)

    builder = BtfBuilder()
    incomplete = builder.struct("event", 4, ("later", builder.forward("later"), 0))
    with pytest.raises(BtfError, match="incomplete"):
        make_plan(Btf(builder.section()), incomplete)


def test_what_takes_no_bytes_does_not_take_for_ever() -> None:
    builder = BtfBuilder()
    type_id = builder.struct("empty", 0)
    for _ in range(30):  # 2^30 anonymous members, none of which appends an operation
        type_id = builder.struct("", 0, ("", type_id, 0), ("", type_id, 0))
    with pytest.raises(BtfError, match=f"more than {MAX_OP_COUNT} members"):
        make_plan(Btf(builder.section()), type_id)

    builder = BtfBuilder()
    many = builder.array(builder.integer("unsigned char", 1), MAX_ELEMENT_COUNT // 2)
    views = builder.union("views", MAX_ELEMENT_COUNT // 2, *((f"view{index}", many, 0) for index in range(3)))
    with pytest.raises(BtfError, match=f"more than {MAX_ELEMENT_COUNT} values"):
        make_plan(Btf(builder.section()), views)


def test_lines_have_a_bound() -> None:
    builder = BtfBuilder()
    number = builder.integer("unsigned char", 1)
    name = "n" * 10_000
    wide = builder.struct("wide", 1, (name, number, 0))
    for count, fits in ((1000, True), (2000, False)):
        event = builder.struct("event", count, ("each", builder.array(wide, count), 0))
        if fits:
            assert make_plan(Btf(builder.section()), event).max_size_bytes > 1 << 30
        else:
            with pytest.raises(BtfError, match=f"more than {MAX_LINE_BYTES} bytes when they are written out"):
                make_plan(Btf(builder.section()), event)

    builder = BtfBuilder()
    rest = builder.array(builder.integer("unsigned char", 1), 0)
    views = builder.union("views", 0, *((f"view{index}", rest, 0) for index in range(4000)))
    plan = make_plan(Btf(builder.section()), views)
    longest = b"\xff" * plan.max_size_bytes
    line, _shown, _looked_at = PythonLines(make_program(plan, Style("json"))).render(Run.of([longest]), b"", -1)
    assert MAX_LINE_BYTES // 2 < len(line) <= MAX_LINE_BYTES

    builder = BtfBuilder()
    letters = builder.enum("letters", 4, {f"L{index}": index for index in range(10_000)})
    members = [(f"m{index}", letters, 32 * index) for index in range(200)]
    event = builder.struct("event", 800, *members)
    with pytest.raises(BtfError, match=f"more than {MAX_ELEMENT_COUNT} enumerators"):
        make_plan(Btf(builder.section()), event)


def test_types_that_no_compiler_makes_are_errors() -> None:
    builder = BtfBuilder()
    number, single = builder.integer("int", 4, signed=True), builder.floating("float", 4)
    inner = builder.struct("", 4, ("a", number, 0))
    for event, what in (
        (builder.struct("event", 8, ("a", number, 0), ("", inner, 32)), "struct event has two members 'a'"),
        (builder.struct("event", 8, ("a", single, 4)), "member 'a' starts inside of a byte"),
        (builder.struct("event", 8, ("a", single, 0, 8)), "member 'a' is a bitfield of 8 bits in a type of 32"),
        (builder.struct("event", 32, ("a", builder.floating("huge", 17), 0)), "huge has 17 bytes"),
    ):
        with pytest.raises(BtfError, match=what):
            make_plan(Btf(builder.section()), event)
    with pytest.raises(BtfError, match="event has two members 'a'"):
        make_plan_of_members(Btf(builder.section()), [("a", number, 0), ("a", number, 4)])


@pytest.mark.parametrize(
    ("encoding", "what"),
    [
        (32 << 16 | 32, "32 bits from bit 32 of 4 bytes"),
        (0, "0 bits from bit 0 of 4 bytes"),
        (33, "33 bits from bit 0 of 4 bytes"),
    ],
)
def test_an_integer_that_does_not_fit_into_its_bytes_is_an_error(encoding: int, what: str) -> None:
    builder = BtfBuilder()
    number = builder.add(1, "int", 4, extra=builder.pack("I", encoding))
    with pytest.raises(BtfError, match=what):
        make_plan(Btf(builder.section()), number)


def test_a_member_outside_of_its_struct_is_an_error() -> None:
    builder = BtfBuilder()
    number = builder.integer("int", 4)
    inner = builder.union("", 4, ("a", number, 8))
    for event, what in (
        (builder.struct("event", 4, ("a", number, 8)), "member 'a' lies outside of struct event"),
        (builder.struct("event", 4, ("", inner, 0)), "member 'a' lies outside of union"),
        (builder.struct("event", 2, ("a", number, 8, 9)), "member 'a' lies outside of struct event"),
        (builder.struct("event", 16, ("a", number, 0, 33)), "a bitfield of 33 bits in a type of 32"),
        (builder.struct("event", 4, ("a", builder.array(number, 2), 0)), "member 'a' lies outside of struct event"),
    ):
        with pytest.raises(BtfError, match=what):
            make_plan(Btf(builder.section()), event)


def test_types_of_events_are_found_by_name_where_the_id_is_that_of_another_object() -> None:
    btf = BtfBuilder()
    number = btf.integer("unsigned int", 4)
    char = btf.integer("char", 1, signed=True)
    typedef = btf.typedef("pid_t", number)
    text = btf.array(char, 16)
    table = btf.array(btf.array(number, 3), 2)
    struct_id = btf.struct("event", 4, ("pid", number, 0))
    types = Btf(btf.section())
    for wrong in (None, char, 99):
        assert event_type_id(types, "pid_t", wrong) == typedef
        assert event_type_id(types, "char[16]", wrong) == text
        assert event_type_id(types, "unsigned int[2][3]", wrong) == table
        assert event_type_id(types, "unsigned int", wrong) == number
        assert event_type_id(types, "event", wrong) == struct_id
        assert event_type_id(types, "absent", wrong) is None
    assert event_type_id(types, "something that C calls so", text) == text
