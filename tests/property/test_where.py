"""Conditions on samples agree with the same conditions on decoded events; no text and no sample is more than they can take."""

from __future__ import annotations

import operator
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from hypothesis import given, settings
from hypothesis import strategies as st

from ecli_runtime.btf import Btf
from ecli_runtime.decode.plan import Plan, make_event_plan
from ecli_runtime.decode.predicate import MAX_INSTRUCTIONS, MAX_STACK, stack_size
from ecli_runtime.decode.python import make_decoder
from ecli_runtime.decode.where import compile_predicate, parse
from ecli_runtime.errors import WhereError
from tests.btf_builder import BtfBuilder

if TYPE_CHECKING:
    from collections.abc import Callable

OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
LABELS = {"NONE": 0, "FIRST": 1, "SECOND": 2, "LAST": 2**31 - 1}
letters = st.text("ab*\u00e9\u20ac\U0001f600 ", max_size=6)


class _Event:
    """Builds a type and a sample of it side by side.

    Attributes:
        numbers: Paths of members that are numbers, bools and enums included, and how to find each in a decoded event.
        texts: Of members that are text.
        wide: Numbers of 16 bytes, which are compared with each other only.
    """

    def __init__(self, draw: st.DrawFn) -> None:
        self.draw = draw
        self.builder = BtfBuilder(draw(st.sampled_from(["little", "big"])))
        self.numbers: dict[str, tuple[str | int, ...]] = {}
        self.texts: dict[str, tuple[str | int, ...]] = {}
        self.wide: set[str] = set()
        self.char = self.builder.integer("char", 1, signed=True)
        type_id, self.sample = self.struct((), 2)
        self.plan = make_event_plan(Btf(self.builder.section()), type_id)
        self.decoded = make_decoder(self.plan)(self.sample)

    def struct(self, path: tuple[str | int, ...], depth: int) -> tuple[int, bytes]:
        members: list[tuple[str, int, int] | tuple[str, int, int, int]] = []
        sample = b""
        for index in range(self.draw(st.integers(1, 4))):
            name = f"m{index}"
            bits = self.draw(st.integers(0, 30))
            if bits in (3, 5, 17):  # three bitfields in one integer
                signed = self.draw(st.booleans())
                storage = self.builder.integer(f"s{signed}", 4, signed)
                for part, (offset, width) in enumerate([(0, bits), (bits, 7), (bits + 7, 8)]):
                    members.append((f"{name}_{part}", storage, len(sample) * 8 + offset, width))
                    self.numbers[self.text((*path, f"{name}_{part}"))] = (*path, f"{name}_{part}")
                sample += self.draw(st.binary(min_size=4, max_size=4))
                continue
            type_id, data = self.member((*path, name), depth)
            members.append((name, type_id, len(sample) * 8, 0))
            sample += data
        return self.builder.struct("s", len(sample), *members), sample

    def member(self, path: tuple[str | int, ...], depth: int) -> tuple[int, bytes]:
        draw, builder = self.draw, self.builder
        kinds = ["int", "bool", "enum", "float", "text"] + (["struct", "array"] if depth else [])
        kind = draw(st.sampled_from(kinds))
        if kind == "struct":
            return self.struct(path, depth - 1)
        if kind == "array":
            # All elements are drawn as the first one is, so that they have one type.
            element, data = self.member((*path, 0), 0)
            others = {each: found for each, found in (*self.numbers.items(), *self.texts.items()) if found[: len(path)] == path}
            for each, found in others.items():
                last = self.text((*path, 1)) + each.removeprefix(self.text((*path, 0)))
                (self.texts if each in self.texts else self.numbers)[last] = (*path, 1, *found[len(path) + 1 :])
                self.wide |= {last} if each in self.wide else set()
            return builder.array(element, 2), data + data[::-1] if not self.texts else data + data
        if kind == "text":
            self.texts[self.text(path)] = path
            text = draw(letters).encode()[:12].decode(errors="ignore")
            return builder.array(self.char, 12), text.encode().ljust(12, b"\0")
        self.numbers[self.text(path)] = path
        if kind == "float":
            size = draw(st.sampled_from([4, 8]))
            return builder.floating("f", size), draw(st.binary(min_size=size, max_size=size))
        if kind == "bool":
            return builder.integer("bool", 1, boolean=True), draw(st.sampled_from([b"\0", b"\1", b"\7"]))
        if kind == "enum":
            value = draw(st.sampled_from([*LABELS.values(), 77]))
            return builder.enum("e", 4, LABELS), builder.pack("I", value)
        size, signed = draw(st.sampled_from([1, 2, 4, 8, 16])), draw(st.booleans())
        self.wide |= {self.text(path)} if size == 16 else set()
        return builder.integer(f"int{size}{signed}", size, signed), draw(st.binary(min_size=size, max_size=size))

    @staticmethod
    def text(path: tuple[str | int, ...]) -> str:
        return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).removeprefix(".")

    def find(self, path: tuple[str | int, ...]) -> Any:
        """Return a decoded value; that of an enum as a number."""
        value = self.decoded
        for part in path:
            value = value[part]
        return LABELS.get(value, value) if isinstance(value, str) and path in self.numbers.values() else value


Condition = tuple[str, bool]  # an expression and whether it is true of the sample


class _Conditions:
    def __init__(self, draw: st.DrawFn, event: _Event) -> None:
        self.draw, self.event = draw, event

    def any(self, depth: int) -> Condition:
        kind = self.draw(st.sampled_from(["simple"] if not depth else ["simple", "and", "or", "not", "paren"]))
        if kind == "simple":
            texts, numbers = self.event.texts, self.event.numbers
            return self.on_text() if texts and (not numbers or self.draw(st.booleans())) else self.on_number()
        first, is_first = self.any(depth - 1)
        if kind == "paren":
            return f"({first})", is_first
        if kind == "not":
            return f"{self.draw(st.sampled_from(['not ', '!']))}({first})", not is_first
        second, is_second = self.any(depth - 1)
        if kind == "and":
            return f"({first}) {self.draw(st.sampled_from(['and', '&&']))} ({second})", is_first and is_second
        return f"({first}) {self.draw(st.sampled_from(['or', '||']))} ({second})", is_first or is_second

    def number(self) -> tuple[str, Any]:
        path = self.draw(st.sampled_from(sorted(self.event.numbers)))
        return path, self.event.find(self.event.numbers[path])

    def literal(self, near: Any) -> tuple[str, Any]:
        draw = self.draw
        if not isinstance(near, float) and draw(st.booleans()):
            near = int(near) + draw(st.integers(-1, 1))
            return draw(st.sampled_from([f"{near}", f"{'-' if near < 0 else ''}{abs(near):#x}", f"{near}.0"])), near
        value = draw(st.integers(-300, 300) | st.floats(-1e6, 1e6).map(lambda each: round(each, 3)))
        return f"{value!r}", value

    def on_number(self) -> Condition:
        draw = self.draw
        path, value = self.number()
        kind = draw(st.sampled_from(["compare", "compare", "chain", "in", "alone", "mask", "members"]))
        if kind == "alone":
            return path, bool(value)
        if kind == "mask" and type(value) is int:
            mask = draw(st.integers(0, 2**16))
            return f"{path} & {mask} != 0", value & mask != 0
        if kind == "members":
            other, other_value = self.number()
            sign = draw(st.sampled_from(sorted(OPERATORS)))
            if (path in self.event.wide) == (other in self.event.wide):
                return f"{path} {sign} {other}", OPERATORS[sign](value, other_value)
        if kind == "in":
            literals = [self.literal(value) for _ in range(draw(st.integers(1, 4)))]
            inside = f"{path} {{}} ({', '.join(text for text, _ in literals)})"
            is_inside = value in [other for _, other in literals]
            return (inside.format("in"), is_inside) if draw(st.booleans()) else (inside.format("not in"), not is_inside)
        text, other_value = self.literal(value)
        sign = draw(st.sampled_from(sorted(OPERATORS)))
        if kind == "chain":
            low, low_value = self.literal(value)
            return f"{low} < {path} {sign} {text}", low_value < value and OPERATORS[sign](value, other_value)
        if draw(st.booleans()):
            return f"{text} {sign} {path}", OPERATORS[sign](other_value, value)
        return f"{path} {sign} {text}", OPERATORS[sign](value, other_value)

    def on_text(self) -> Condition:
        draw = self.draw
        path = draw(st.sampled_from(sorted(self.event.texts)))
        value = self.event.find(self.event.texts[path])
        other = draw(letters | st.just(value))
        kind = draw(st.sampled_from(["compare", "inside", "glob", "alone"]))
        if kind == "alone":
            return path, bool(value)
        if kind == "inside":
            return f"'{other}' in {path}", other in value
        if kind == "glob":
            pattern = draw(st.lists(st.sampled_from(["*", "?", "a", "b", "\u00e9", *value]), max_size=6).map("".join))
            return f"{path} =~ '{pattern}'", fnmatchcase(value, pattern)
        sign = draw(st.sampled_from(sorted(OPERATORS)))
        return f'{path} {sign} "{other}"', OPERATORS[sign](value, other)


@st.composite
def events(draw: st.DrawFn) -> _Event:
    return _Event(draw)


@st.composite
def conditions(draw: st.DrawFn, event: _Event) -> Condition:
    return _Conditions(draw, event).any(3)


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_a_condition_on_a_sample_is_one_on_the_event(data: st.DataObject) -> None:
    event = data.draw(events())
    text, expected = data.draw(conditions(event))
    shown = compile_predicate(parse(text, event.plan), event.plan.byteorder)
    sample = event.sample
    assert shown(sample, 0, len(sample)) is expected, text
    assert shown(b"abc" + sample + b"abc", 3, len(sample)) is expected, text


def _rich_plan(byteorder: str) -> Plan:
    builder = BtfBuilder(byteorder)
    u16, u32, s64 = builder.integer("u16", 2), builder.integer("u32", 4), builder.integer("s64", 8, signed=True)
    wide, flag, number = builder.integer("u128", 16), builder.integer("bool", 1, boolean=True), builder.floating("double", 8)
    byte, char = builder.integer("unsigned char", 1), builder.integer("char", 1, signed=True)
    kind = builder.enum("kind", 4, {"EXEC": 0, "EXIT": 1, "A": 4})
    point = builder.struct("at", 8, ("a", u32, 0), ("b", kind, 32))
    members = [("pid", u32, 4), ("lat_us", s64, 8), ("wide", wide, 16), ("is_new", flag, 1), ("x", number, 8), ("kind", kind, 4)]
    members += [("comm", builder.array(char, 16), 16), ("at", point, 8), ("args", builder.array(point, 3), 24), ("port", u16, 2)]
    members += [("daddr", u32, 4), ("saddr", builder.array(byte, 16), 16), ("mac", builder.array(byte, 6), 6), ("dev", u32, 4)]
    members += [("p", builder.pointer(0), 8), ("tail", builder.array(char, 0), 0)]
    offsets = [sum(size for _, _, size in members[:index]) * 8 for index in range(len(members) + 1)]
    placed = [(name, type_id, offset) for (name, type_id, _), offset in zip(members, offsets, strict=False)]
    event = builder.struct("event", offsets[-1] // 8, *placed)
    plan = make_event_plan(Btf(builder.section()), event)
    meanings = {"daddr": "ipv4", "saddr": "ipv6", "mac": "mac", "port": "port_be", "dev": "dev", "pid": "uid"}
    return plan.replace(ops=tuple(op.replace(meaning=meanings.get(op.name, "")) for op in plan.ops))


PLANS = [_rich_plan("little"), _rich_plan("big")]
SYMBOLS = "EXEC EXIT A and or not in true false == != < <= > >= = =~ !~ && || ! & | ( ) [ ] . , - at.a args[1].b"
WORDS = [
    *(op.name for op in PLANS[0].ops if op.name),
    *SYMBOLS.split(),
    *("0", "1", "5ms", "1m30s", "64k", "2.5", "0x1f", "1e3", "9" * 30, "10.0.0.1", "10.0.0.0/8", "fe80::/10", "8:1"),
    *("02:42:ac:11:00:02", '"a"', "'n*?'", r"'\*'", "''", '"', "#", "9e999", "1_0", "::"),
]
SENSIBLE = [
    *("pid == 7", "pid in (0, 1, 2)", "pid", "not is_new", "is_new == true", "lat_us < 1ms", "lat_us >= -5s", "0 < lat_us <= 1d"),
    *(
        "wide != 5",
        "wide < 99999999999999999999999",
        "wide & 18446744073709551617",
        "x == 0.5",
        "x < lat_us",
        "x",
        "kind == EXIT",
    ),
    *("kind & A", "kind in (EXEC, EXIT)", 'comm == "a"', 'comm =~ "*a?"', "'a' in tail", "tail =~ '?*'", "comm < tail", "tail"),
    *("at.a == args[2].a", "args[1].b != EXEC", "port < 1024", "port", "port & 5 == 4", "daddr in 10.0.0.0/8", "dev == 8:1"),
    *("daddr not in (1.1.1.1, 0.0.0.0/0)", "saddr in fe80::/10", "saddr == ::", "saddr == 10.0.0.1", "mac == 00:00:00:00:00:00"),
    *("p == 0", "p > 0xffff000000000000", "p", "dev != 0"),
]
sentences = st.lists(st.sampled_from(SENSIBLE), min_size=1, max_size=5)
expressions = st.tuples(st.sampled_from([" and ", " or ", " and not "]), sentences).map(lambda each: each[0].join(each[1]))
expressions |= st.lists(st.sampled_from([*SENSIBLE, *WORDS]), max_size=6).map(" ".join)
expressions |= st.text(max_size=30) | st.lists(st.sampled_from(WORDS), max_size=16).map(" ".join)
expressions |= st.lists(st.sampled_from(WORDS), max_size=16).map("".join) | st.text("()!&|=<>.'\"\\0123eknmsx_:/ ap", max_size=20)


@given(expressions, st.sampled_from(PLANS), st.binary(max_size=200), st.integers(0, 9))
@settings(max_examples=500, deadline=None)
def test_any_text_is_a_predicate_or_an_error_and_any_bytes_are_a_sample(text: str, plan: Plan, sample: bytes, at: int) -> None:
    try:
        predicate = parse(text, plan)
    except WhereError as error:
        column = error.column
    else:
        column = 1
        assert len(predicate.code) <= MAX_INSTRUCTIONS
        assert stack_size(predicate.code) <= MAX_STACK
        shown = compile_predicate(predicate, plan.byteorder)
        assert shown(bytes(at) + sample, at, len(sample)) in (True, False)
        assert shown(bytes(at) + sample + bytes(300), at, len(sample) + 300) in (True, False)
    assert 1 <= column <= len(text) + 1
