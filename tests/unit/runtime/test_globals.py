from __future__ import annotations

import struct

import pytest

from ecli_runtime.btf import Btf
from ecli_runtime.errors import OptionError
from ecli_runtime.globals import find_globals, is_settable, pack_value, parse_value
from tests.btf_builder import BtfBuilder


def make() -> tuple[Btf, dict[str, int]]:
    builder = BtfBuilder()
    ids = {
        "u8": builder.integer("unsigned char", 1),
        "s16": builder.integer("short", 2, signed=True),
        "u64": builder.integer("unsigned long long", 8),
        "bool": builder.integer("bool", 1, boolean=True),
        "float": builder.floating("float", 4),
        "double": builder.floating("double", 8),
        "enum": builder.enum("mode", 4, {"FAST": 1, "SLOW": 2}),
    }
    char = builder.integer("char", 1, signed=True)
    ids["text"] = builder.array(char, 8)
    ids["const"] = builder.const(ids["u8"])
    ids["struct"] = builder.struct("s", 1, ("a", ids["u8"], 0))
    ids["pointer"] = builder.pointer(0)
    public = builder.var("public", ids["const"])
    private = builder.var("private", ids["u8"], linkage=0)
    builder.data_section(".rodata", 16, (private, 1, 1), (public, 0, 1))
    builder.data_section(".maps", 16, (public, 0, 1))
    return Btf(builder.section()), ids


@pytest.mark.parametrize(
    ("kind", "text", "data"),
    [
        ("u8", "255", b"\xff"),
        ("u8", "0x10", b"\x10"),
        ("u8", "007", b"\x07"),
        ("const", "1", b"\x01"),
        ("s16", "-2", b"\xfe\xff"),
        ("u64", "18446744073709551615", b"\xff" * 8),
        ("bool", "yes", b"\x01"),
        ("bool", "OFF", b"\x00"),
        ("float", "1.5", struct.pack("<f", 1.5)),
        ("double", "-2", struct.pack("<d", -2)),
        ("enum", "SLOW", b"\x02\0\0\0"),
        ("enum", "7", b"\x07\0\0\0"),
        ("text", "bash", b"bash\0\0\0\0"),
        ("text", "", b"\0" * 8),
    ],
)
def test_text_becomes_bytes(kind: str, text: str, data: bytes) -> None:
    btf, ids = make()
    assert is_settable(btf, ids[kind])
    assert pack_value(btf, ids[kind], parse_value(btf, ids[kind], text)) == data


@pytest.mark.parametrize(
    ("kind", "text", "message"),
    [
        ("u8", "256", "from 0 to 255, got 256"),
        ("u8", "-1", "from 0 to 255"),
        ("u8", "many", "expected an integer, got 'many'"),
        ("u8", "1.5", "expected an integer"),
        ("u8", "", "expected an integer"),
        ("s16", "40000", "from -32768 to 32767"),
        ("bool", "maybe", "expected true or false"),
        ("float", "x", "expected a number"),
        ("float", "1e300", "does not fit into float"),
        ("enum", "MEDIUM", "one of FAST, SLOW"),
        ("text", "12345678", "at most 7 bytes"),
        ("text", "a\0b", "NUL"),
    ],
)
def test_what_does_not_fit_is_said(kind: str, text: str, message: str) -> None:
    btf, ids = make()
    with pytest.raises(OptionError, match=message):
        pack_value(btf, ids[kind], parse_value(btf, ids[kind], text))


@pytest.mark.parametrize(
    ("kind", "value"), [("u8", True), ("u8", "1"), ("text", 5), ("text", "\ud800"), ("double", "1"), ("bool", 3)]
)
def test_values_of_another_kind_are_refused(kind: str, value: object) -> None:
    btf, ids = make()
    with pytest.raises(OptionError):
        pack_value(btf, ids[kind], value)


def test_structs_and_pointers_cannot_be_set() -> None:
    btf, ids = make()
    assert not is_settable(btf, ids["struct"])
    assert not is_settable(btf, ids["pointer"])


def test_only_public_variables_of_data_sections_are_globals() -> None:
    btf, _ = make()
    assert [each.name for each in find_globals(btf)] == ["public"]
