from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from ecli_runtime.btf import Btf
from ecli_runtime.errors import BtfError, OptionError, UnsupportedFeatureError
from ecli_runtime.globals import Global
from ecli_runtime.live import LiveGlobals
from tests.btf_builder import BtfBuilder

SIZE = 64


class Section:
    """A section's map whose memory is a file's."""

    def __init__(self, name: str, fd: int) -> None:
        self.name = self.data_section = name
        self.fd, self.key_size_bytes, self.value_size_bytes = fd, 4, SIZE

    def lookup(self, key: bytes) -> bytes:
        assert key == b"\0\0\0\0"
        return os.pread(self.fd, SIZE, 0)


class Loaded:
    """An object with two sections, and variables in them."""

    def __init__(self) -> None:
        builder = BtfBuilder()
        self.types = {
            "u8": builder.integer("unsigned char", 1),
            "u16": builder.integer("unsigned short", 2),
            "u32": builder.integer("unsigned int", 4),
            "s64": builder.integer("long long", 8, signed=True),
            "mode": builder.enum("mode", 4, {"FAST": 1, "SLOW": 2}),
            "pointer": builder.pointer(0),
        }
        self.types["text"] = builder.array(builder.integer("char", 1, signed=True), 8)
        self.btf = Btf(builder.section())
        self.fds = [os.memfd_create(name) for name in ("data", "rodata")]
        for fd in self.fds:
            os.pwrite(fd, b"\xee" * SIZE, 0)
        self.maps = [Section(".data", self.fds[0]), Section(".rodata", self.fds[1])]

    def variable(self, name: str, kind: str, offset: int, size: int = 0, section: str = ".data") -> Global:
        type_id = self.types[kind]
        return Global(name, section, type_id, offset, size or self.btf.size_bytes(type_id))

    def live(self, *variables: Global, counters: tuple[str, ...] = ()) -> LiveGlobals:
        return LiveGlobals(self, variables, counters)  # type: ignore[arg-type]


@pytest.fixture
def loaded() -> Iterator[Loaded]:
    made = Loaded()
    yield made
    for fd in made.fds:
        os.close(fd)


@pytest.mark.parametrize("offset", [0, 8, 13, 24])
@pytest.mark.parametrize(
    ("kind", "text", "value", "data"),
    [
        ("u8", "7", 7, b"\x07"),
        ("u16", "0x102", 0x102, (0x102).to_bytes(2, "little")),
        ("u32", "4294967295", 0xFFFFFFFF, b"\xff" * 4),
        ("s64", "-2", -2, b"\xfe" + b"\xff" * 7),
        ("mode", "SLOW", "SLOW", b"\x02\0\0\0"),
        ("text", "abc", "abc", b"abc\0\0\0\0\0"),
    ],
)
def test_a_value_goes_where_it_belongs(loaded: Loaded, offset: int, kind: str, text: str, value: object, data: bytes) -> None:
    live = loaded.live(loaded.variable("x", kind, offset))
    live.set({"x": live.parse("x", text)})
    assert live.get("x") == value
    assert os.pread(loaded.fds[0], SIZE, 0) == (b"\xee" * offset + data).ljust(SIZE, b"\xee")


def test_all_or_none(loaded: Loaded) -> None:
    live = loaded.live(
        loaded.variable("first", "u8", 0),
        loaded.variable("fixed", "u8", 0, section=".rodata"),
        loaded.variable("events_lost", "u32", 4),
        loaded.variable("where", "pointer", 8),
        counters=("events_lost",),
    )
    for name, message in (
        ("fixed", "read-only"),
        ("events_lost", "counts in it what is lost"),
        ("where", "neither a number"),
        ("frist", "no global variable 'frist'"),
        ("first", "from 0 to 255, got 256"),
    ):
        with pytest.raises(OptionError, match=message) as caught:
            live.set({"first": 5, name: 256})
        assert caught.value.hint
    assert os.pread(loaded.fds[0], SIZE, 0) == b"\xee" * SIZE
    assert {each.name: bool(each.fixed) for each in live.all()} == {"first": False, "fixed": True, "events_lost": True}


@pytest.mark.parametrize(("offset", "size"), [(SIZE, 0), (SIZE - 2, 0), (1 << 40, 0), (0, 2), (0, 8)])
def test_a_variable_that_is_not_where_it_says(loaded: Loaded, offset: int, size: int) -> None:
    live = loaded.live(loaded.variable("x", "u32", offset, size))
    with pytest.raises(BtfError, match="'x'"):
        live.set({"x": 5})
    assert os.pread(loaded.fds[0], SIZE, 0) == b"\xee" * SIZE


def test_a_kernel_that_does_not_map_sections(loaded: Loaded) -> None:
    loaded.maps[0].fd = os.open("/", os.O_RDONLY)
    try:
        with pytest.raises(UnsupportedFeatureError, match=r"needs Linux 5\.5"):
            loaded.live(loaded.variable("x", "u32", 0)).set({"x": 5})
    finally:
        os.close(loaded.maps[0].fd)
