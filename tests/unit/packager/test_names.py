"""C names of types in BTF."""

from __future__ import annotations

from ecli_packager.names import canonical, find_type, type_at
from ecli_runtime.btf import Btf
from tests.btf_builder import BtfBuilder


def test_the_type_at_an_offset() -> None:
    build = BtfBuilder()
    u8, u32 = build.integer("u8", 1), build.integer("u32", 4)
    bytes_, slots = build.array(u8, 64), build.array(u32, 16)
    room, histogram = build.struct("room", 64, ("bytes", bytes_, 0)), build.struct("histogram", 64, ("slots", slots, 0))
    event = build.struct("event", 8, ("head", u32, 0), ("tail", u32, 32))
    events = build.array(event, 4)
    value = build.struct("value", 104, ("flags", u32, 0), ("events", events, 64), ("room", room, 320))
    btf = Btf(build.section())
    assert type_at(btf, value, 0) == ("struct value", 104)
    assert type_at(btf, value, 8) == type_at(btf, value, 24) == ("struct event", 8)
    assert type_at(btf, value, 28) == ("u32", 4)
    assert type_at(btf, histogram, 0) == ("struct histogram", 64)
    assert type_at(btf, u32, 0) == ("u32", 4)
    for type_id, byte_offset in ((room, 0), (bytes_, 0), (value, 40), (value, 44), (value, 4), (value, 200), (0, 0)):
        assert type_at(btf, type_id, byte_offset) is None


def test_an_array_is_found_by_its_elements_and_their_number() -> None:
    build = BtfBuilder()
    char = build.integer("char", 1)
    build.array(char, 16)
    wanted = build.array(char, 64)
    assert find_type(Btf(build.section()), "char[64]") == wanted
    assert find_type(Btf(build.section()), "char[65]") is None


def test_a_name_is_spelt_as_btf_spells_it() -> None:
    for name, spelt in (
        ("char [ 16 ] [2]", "char[16][2]"),
        ("struct  event", "struct event"),
        ("long unsigned int", "unsigned long"),
        ("unsigned", "unsigned int"),
        ("signed long long", "long long"),
        ("signed char", "signed char"),
        ("u64", "u64"),
    ):
        assert canonical(name) == spelt
