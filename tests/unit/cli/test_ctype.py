"""Event types as C with offsets, for people."""

from __future__ import annotations

import pytest

from ecli_py.render.ctype import declaration, declaration_of_members
from ecli_py.render.plain import columns, one_line, size_text
from ecli_runtime.btf import Btf
from ecli_runtime.errors import BtfError
from tests.btf_builder import BtfBuilder


@pytest.fixture
def types() -> BtfBuilder:
    return BtfBuilder()


def shown(types: BtfBuilder, type_id: int) -> list[str]:
    return declaration(Btf(types.section()), type_id).splitlines()


def test_a_struct_of_everything(types: BtfBuilder) -> None:
    u32, u64, char = types.integer("unsigned int", 4), types.integer("unsigned long long", 8), types.integer("char", 1, True)
    flag = types.integer("_Bool", 1, boolean=True)
    mode = types.enum("mode", 4, {"FAST": 0, "SLOW": 1})
    inner = types.struct("point", 8, ("x", u32, 0), ("y", u32, 32))
    anonymous = types.union("", 8, ("whole", u64, 0), ("point", inner, 0))
    pid = types.typedef("pid_t", u32)
    outer = types.struct(
        "event",
        104,
        ("pid", types.const(pid), 0),
        ("mode", mode, 32),
        ("name", types.array(char, 16), 64),
        ("", anonymous, 192),
        ("points", types.array(types.array(inner, 2), 3), 256),
        ("next", types.pointer(types.forward("event")), 640),
        ("on", flag, 704),
        ("tail", types.array(u32, 0), 832),
    )
    assert shown(types, outer) == [
        "enum mode { FAST = 0, SLOW = 1 };",
        "struct event {                     // 104 bytes",
        "    pid_t pid;                     // at 0, 4 bytes",
        "    enum mode mode;                // at 4, 4 bytes",
        "    char name[16];                 // at 8, 16 bytes",
        "    union {                        // at 24, 8 bytes",
        "        unsigned long long whole;  // at 24, 8 bytes",
        "        struct point {             // at 24, 8 bytes",
        "            unsigned int x;        // at 24, 4 bytes",
        "            unsigned int y;        // at 28, 4 bytes",
        "        } point;",
        "    };",
        "    struct point {                 // at 32, 48 bytes",
        "        unsigned int x;            // at 32, 4 bytes",
        "        unsigned int y;            // at 36, 4 bytes",
        "    } points[3][2];",
        "    struct event *next;            // at 80, 8 bytes",
        "    bool on;                       // at 88, 1 byte",
        "    unsigned int tail[];           // at 104, 0 bytes",
        "};",
    ]


def test_bitfields(types: BtfBuilder) -> None:
    u32 = types.integer("unsigned int", 4)
    outer = types.struct("flags", 4, ("a", u32, 0, 3), ("b", u32, 3, 1), ("", u32, 4, 4), ("c", u32, 10, 12))
    assert [line.split() for line in shown(types, outer)[1:-1]] == [
        ["unsigned", "int", "a", ":", "3;", "//", "at", "0,", "bits", "0", "to", "2"],
        ["unsigned", "int", "b", ":", "1;", "//", "at", "0,", "bit", "3"],
        ["unsigned", "int", ":", "4;", "//", "at", "0,", "bits", "4", "to", "7"],
        ["unsigned", "int", "c", ":", "12;", "//", "at", "1,", "bits", "2", "to", "13"],
    ]


def test_typedefs(types: BtfBuilder) -> None:
    u32 = types.integer("unsigned int", 4)
    event = types.typedef("event_t", types.struct("", 4, ("v", u32, 0)))
    level = types.typedef("level_t", types.enum("", 4, {"LOW": 0}))
    stack = types.typedef("stack_t", types.array(u32, 2))
    outer = types.struct("all", 16, ("event", event, 0), ("level", level, 32), ("stack", stack, 64))
    assert shown(types, event) == [
        "typedef struct {     // 4 bytes",
        "    unsigned int v;  // at 0, 4 bytes",
        "} event_t;",
    ]
    assert shown(types, outer) == [
        "typedef enum { LOW = 0 } level_t;",
        "struct all {                // 16 bytes",
        "    struct {                // at 0, event_t, 4 bytes",
        "        unsigned int v;     // at 0, 4 bytes",
        "    } event;",
        "    level_t level;          // at 4, 4 bytes",
        "    unsigned int stack[2];  // at 8, stack_t, 8 bytes",
        "};",
    ]
    assert shown(types, types.typedef("u32", u32)) == ["u32;  // 4 bytes"]


def test_members_that_a_package_describes(types: BtfBuilder) -> None:
    u32 = types.integer("unsigned int", 4)
    text = declaration_of_members(Btf(types.section()), [("pid", u32, 4), ("uid", u32, 12)])
    assert text.splitlines() == [
        "struct {               // 16 bytes",
        "    unsigned int pid;  // at 4, 4 bytes",
        "    unsigned int uid;  // at 12, 4 bytes",
        "};",
    ]


def test_hostile_types(types: BtfBuilder) -> None:
    u32 = types.integer("unsigned int\x1b[31m", 4)
    outer = types.struct("a\nb", 4, ("\x9b0m\r", u32, 0))
    text = declaration(Btf(types.section()), outer)
    assert text.count("\n") == 3
    assert text.replace("\n", "").isprintable()
    itself = types.struct("itself", 4, ("again", types.count + 1, 0))
    with pytest.raises(BtfError):
        declaration(Btf(types.section()), itself)


def test_one_line() -> None:
    assert one_line("a\n\tb  c") == "a b c"
    assert one_line("\x1b[2Jé\u202e\x9b") == r"\x1b[2Jé\u202e\x9b"
    assert one_line("") == ""


def test_sizes() -> None:
    assert [size_text(size) for size in (0, 1023, 1024, 1536, 1 << 20, 1023 << 10, (1 << 53) - 1)] == [
        *("0 B", "1023 B", "1 KiB", "1.5 KiB", "1 MiB", "1 MiB", "8 PiB"),
    ]


def test_columns() -> None:
    assert list(columns([("NAME", "N"), ("a", "1"), ("bcdef", "10")])) == ["  NAME    N", "  a       1", "  bcdef  10"]
