"""Hypothesis strategies for C types, as BTF and as plans, and for samples of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hypothesis import reject
from hypothesis import strategies as st

from ecli_runtime.btf import Btf
from ecli_runtime.decode.lines import Style, default_widths
from ecli_runtime.decode.plan import Op, Plan, make_event_plan
from ecli_runtime.errors import BtfError
from tests.btf_builder import BtfBuilder

names = st.sampled_from(["a", "b", "pid", "comm", "bits", "x%d", 'qu"ote', "brace{}", "é", "e\u202ed", "", "v0", "{0}"])
member_names = names.filter(bool)
labels = names | st.sampled_from(["READ", "WRITE", "a,b", "two\nlines"])
enum_values = st.sampled_from([0, 1, 2, 3, 4, 8, 16, 64, 6, 12, 0x80000000, 255, 70000])

# Pieces that strings go wrong with: quotes, escapes, terminals, invalid and cut UTF-8, surrogates, overlong forms.
PIECES = [
    *(b"/usr/lib/x86_64-linux-gnu/", b"bash", b'"', b"\\", b"\n", b"\t", b"\x1b[31m", b"\x7f", b"\0", b",", b" ", b"\r", b"%d"),
    *(each.encode() for each in ("é", "€", "\U0001f600", "\u202e", "\u200b", "\x9b", "\xad", "\ufeff", "\U000e0041", "\ufffd")),
    *(
        b"\xff",
        b"\xc3",
        b"\xe2\x82",
        b"\xf0\x9f\x98",
        b"\xed\xa0\x80",
        b"\xc0\x80",
        b"\xf4\x90\x80\x80",
        b"\x80",
        b"\xe0\x80\x80",
    ),
]
NUMBERS = [
    0,
    1,
    9,
    10,
    99,
    100,
    10**8 - 1,
    10**8,
    10**16 - 1,
    10**16,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**53,
    2**63 - 1,
    2**63,
    2**64 - 1,
]


@dataclass
class _Kind:
    type_id: int
    size: int
    bits: int = 0  # as a bitfield at most; 0: cannot be one


class _Types:
    """Draws types into a builder."""

    def __init__(self, draw: st.DrawFn, builder: BtfBuilder) -> None:
        self.draw, self.builder = draw, builder
        self.char = builder.integer("char", 1, signed=True)

    def any(self, depth: int) -> _Kind:
        draw, builder = self.draw, self.builder
        choices = ["int", "int", "string", "enum", "bool", "float", "pointer", "odd"]
        kind = draw(st.sampled_from(choices + (["struct", "union", "array", "array"] if depth else [])))
        if kind == "int":
            size = draw(st.sampled_from([1, 2, 4, 8, 16]))
            return _Kind(builder.integer(f"int{size}", size, draw(st.booleans())), size, size * 8)
        if kind == "odd":  # of fewer bits than its storage
            size = draw(st.sampled_from([1, 2, 4, 8, 16]))
            offset = draw(st.integers(0, size * 8 - 1))
            count = draw(st.integers(1, size * 8 - offset))
            at = builder.integer("odd", size, draw(st.booleans()))
            builder.types[-4:] = builder.pack("I", builder_encoding(builder) & 0xFF000000 | offset << 16 | count)
            return _Kind(at, size)
        if kind == "string":
            size = draw(st.integers(1, 40))
            return _Kind(builder.array(self.char, size), size)
        if kind == "enum":
            values = {f"{draw(labels)}{index or ''}": draw(enum_values) for index in range(draw(st.integers(0, 5)))}
            if draw(st.booleans()):
                return _Kind(builder.enum64("e64", values, draw(st.booleans())), 8, 64)
            size = draw(st.sampled_from([1, 4, 8]))
            signed = draw(st.booleans())
            values = {label: min(value, 2**31 - 1) if signed else value for label, value in values.items()}
            return _Kind(builder.enum("e", size, values, signed), size, size * 8)
        if kind == "bool":
            return _Kind(builder.integer("_Bool", 1, boolean=True), 1, 8)
        if kind == "float":
            size = draw(st.sampled_from([4, 8]))
            return _Kind(builder.floating("f", size), size)
        if kind == "pointer":
            return _Kind(builder.pointer(0), 8)
        if kind == "array":
            element = self.any(depth - 1)
            count = draw(st.integers(0, 3) | st.sampled_from([70]))
            return _Kind(builder.array(element.type_id, count), element.size * count)
        return self.composite(depth - 1, kind == "union")

    def composite(self, depth: int, is_union: bool = False, tail: bool = False) -> _Kind:
        draw, builder = self.draw, self.builder
        members: list[tuple[Any, ...]] = []
        at = size_bits = 0
        for name in draw(st.lists(member_names, max_size=5, unique=True)):
            kind = self.any(depth)
            if is_union:
                at = 0
            if kind.bits and draw(st.integers(0, 3)) == 0:
                bits = draw(st.integers(1, kind.bits))
                members.append((name, kind.type_id, at, bits))
                at += bits
            else:
                at = (at + 7 & ~7) + 8 * draw(st.sampled_from([0, 0, 1, 3]))
                members.append((name, kind.type_id, at, 0))
                at += kind.size * 8
            size_bits = max(size_bits, at)
        size = (size_bits + 7) // 8 + draw(st.sampled_from([0, 0, 1, 7]))
        if tail:
            element = _Kind(self.char, 1) if draw(st.booleans()) else self.any(1)
            members.append(("tail", builder.array(element.type_id, 0), size * 8, 0))
        return _Kind(builder.struct("s", size, *members, kind=5 if is_union else 4), size)


def builder_encoding(builder: BtfBuilder) -> int:
    return int.from_bytes(builder.types[-4:], "little" if builder.prefix == "<" else "big")


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    """Draw the plan of an event, without meanings."""
    builder = BtfBuilder(draw(st.sampled_from(["little", "big"])))
    types = _Types(draw, builder)
    event = types.composite(2, tail=draw(st.booleans()))
    try:
        return make_event_plan(Btf(builder.section()), event.type_id)
    except BtfError:  # a name that an anonymous member has, too
        reject()


_OF_INTS = [f"duration_{unit}" for unit in ("ns", "us", "ms", "s")] + ["time_ns", "time_us", "time_ms", "boottime_ns"]
_OF_INTS += ["errno", "signal", "uid", "gid", "syscall", "bytes"]


def _meanings(op: Op, element: Op | None) -> list[str]:
    if op.code == "array":
        bits = op.bit_size if element and element.code == "int" and element.bit_size * (op.count or 0) == op.bit_size else 0
        return {32: ["ipv4"], 128: ["ipv6"], 48: ["mac"]}.get(bits, [])
    if op.code != "int" or op.bit_size > 64:
        return ["ipv6"] if op.code == "int" and op.bit_size == 128 else []
    aligned = op.bit_offset % 8 == 0
    special = {32: ["ipv4", "dev"] if aligned else ["dev"], 16: ["port_be"] if aligned else []}
    return _OF_INTS + special.get(op.bit_size, [])


@st.composite
def plans_with_meanings(draw: st.DrawFn) -> Plan:
    """Draw the plan of an event some of whose members have a meaning that their type permits."""
    plan = draw(plans())
    ops = list(plan.ops)
    for index, op in enumerate(ops):
        possible = _meanings(op, ops[index + 1] if op.body == 1 else None)
        if draw(st.booleans()) and possible:
            ops[index] = op.replace(meaning=draw(st.sampled_from(possible)))
    return plan.replace(ops=tuple(ops))


@st.composite
def styles(draw: st.DrawFn, plan: Plan) -> Style:
    """Draw a style that suits a plan."""
    known = list(dict.fromkeys(op.name for op in plan.top_level()))
    fields = draw(st.none() | st.lists(st.sampled_from(known), unique=True).map(tuple)) if known else None
    widths = draw(st.just(default_widths(plan, fields)) | st.lists(st.integers(0, 20), max_size=8).map(tuple))
    return Style(
        draw(st.sampled_from(["json", "text", "csv"])),
        fields,
        widths,
        draw(st.booleans()),
        tags=draw(st.just(()) | st.just((("map", 'ev"ents'), ("cpu", "a,b")))),
        clock_offset_ns=draw(st.sampled_from([0, 1_700_000_000_123_456_789])),
        boot_offset_ns=draw(st.sampled_from([0, 1_690_000_000_987_654_321])),
        utc_offset_s=draw(st.sampled_from([0, 3600, -12_600])),
        arch="x86_64",
    )


_numbers = st.builds(
    lambda number, size, order: (number % (1 << size * 8)).to_bytes(size, order),
    st.sampled_from(NUMBERS) | st.integers(0, 2**64 - 1),
    st.sampled_from([1, 2, 4, 8]),
    st.sampled_from(["little", "big"]),
)
_pieces = st.binary(max_size=16) | st.sampled_from(PIECES) | _numbers | st.just(bytes(8))


@st.composite
def payloads(draw: st.DrawFn, plan: Plan) -> list[bytes]:
    """Draw samples of one length, which is the size of the type or a little more."""
    length = plan.size_bytes + draw(st.sampled_from([0, 0, 1, 5, 16, 40]))
    found = []
    for _ in range(draw(st.integers(1, 4))):
        parts = draw(st.lists(_pieces, max_size=20))
        found.append((b"".join(parts) + bytes(length))[:length])
    return found
