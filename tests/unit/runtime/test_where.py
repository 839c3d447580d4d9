"""Which samples an expression of --where lets through, and what it says of expressions that make no sense."""

from __future__ import annotations

import json
import re
import struct
from typing import Literal

import pytest

from ecli_runtime.btf import Btf
from ecli_runtime.decode.plan import Plan, make_event_plan
from ecli_runtime.decode.predicate import MAX_INSTRUCTIONS, stack_size
from ecli_runtime.decode.python import make_decoder
from ecli_runtime.decode.where import MAX_DEPTH, compile_predicate, parse, parse_for
from ecli_runtime.decode.where_tokens import MAX_LENGTH
from ecli_runtime.errors import WhereError
from tests.btf_builder import BtfBuilder
from tests.conftest import ROOT

ORDERS: list[Literal["little", "big"]] = ["little", "big"]
DOCUMENT = (ROOT / "docs" / "where.md").read_text()


def plan_of(builder: BtfBuilder, event: int) -> Plan:
    return make_event_plan(Btf(builder.section()), event)


def meant(plan: Plan, **meanings: str) -> Plan:
    return plan.replace(ops=tuple(op.replace(meaning=meanings.get(op.name, "")) for op in plan.ops))


def number_plan(name: str, size: int, signed: bool = False, byteorder: str = "little", meaning: str = "") -> Plan:
    """Return the plan of an event of one integer."""
    builder = BtfBuilder(byteorder)
    event = builder.struct("event", size, (name, builder.integer("number", size, signed), 0))
    return meant(plan_of(builder, event), **{name: meaning})


def bytes_plan(name: str, count: int, meaning: str, byteorder: str = "little") -> Plan:
    builder = BtfBuilder(byteorder)
    event = builder.struct("event", count, (name, builder.array(builder.integer("unsigned char", 1), count), 0))
    return meant(plan_of(builder, event), **{name: meaning})


def shows(text: str, plan: Plan, sample: bytes) -> bool:
    shown = compile_predicate(parse(text, plan), plan.byteorder)(b"before" + sample + b"behind", 6, len(sample))
    assert isinstance(shown, bool)
    return shown


def error_of(text: str, plan: Plan) -> str:
    with pytest.raises(WhereError) as caught:
        parse(text, plan)
    return f"{caught.value}\n{caught.value.hint}".strip()


# The event of the document


def connect_plan(byteorder: str = "little") -> Plan:
    """Return the plan of docs/where.md's struct event."""
    builder = BtfBuilder(byteorder)
    u16, u32, u64 = (builder.integer(f"u{size * 8}", size) for size in (2, 4, 8))
    s32, flag = builder.integer("int", 4, signed=True), builder.integer("bool", 1, boolean=True)
    kind = builder.enum("kind", 4, {"CONNECT": 0, "ACCEPT": 1, "CLOSE": 2})
    flags = builder.enum("flags", 4, {"F_REUSED": 1, "F_SHORT": 2, "F_LOCAL": 4})
    point = builder.struct("hop", 8, ("cpu", u32, 0), ("lat_ns", u32, 32))
    comm = builder.array(builder.integer("char", 1, signed=True), 16)
    members = (("kind", kind, 0), ("flags", flags, 32), ("pid", u32, 64), ("ret", s32, 96), ("comm", comm, 128))
    more = (("lat_us", u64, 256), ("bytes", u64, 320), ("daddr", u32, 384), ("dport", u16, 416), ("is_new", flag, 432))
    event = builder.struct("event", 72, *members, *more, ("hops", builder.array(point, 2), 448))
    return meant(plan_of(builder, event), daddr="ipv4", dport="port_be", bytes="bytes")


def connect_sample(byteorder: str = "little") -> bytes:
    order = "<" if byteorder == "little" else ">"
    front = struct.pack(f"{order}IIIi16sQQ", 2, 5, 4711, -110, b"nginx: worker\0xx", 1500, 70_000)
    return front + bytes([10, 0, 3, 7]) + (443).to_bytes(2, "big") + b"\2\0" + struct.pack(f"{order}IIII", 1, 800, 3, 2_000_000)


def documented(heading: str) -> list[tuple[str, ...]]:
    """Return the rows of a table, without the backticks around a cell."""
    section = DOCUMENT.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (`.*) \|$", section, re.MULTILINE)
    return [tuple(cell.strip().strip("`").replace("\\|", "|") for cell in re.split(r"(?<!\\) \| ", row)) for row in rows]


def test_the_documents_event_is_this_one() -> None:
    plan = meant(connect_plan())
    event = make_decoder(plan)(connect_sample())
    shown = re.search(r"```json\n(.*?)```", DOCUMENT, re.DOTALL)
    assert shown is not None
    said = json.loads(shown[1])
    assert {**event, "daddr": "10.0.3.7", "dport": 443, "flags": "F_REUSED|F_LOCAL"} == said


@pytest.mark.parametrize("byteorder", ORDERS)
@pytest.mark.parametrize("row", documented("What can be written"), ids=lambda row: row[0])
def test_all_that_the_document_says_is_true_of_its_event(row: tuple[str, ...], byteorder: str) -> None:
    assert shows(row[0], connect_plan(byteorder), connect_sample(byteorder))
    assert not shows(f"not ({row[0]})", connect_plan(byteorder), connect_sample(byteorder))


@pytest.mark.parametrize(("text", "error"), documented("When it makes no sense"))
def test_errors_are_those_of_the_document(text: str, error: str) -> None:
    assert error_of(text, connect_plan()).replace("\n", "; ") == error


# Numbers


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("n == 0x2a", 42),
        ("n == 0X2A and n == 0o52 and n == 0b10_1010 and n == 42.0 and n == 4.2e1 and n == 420e-1", 42),
        ("n == 1_000", 1000),
        ("n == 18446744073709551615 and n > 18446744073709551614.5 and n > -5", 2**64 - 1),
        ("n > 41.5 and n >= 41.5 and n < 42.5 and n <= 42.5 and n != 42.5 and not n == 42.5", 42),
        ("n == 64k and n == 64K and n == 64KiB and n == 64Ki and n == 65536B and n > 64KB and n > 65kB", 65536),
        ("n == 1M and n > 1MB and n < 1G and n < 1GiB and n < 1T", 1 << 20),
        ("n == 1.5k", 1536),
        ("5 < n < 7 and 7 > n > 5 and 5 <= n != 7", 6),
        ("n & 6 == 6 and not n & 1 and (n & 3) == 2 and n & (2 | 4) == 6 and 4 & n", 6),
        ("n in (1, 2, 3,) and n not in (4, 5)", 3),
        ("!(n == 1) && n = 3 || n == 5", 3),
        ("n", 1),
        ("not n", 0),
    ],
)
def test_numbers(text: str, value: int) -> None:
    assert shows(text, number_plan("n", 8), struct.pack("<Q", value))


@pytest.mark.parametrize("byteorder", ORDERS)
@pytest.mark.parametrize("signed", [False, True])
def test_numbers_of_16_bytes(byteorder: Literal["little", "big"], signed: bool) -> None:
    plan = number_plan("n", 16, signed, byteorder)
    values = [-(1 << 127), -(1 << 64), -1] if signed else [(1 << 128) - 1]
    values += [0, 1, (1 << 64) - 1, 1 << 64, (1 << 64) + 1, (1 << 127) - 1]
    for value in values:
        sample = value.to_bytes(16, byteorder, signed=signed)
        for other in values:
            for operator, truth in (("==", value == other), ("<", value < other), (">=", value >= other), ("!=", value != other)):
                assert shows(f"n {operator} {other}", plan, sample) is truth
            assert shows(f"n & {other}", plan, sample) is (value & other != 0)
        assert shows("n", plan, sample) is (value != 0)


@pytest.mark.parametrize("byteorder", ORDERS)
def test_numbers_are_compared_exactly(byteorder: str) -> None:
    builder = BtfBuilder(byteorder)
    u64, double = builder.integer("u64", 8), builder.floating("double", 8)
    event = builder.struct("event", 16, ("n", u64, 0), ("x", double, 64))
    plan = plan_of(builder, event)
    sample = struct.pack(f"{builder.prefix}Qd", 2**53 + 1, 2.0**53)
    assert shows("n > x and n != x and x == 9007199254740992 and not n <= x", plan, sample)
    assert shows("x != x and not x == x and not x < 1", plan, struct.pack(f"{builder.prefix}Qd", 0, float("nan")))
    assert shows("x == 0.1 and x < 1e300 and x", plan, struct.pack(f"{builder.prefix}Qd", 0, 0.1))


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("lat_us", "lat_us == 1ms and lat_us > 999us and lat_us == 0.001s and lat_us < 1m and lat_us < 1h and lat_us < 1d", 1000),
        ("lat_us", "lat_us > 999999ns and lat_us < 1000001ns and lat_us != 1000001ns", 1000),
        ("lat_us", "lat_us == 1m30s and lat_us == 1m05s25s", 90_000_000),
        ("us", "us == 5\u00b5s and us == 5\u03bcs", 5),
        ("age_secs", "age_secs > -5s and age_secs == 2m", 120),
        ("wait_ms", "wait_ms == 2", 2),
    ],
)
def test_durations_are_in_the_unit_of_the_members_name(name: str, text: str, value: int) -> None:
    assert shows(text, number_plan(name, 8), struct.pack("<Q", value))


def test_durations_are_in_the_unit_of_the_members_meaning() -> None:
    assert shows("elapsed == 2ms", number_plan("elapsed", 8, meaning="duration_us"), struct.pack("<Q", 2000))
    assert shows("at_us == 2ms", number_plan("at_us", 8, meaning="time_ns"), struct.pack("<Q", 2_000_000))


def test_bools_are_true_or_false_whatever_their_byte_is() -> None:
    builder = BtfBuilder()
    flag = builder.integer("bool", 1, boolean=True)
    plan = plan_of(builder, builder.struct("event", 2, ("a", flag, 0), ("b", flag, 8)))
    assert shows("a and a == true and a != false and a == 1 and a == b and true == b", plan, b"\2\1")
    assert shows("not a and a == false and not b == a and (b == true) == (a == false)", plan, b"\0\7")


def test_enums_have_names_bare_or_quoted_and_numbers() -> None:
    builder = BtfBuilder()
    kind = builder.enum("kind", 4, {"EXEC": 0, "EXIT": 7, "ALSO": 7})
    event = builder.struct("event", 8, ("kind", kind, 0), ("EXEC", builder.integer("u32", 4), 32))
    plan = plan_of(builder, event)
    sample = struct.pack("<II", 7, 7)
    assert shows(
        "kind == EXIT and EXIT == kind and kind == 'EXIT' and kind == ALSO and kind == 7 and kind in (1, EXIT)", plan, sample
    )
    assert shows("kind == EXEC and kind != 'EXEC' and .kind == .EXEC", plan, sample)  # a member has the name of an enumerator


@pytest.mark.parametrize("byteorder", ORDERS)
def test_bitfields_of_any_place(byteorder: str) -> None:
    builder = BtfBuilder(byteorder)
    u32, s32 = builder.integer("u32", 4), builder.integer("int", 4, signed=True)
    event = builder.struct("event", 4, ("a", u32, 0, 3), ("b", s32, 3, 5), ("c", u32, 8, 20), ("d", u32, 28, 4))
    if byteorder == "little":
        sample = (5 | (-3 & 31) << 3 | 0xABCDE << 8 | 9 << 28).to_bytes(4, "little")
    else:
        sample = (5 << 29 | (-3 & 31) << 24 | 0xABCDE << 4 | 9).to_bytes(4, "big")
    assert shows("a == 5 and b == -3 and b < 0 and c == 0xABCDE and d == 9", plan_of(builder, event), sample)


def test_pointers_are_numbers_or_the_text_that_they_are_shown_as() -> None:
    builder = BtfBuilder()
    plan = plan_of(builder, builder.struct("event", 8, ("p", builder.pointer(0), 0)))
    sample = struct.pack("<Q", 0xFFFF888000001000)
    assert shows("p and p == 0xffff888000001000 and p == '0xffff888000001000' and p >= 0xffff_8000_0000_0000", plan, sample)


# Text


def string_plan(size: int) -> Plan:
    builder = BtfBuilder()
    text = builder.array(builder.integer("char", 1, signed=True), size)
    return plan_of(builder, builder.struct("event", size, ("s", text, 0)))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("s == 'nginx' and s != 'nginx2' and s > 'nginw' and s <= \"nginx\" and s", b"nginx\0rest"),
        ("not s and s == '' and s =~ '*' and s =~ '' and '' in s", b"\0rest"),
        ("s =~ 'n*x' and s =~ 'ngin?' and s =~ '*' and s !~ 'n' and s =~ '*gin*' and s !~ '*n' and s =~ '**n**'", b"nginx"),
        ("s =~ 'a?c' and s == 'a\u20acc' and s == 'a\\u20acc' and '\u20ac' in s and s !~ 'a??c'", "a\u20acc".encode()),
        ("s =~ 'a??' and s !~ 'a?' and s !~ 'a???'", b"a\xe2\x82"),
        (r"s =~ 'a\*b' and s !~ 'a\?b' and s =~ '*\**' and s == 'a*b'", b"a*b"),
        (r"s == 'a\\b\'\"\n\t\x41' and s =~ 'a\\\\b*'", b"a\\b'\"\n\tA"),
        ("'gin' in s and 'x y' not in s and s in ('a', 'nginx') and s not in ('b',)", b"nginx"),
        ("s == 'caf\udcff'", b"caf\xff"),  # how Python hands on what is not UTF-8 on the command line
        ("s =~ '*[a]*'", b"x[a]y"),
    ],
)
def test_text(text: str, value: bytes) -> None:
    assert shows(text, string_plan(24), value.ljust(24, b"\0"))
    assert shows(text, string_plan(0), value)


def test_a_pattern_of_many_stars_takes_no_time() -> None:
    assert not shows(f"s =~ '{'*a' * 500}b'", string_plan(20_000), b"a" * 20_000)


def test_text_of_members_can_be_compared() -> None:
    builder = BtfBuilder()
    text = builder.array(builder.integer("char", 1, signed=True), 4)
    plan = plan_of(builder, builder.struct("event", 8, ("a", text, 0), ("b", text, 32)))
    assert shows("a != b and a in b and a < b and not b in a", plan, b"ab\0xxab\0")


# Meanings


@pytest.mark.parametrize("byteorder", ORDERS)
def test_addresses(byteorder: str) -> None:
    four = number_plan("daddr", 4, byteorder=byteorder, meaning="ipv4")
    for plan in (four, bytes_plan("daddr", 4, "ipv4", byteorder)):
        text = "daddr == 10.1.2.3 and daddr in 10.0.0.0/8 and daddr == '10.1.2.3' and daddr in ('10.1.2.0/24', 1.1.1.1)"
        assert shows(f"{text} and daddr not in 10.1.2.4/31 and daddr in 0.0.0.0/0", plan, bytes([10, 1, 2, 3]))
    mac = bytes_plan("src", 6, "mac", byteorder)
    assert shows("src == 02:42:ac:11:00:02 and src != 'ff:ff:ff:ff:ff:ff'", mac, bytes.fromhex("0242ac110002"))
    for plan in (bytes_plan("a", 16, "ipv6", byteorder), number_plan("a", 16, byteorder=byteorder, meaning="ipv6")):
        sample = bytes.fromhex("fe80000000000000 00000000000000ab")
        text = "a == fe80::ab and a in fe80::/10 and a in (::1, FE80::/64) and a not in fe80::/121 and a != ::"
        assert shows(text, plan, sample)
        assert shows("a == 10.0.0.1 and a in 10.0.0.0/8 and a not in 11.0.0.0/8", plan, bytes(10) + b"\xff\xff\x0a\0\0\1")


@pytest.mark.parametrize("byteorder", ORDERS)
def test_ports_in_network_order(byteorder: str) -> None:
    plan = number_plan("dport", 2, byteorder=byteorder, meaning="port_be")
    sample = (443).to_bytes(2, "big")
    text = (
        "dport == 443 and dport < 444 and dport > 442 and 256 <= dport < 1024 and dport & 0x101 == 0x101 and dport in (80, 443)"
    )
    assert shows(f"{text} and dport < 65536 and dport > -1 and dport", plan, sample)


def test_devices_are_major_and_minor() -> None:
    plan = number_plan("dev", 4, meaning="dev")
    assert shows("dev == 8:1 and dev == '8:1' and dev != 8:2 and dev == 0x800001", plan, struct.pack("<I", 8 << 20 | 1))


def test_names_of_errors_and_the_like() -> None:
    plan = number_plan("ret", 4, signed=True, meaning="errno")
    for value in (2, -2):
        assert shows(
            "ret == ENOENT and ret == 'ENOENT' and ret in (EACCES, ENOENT) and ret != EACCES", plan, struct.pack("<i", value)
        )
    assert not shows("ret != ENOENT", plan, struct.pack("<i", -2))
    assert error_of("ret == ENOENTT", plan) == "--where: ret is never 'ENOENTT' at column 8\ndid you mean ENOENT?"
    assert error_of("ret < ENOENT", plan) == "--where: ENOENT is several numbers, which have no < at column 7"
    assert shows("uid == root", number_plan("uid", 4, meaning="uid"), bytes(4))
    assert parse("nr == openat", number_plan("nr", 4, meaning="syscall"), "x86_64").code[1] == ("const", 257)
    assert error_of("nr == openat", number_plan("nr", 4, meaning="syscall")).startswith("--where: unknown member 'openat'")


# Errors


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", "expected a member or a value, got the end at column 1"),
        ("pid ==", "expected a member or a value, got the end at column 7"),
        ("(pid == 1", "expected ')', got the end at column 10"),
        ("pid == 1)", "expected and, or, or a comparison, got ')' at column 9"),
        ("pid == 1 kind == 2", "expected and, or, or a comparison, got 'kind' at column 10\nquote text, and the whole"),
        ("pid == -comm", "expected a number, got 'comm' at column 9"),
        ("pid not 5", "expected 'in', got '5' at column 9"),
        ("pid in 5", 'expected a list after in at column 8\nwrite x in (1, 2), or "text" in x'),
        ("comm in 'nginx'", "expected a list after in at column 9"),
        ("pid == 5x", "'5x' has an unknown unit, 'x', at column 8\ndurations take ns us"),
        ("pid == 1__0", "'1__0' is no number at column 8"),
        ("pid == 0o9", "'0o9' has an unknown unit, 'o', at column 8"),
        ("pid == 0644", "'0644' is no number at column 8\noctal numbers begin with 0o: 0o644"),
        ("pid == 5k5", "'5k5' is no number at column 8"),
        ("lat_us == 1s5", "'1s5' is no number at column 11"),
        ("pid == 99999999999999999999", "99999999999999999999 is too large for pid at column 8"),
        ("pid == 1e9999", "'1e9999' is no number at column 8"),
        ("pid == #", "unexpected '#' at column 8\nquote text"),
        ("comm == /bin/*", "unexpected '/' at column 9\nquote text, and the whole for the shell: --where 'comm == \"sh\"'"),
        ("comm == 'a", "text has no end at column 9\nclose it with '"),
        (r"comm == 'a\q'", r"unknown escape '\\q' at column 11"),
        (r"comm == '\U00110000'", r"unknown escape '\\U00110000' at column 10"),
        (r"comm == '\ud800'", "text holds half a surrogate pair at column 9"),
        (r"comm =~ 'a\\'", "pattern ends within an escape at column 9"),
        ("comm =~ comm", 'expected a pattern in quotes, got comm at column 9\nfor example comm =~ "ngin*"'),
        ("pid =~ 'a'", "pid is a number, and only text has patterns at column 1"),
        ("pid == comm", "pid is a number, and comm is text at column 5"),
        ("comm == pid", "comm is text, and pid is a number at column 6"),
        ("pid == 'nginx'", "pid is a number, not 'nginx' at column 8"),
        ("comm < 5", 'comm is text, not 5 at column 8\nquote text: "5"'),
        ("pid == true", "pid is a number, not true or false at column 8"),
        ("5 == 5", "'5' is compared with no member at column 1\nmembers: kind, flags, pid,"),
        ("X == 5", "unknown member 'X' at column 1\nmembers: kind,"),
        ("5 == X", "unknown member 'X' at column 6"),
        ("PID == 5", "unknown member 'PID' at column 1\ndid you mean pid?"),
        ("pid or 5", "'5' is no condition at column 8\nto compare with several values, write x in (a, b)"),
        ("pid == 1 or X", "unknown member 'X' at column 13"),
        ("daddr", "daddr is an IPv4 address, no condition at column 1\ncompare it with an address"),
        ("daddr > 10.0.0.1", "daddr is an IPv4 address, which has no > at column 7\nuse ==, != or in"),
        ("daddr == ::1", "daddr is an IPv4 address, not '::1' at column 10\nfor example 10.0.0.1 or 10.0.0.0/8"),
        ("daddr == 10.0.0.0/33", "daddr is an IPv4 address, not '10.0.0.0/33' at column 10"),
        ("daddr == pid", "daddr is an IPv4 address, and pid is a number at column 7"),
        ("daddr < daddr", "daddr is an IPv4 address, which has no < at column 7"),
        ("dport == pid", "dport and pid are numbers of different sorts at column 7"),
        ("lat_us == hops[0].lat_ns", "lat_us and hops[0].lat_ns count in different units at column 8"),
        ("pid & 1.5", "1.5 is no whole number at column 7"),
        ("pid & comm", "comm is text, and & takes whole numbers at column 7"),
        ("1 & 2", "'1' is compared with no member at column 1"),
        ("pid | 2", "| joins numbers and names, not members at column 1\nwrite flags & (A | B)"),
        ("hops[0]", "hops[0] is a struct at column 1\nname one of its members: hops[0].cpu, hops[0].lat_ns"),
        ("pid == hops", "hops is an array at column 8\nname one of its elements: hops[0]"),
        ("hops[0].x == 1", "hops[0] has no member 'x' at column 9\nmembers: cpu, lat_ns"),
        ("hops[x]", "expected the number of an element, got 'x' at column 6"),
        ("hops[1.5]", "hops has the elements 0 to 1 at column 6"),
        ("pid[0]", "pid is no array at column 5"),
        ("pid.x", "pid has no member 'x' at column 5"),
        ("nothing.x", "unknown member 'nothing' at column 1"),
        (".in", "unknown member 'in' at column 1"),
        ("(" * 40 + "pid" + ")" * 40, f"expression nests more than {MAX_DEPTH} deep at column {MAX_DEPTH + 2}"),
        ("pid == 1 " + " " * MAX_LENGTH, f"expression is longer than {MAX_LENGTH} characters at column {MAX_LENGTH + 1}"),
        ("0<(" * 30 + "pid" + ")<2" * 30, "expression is too long at column"),
    ],
)
def test_errors(text: str, error: str) -> None:
    assert error_of(text, connect_plan()).startswith(f"--where: {error}")


def test_elements_that_not_all_events_have_are_refused() -> None:
    builder = BtfBuilder()
    u16 = builder.integer("u16", 2)
    plan = plan_of(builder, builder.struct("event", 2, ("n", u16, 0), ("tail", builder.array(u16, 0), 16)))
    assert error_of("tail[0] == 1", plan) == "--where: tail has as many elements as an event brings, perhaps none, at column 6"


def test_a_sample_too_short_is_not_shown() -> None:
    plan = connect_plan()
    sample = connect_sample()
    shown = compile_predicate(parse("pid or not pid or comm =~ '*' or hops[1].cpu", plan), "little")
    assert shown(sample, 0, len(sample))
    assert not shown(sample, 0, 63)
    assert not shown(b"", 0, 0)


def test_programs_are_bounded() -> None:
    code = parse(f"pid in ({','.join('1' * 1000)})", connect_plan()).code
    assert len(code) <= MAX_INSTRUCTIONS
    assert stack_size(code) == 3
    assert error_of(f"pid in ({','.join('1' * 2000)})", connect_plan()) == "--where: expression is too long at column 1"


# Several types of events


def test_types_that_lack_a_member_are_not_shown() -> None:
    first, second, third = number_plan("pid", 4), number_plan("tid", 4), number_plan("pid", 8, signed=True)
    assert [predicate is not None for predicate in parse_for("pid == 1", [first, second, third])] == [True, False, True]
    with pytest.raises(WhereError, match=r"unknown member 'pidd' at column 1") as caught:
        parse_for("pidd == 1", [first, third])
    assert caught.value.hint == "did you mean pid?"
    with pytest.raises(WhereError, match=r"unknown member 'tid' at column 14") as caught:
        parse_for("pid == 1 and tid == 2", [first, second])
    assert caught.value.hint.startswith("no type of event has all that is named; ")
    with pytest.raises(WhereError, match="expected a member"):
        parse_for("pid == ", [first, second])
    assert parse_for("pid", []) == []
