from __future__ import annotations

import struct

import pytest

from ecli_runtime.btf import KIND_ENUM64, KIND_STRUCT, Array, Btf, Composite, Enum, Int, Member, Void
from ecli_runtime.errors import BtfError
from tests.btf_builder import BtfBuilder


def test_types_come_out_as_they_went_in() -> None:
    builder = BtfBuilder()
    u32 = builder.integer("unsigned int", 4)
    char = builder.integer("char", 1, signed=True)
    comm = builder.array(char, 16)
    event = builder.struct("event", 20, ("pid", u32, 0), ("comm", comm, 32))
    kind = builder.enum("kind", 4, {"A": 0, "B": 4294967295})
    minus = builder.enum("minus", 4, {"M": -1}, signed=True)
    big = builder.enum64("big", {"L": 1 << 40})
    low = builder.enum64("low", {"L": -2}, signed=True)
    btf = Btf(builder.section())

    assert len(btf) == 9
    assert btf.type(0) == Void()
    assert btf.type(u32) == Int("unsigned int", 4, signed=False, boolean=False, bit_count=32, bit_offset=0)
    assert btf.type(comm) == Array(char, 16)
    assert btf.type(event) == Composite("struct", "event", 20, (Member("pid", u32, 0, 0), Member("comm", comm, 32, 0)))
    assert btf.type(kind) == Enum("kind", 4, False, (("A", 0), ("B", 4294967295)))
    assert btf.type(minus) == Enum("minus", 4, True, (("M", -1),))
    assert btf.type(big) == Enum("big", 8, False, (("L", 1 << 40),))
    assert btf.type(low) == Enum("low", 8, True, (("L", -2),))
    assert btf.size_bytes(comm) == 16
    assert btf.find("event", KIND_STRUCT) == event
    assert btf.find("event", KIND_ENUM64) is None
    assert btf.names(KIND_STRUCT) == ["event"]


def test_big_endian() -> None:
    builder = BtfBuilder("big")
    u16 = builder.integer("unsigned short", 2)
    btf = Btf(builder.section())
    assert btf.byteorder == "big"
    assert btf.size_bytes(u16) == 2


def test_typedefs_and_qualifiers_come_off() -> None:
    builder = BtfBuilder()
    u32 = builder.integer("unsigned int", 4)
    pid = builder.typedef("pid_t", builder.const(u32))
    btf = Btf(builder.section())
    assert btf.resolve(pid)[0] == u32


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda raw: b"", "0 bytes"),
        (lambda raw: b"\x7fELF" + raw[4:], "not BTF"),
        (lambda raw: raw[:2] + b"\x09" + raw[3:], "version 9"),
        (lambda raw: raw[:-1], "truncated"),
        (lambda raw: raw[:-1] + b"x", "does not end with a NUL"),
        (lambda raw: raw[:12] + struct.pack("<I", 14) + raw[16:], "truncated"),
        (lambda raw: raw[:31] + b"\x1e" + raw[32:], "kind 30"),
    ],
)
def test_malformed(damage: object, message: str) -> None:
    builder = BtfBuilder()
    builder.integer("int", 4, signed=True)
    assert callable(damage)
    with pytest.raises(BtfError, match=message):
        Btf(damage(builder.section()))


def test_a_circle_of_typedefs_is_an_error() -> None:
    builder = BtfBuilder()
    builder.typedef("a", 2)
    builder.typedef("b", 1)
    btf = Btf(builder.section())
    with pytest.raises(BtfError, match="32 deep"):
        btf.resolve(1)


def test_arrays_of_themselves_have_no_size() -> None:
    builder = BtfBuilder()
    builder.array(1, 2)
    with pytest.raises(BtfError, match="32 deep"):
        Btf(builder.section()).size_bytes(1)


@pytest.mark.parametrize("type_id", [-1, 2, 1 << 31])
def test_no_such_id(type_id: int) -> None:
    builder = BtfBuilder()
    builder.integer("int", 4)
    with pytest.raises(BtfError, match="no type"):
        Btf(builder.section()).type(type_id)


def test_a_string_outside_of_its_section() -> None:
    builder = BtfBuilder()
    builder.integer("int", 4)
    raw = bytearray(builder.section())
    struct.pack_into("<I", raw, 24, 999)
    with pytest.raises(BtfError, match="string offset 999"):
        Btf(bytes(raw)).type(1)


def test_each_type_must_refer_to_types_that_there_are() -> None:
    builder = BtfBuilder()
    number = builder.integer("int", 4)
    builder.pointer(number)
    builder.struct("event", 4, ("value", number, 0))
    Btf(builder.section()).check()
    builder.array(99, 1)
    with pytest.raises(BtfError, match="type 4 refers to type 99, which there is not"):
        Btf(builder.section()).check()
