"""Lines that are written out here by hand, for both backends."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import pytest

from ecli_runtime.decode.lines import Style, default_widths, fit, make_program
from ecli_runtime.decode.plan import Op, Plan
from ecli_runtime.decode.rows import PythonLines
from ecli_runtime.decode.where import Predicate
from ecli_runtime.read.run import Run
from tests.lines_backends import BACKENDS

pytestmark = pytest.mark.parametrize("backend", BACKENDS)

Backend = Callable[[Any], PythonLines]


def render(backend: Backend, plan: Plan, style: Style, *samples: bytes, prefix: bytes = b"") -> bytes:
    lines, shown, consumed = backend(make_program(plan, style)).render(Run.of(samples), prefix, -1)
    assert shown == consumed == len(samples)
    return lines


def cell(backend: Backend, op: Op, sample: bytes, kind: Any = "text", byteorder: Any = "little", **style: Any) -> str:
    """Return the only cell of a line, or the value of the only member of a JSON object."""
    plan = Plan("", len(sample) if op.bit_size else 0, byteorder, (op.replace(name="x"),))
    text = render(backend, plan, Style(kind, **style), sample).decode()
    return text[len('{"x":') : -2] if kind == "json" else text[:-1]


EVENT = Plan(
    "event",
    32,
    "little",
    (
        Op("int", "pid", 0, 32),
        Op("enum", "kind", 32, 8, names=((0, "EXEC"), (1, "EXIT"))),
        Op("bool", "ok", 40, 8),
        Op("struct", "place", 64, 64, body=2),
        Op("int", "x", 64, 32, signed=True),
        Op("pointer", "at", 96, 32),
        Op("string", "comm", 128, 128),
    ),
)
SAMPLES = [
    struct.pack("<IBB2xiI16s", 7, 1, 1, -1, 0xBEEF, b'ba"sh\0stale'),
    struct.pack("<IBB2xiI16s", 12345678, 9, 0, 3, 0, b"a,b "),
]


def test_json(backend: Backend) -> None:
    assert render(backend, EVENT, Style("json", tags=(("map", "m"),)), *SAMPLES).decode().splitlines() == [
        r'{"map":"m","pid":7,"kind":"EXIT","ok":true,"place":{"x":-1,"at":"0xbeef"},"comm":"ba\"sh"}',
        r'{"map":"m","pid":12345678,"kind":9,"ok":false,"place":{"x":3,"at":"0x0"},"comm":"a,b "}',
    ]
    assert render(backend, EVENT, Style("json", fields=()), *SAMPLES) == b"{}\n{}\n"
    assert render(backend, EVENT, Style("json", fields=("ok", "pid")), SAMPLES[0]) == b'{"ok":true,"pid":7}\n'


def test_csv(backend: Backend) -> None:
    assert render(backend, EVENT, Style("csv", tags=(("map", 'm"'),)), *SAMPLES).decode().splitlines() == [
        '"m""",7,EXIT,true,"{""x"":-1,""at"":""0xbeef""}","ba""sh"',
        '"m""",12345678,9,false,"{""x"":3,""at"":""0x0""}","a,b "',
    ]


def test_text(backend: Backend) -> None:
    style = Style("text", widths=(7, 4, 5, 0, 4))
    assert render(backend, EVENT, style, *SAMPLES, prefix=b"12:00  ").decode().splitlines() == [
        '12:00        7  EXIT  true   {"x":-1,"at":"0xbeef"}  ba"sh',
        '12:00  12345678  9     false  {"x":3,"at":"0x0"}  a,b',
    ]
    style = Style("text", ("comm", "pid"), widths=(4, 3), cut=True)
    assert render(backend, EVENT, style, *SAMPLES) == "b…sh    7\na,b   12345678\n".encode()
    assert render(backend, EVENT, Style("text", fields=()), SAMPLES[0], prefix=b"12:00  ") == b"12:00\n"


def test_text_that_is_cut_keeps_beginning_and_end(backend: Backend) -> None:
    op = Op("string", "", 0, 128)
    for width, expected in ((1, "…"), (2, "…h"), (3, "/…h"), (6, "/b…ash"), (9, "/bin…bash"), (10, "/bin…/bash")):
        assert cell(backend, op, b"/bin//bin/bash\0\0", widths=(width,), cut=True) == expected
    assert cell(backend, op, "ééééé\0".encode() + bytes(5), widths=(4,), cut=True) == "é…éé"
    assert cell(backend, op, "ééééé\0".encode() + bytes(5), widths=(5,), cut=True) == "ééééé"


@pytest.mark.parametrize(
    ("raw", "shown", "json"),
    [
        (b"plain\0\xffstale", "plain", '"plain"'),
        (b"no NUL at all", "no NUL at all", '"no NUL at all"'),
        (b"", "", '""'),
        (b"tab\tnew\nline\r", r"tab\tnew\nline\r", r'"tab\tnew\nline\r"'),
        (b"\x1b[31m\x08\x0c\x7f", r"\x1b[31m\x08\x0c\x7f", '"\\u001b[31m\\b\\f\x7f"'),
        (b'back\\slash "q"', 'back\\slash "q"', r'"back\\slash \"q\""'),
        ("é€😀".encode(), "é€😀", '"é€😀"'),
        ("\x9b\xad\u202e\u200b\ufeff\U000e0041".encode(), r"\x9b\xad\u202e\u200b\ufeff\U000e0041", None),
        (b"\xff", "\ufffd", '"\ufffd"'),
        (b"\xc3", "\ufffd", '"\ufffd"'),
        (b"\xe2\x82", "\ufffd", '"\ufffd"'),
        (b"\xe2\x82x", "\ufffdx", '"\ufffdx"'),
        (b"\xf0\x9f\x98", "\ufffd", '"\ufffd"'),
        (b"\xf0\x9f\xff", "\ufffd\ufffd", '"\ufffd\ufffd"'),
        (b"\xed\xa0\x80", "\ufffd" * 3, None),  # a surrogate
        (b"\xc0\xaf", "\ufffd" * 2, None),  # overlong
        (b"\xe0\x80\x80", "\ufffd" * 3, None),
        (b"\xf4\x90\x80\x80", "\ufffd" * 4, None),  # above U+10FFFF
        (b"\xf8\x88\x80\x80\x80", "\ufffd" * 5, None),
    ],
)
def test_strings(backend: Backend, raw: bytes, shown: str, json: str | None) -> None:
    sample = raw.ljust(16, b"\0")
    op = Op("string", "", 0, len(sample) * 8)
    assert cell(backend, op, sample) == shown
    expected = json or f'"{raw.decode("utf-8", "replace")}"'
    assert cell(backend, op, sample, "json") == expected
    assert cell(backend, op.replace(bit_size=0), sample, "json") == expected


def test_json_in_columns_is_escaped_for_the_terminal(backend: Backend) -> None:
    plan = Plan("", 16, "little", (Op("array", "x", 0, 128, count=1, stride_bits=128, body=1), Op("string", "", 0, 128)))
    sample = '\x1b\x9b\U000e0041\n"é'.encode().ljust(16, b"\0")
    assert render(backend, plan, Style("text"), sample).decode() == r'["\u001b\u009b\udb40\udc41\n\"é"]' + "\n"


@pytest.mark.parametrize("byteorder", ["little", "big"])
@pytest.mark.parametrize("size", [1, 2, 4, 8, 16])
def test_extremes_of_integers(backend: Backend, size: int, byteorder: Any) -> None:
    bits = size * 8
    for signed, numbers in ((False, (0, (1 << bits) - 1, 1 << bits - 1)), (True, (-(1 << bits - 1), -1, (1 << bits - 1) - 1))):
        for number in (*numbers, 9, 10, 99, 100):
            sample = number.to_bytes(size, byteorder, signed=signed)
            op = Op("int", "", 0, bits, signed)
            assert cell(backend, op, sample, "json", byteorder) == str(number)
            assert cell(backend, op, sample, "text", byteorder, widths=(12,)) == f"{number:>12}"


@pytest.mark.parametrize("exponent", range(40))
def test_numbers_around_powers_of_ten(backend: Backend, exponent: int) -> None:
    for number in (10**exponent - 1, 10**exponent, 10**exponent + 1):
        if number < 1 << 128:
            assert cell(backend, Op("int", "", 0, 128), number.to_bytes(16, "little"), "json") == str(number)
        if number < 1 << 63:
            assert cell(backend, Op("int", "", 0, 64, signed=True), (-number).to_bytes(8, "little", signed=True)) == str(-number)


@pytest.mark.parametrize("byteorder", ["little", "big"])
def test_bitfields(backend: Backend, byteorder: Any) -> None:
    ops = (Op("int", "a", 0, 3), Op("int", "b", 3, 5, signed=True), Op("int", "c", 8, 20), Op("int", "d", 28, 4))
    values = (
        (5 | (-3 & 31) << 3 | 0xABCDE << 8 | 9 << 28) if byteorder == "little" else (5 << 29 | (-3 & 31) << 24 | 0xABCDE << 4 | 9)
    )
    plan = Plan("", 4, byteorder, ops)
    assert render(backend, plan, Style("json"), values.to_bytes(4, byteorder)) == b'{"a":5,"b":-3,"c":703710,"d":9}\n'


FLOATS = [
    *(0.0, -0.0, 1.0, -1.5, 0.1, 1 / 3, 1e15, 1e16, 123456789012345680.0, 1e22, 1e23, 5e-324, 2.2250738585072014e-308),
    *(1.7976931348623157e308, 0.0001, 0.00001, 9007199254740993.0, 4.35, 2**-1074 * 3, 9.5367431640625e-07, 1e100),
    *(float("nan"), float("inf"), float("-inf")),
]


@pytest.mark.parametrize("number", FLOATS)
def test_floats(backend: Backend, number: float) -> None:
    op = Op("float", "", 0, 64)
    assert cell(backend, op, struct.pack("<d", number)) == repr(number)
    assert cell(backend, op, struct.pack("<d", number), "csv") == repr(number)
    assert cell(backend, op, struct.pack(">d", number), "json", "big") == (repr(number) if number - number == 0 else "null")
    if number - number or abs(number) < 1e30:
        sample = struct.pack("<f", number)
        assert cell(backend, op.replace(bit_size=32), sample, widths=(24,)) == f"{struct.unpack('<f', sample)[0]!r:>24}"


def test_enums(backend: Backend) -> None:
    names = ((0, "NONE"), (-1, "MINUS"), (7, ""), (7, "SEVEN"), (3, "a,\n"))
    op = Op("enum", "", 0, 32, signed=True, names=names)
    for number, shown, json, csv in (
        *((0, "NONE", '"NONE"', "NONE"), (-1, "MINUS", '"MINUS"', "MINUS"), (7, "7", '""', "7")),
        *((3, r"a,\n", r'"a,\n"', '"a,\n"'), (5, "5", "5", "5"), (-5, "-5", "-5", "-5")),
    ):
        sample = struct.pack("<i", number)
        assert cell(backend, op, sample) == shown
        assert cell(backend, op, sample, "json") == json
        assert cell(backend, op, sample, "csv") == csv


def test_flags(backend: Backend) -> None:
    op = Op("enum", "", 0, 32, names=((1, "R"), (4, "W"), (8, "X"), (5, "RW")))
    for number, shown in ((1, "R"), (5, "RW"), (9, "R|X"), (13, "R|W|X")):
        assert cell(backend, op, struct.pack("<I", number)) == shown
        assert cell(backend, op, struct.pack("<I", number), "json") == f'"{shown}"'
    for number in (0, 2, 14, 0xFFFFFFFF):
        assert cell(backend, op, struct.pack("<I", number), "json") == str(number)


def test_arrays(backend: Backend) -> None:
    grid = (
        Op("array", "grid", 0, 48, count=2, stride_bits=24, body=2),
        Op("array", "", 0, 24, count=3, stride_bits=8, body=1),
        Op("int", "", 0, 8),
    )
    assert render(backend, Plan("", 6, "little", grid), Style("json"), bytes(range(6))) == b'{"grid":[[0,1,2],[3,4,5]]}\n'
    many = (Op("array", "many", 0, 800, count=100, stride_bits=8, body=1), Op("int", "", 0, 8))
    expected = f'{{"many":[{",".join(map(str, range(100)))}]}}\n'.encode()
    assert render(backend, Plan("", 100, "little", many), Style("json"), bytes(range(100))) == expected
    empty = (Op("struct", "none", 0, 0), Op("array", "nothing", 0, 0, count=2, stride_bits=0, body=1), Op("struct", "", 0, 0))
    assert render(backend, Plan("", 0, "little", empty), Style("json"), b"") == b'{"none":{},"nothing":[{},{}]}\n'


def test_flexible_arrays(backend: Backend) -> None:
    ops = (
        Op("int", "n", 0, 16),
        Op("array", "tail", 16, 0, count=None, stride_bits=16, body=2),
        Op("struct", "", 0, 16, body=1),
        Op("int", "x", 0, 16),
    )
    plan = Plan("", 2, "little", ops)
    assert render(backend, plan, Style("json"), b"\1\0") == b'{"n":1,"tail":[]}\n'
    assert render(backend, plan, Style("json"), b"\1\0\2") == b'{"n":1,"tail":[]}\n'
    assert render(backend, plan, Style("json"), b"\1\0\2\0\3\0\4") == b'{"n":1,"tail":[{"x":2},{"x":3}]}\n'
    text = Plan("", 2, "little", (ops[0], Op("string", "text", 16, 0, count=None)))
    assert render(backend, text, Style("json"), b"\1\0") == b'{"n":1,"text":""}\n'
    assert render(backend, text, Style("csv"), b"\1\0abc", b"\1\0a\0\0") == b"1,abc\n1,a\n"


def test_members_of_unions(backend: Backend) -> None:
    ops = (Op("int", "word", 0, 32), Op("int", "half", 0, 16), Op("int", "byte", 8, 8), Op("string", "text", 0, 32))
    expected = b'{"word":1684234849,"half":25185,"byte":98,"text":"abcd"}\n'
    assert render(backend, Plan("", 4, "little", ops), Style("json"), b"abcd") == expected


DURATIONS = [
    *((0, 1, "0"), (999, 1, "999ns"), (1000, 1, "1.00us"), (1239, 1, "1.23us"), (12399, 1, "12.3us"), (123999, 1, "123us")),
    *((999999, 1, "999us"), (1500000, 1, "1.50ms"), (59999999999, 1, "59.9s"), (60 * 10**9, 1, "1m00s"), (-1500, 1, "-1.50us")),
    *((5, 10**3, "5us"), (999, 10**3, "999us"), (1999, 10**3, "1.99ms"), (7, 10**6, "7ms"), (1001, 10**6, "1.00s")),
    *((59, 10**9, "59s"), (61, 10**9, "1m01s"), (3600, 10**9, "1h00m"), (86399, 10**9, "23h59m"), (90000, 10**9, "1d01h")),
    (2**63 - 1, 10**9, "106751991167300d15h"),
]


@pytest.mark.parametrize(("count", "unit_ns", "shown"), DURATIONS)
def test_durations(backend: Backend, count: int, unit_ns: int, shown: str) -> None:
    unit = {1: "ns", 10**3: "us", 10**6: "ms", 10**9: "s"}[unit_ns]
    op = Op("int", "", 0, 64, signed=True, meaning=f"duration_{unit}")
    sample = count.to_bytes(8, "little", signed=True)
    assert cell(backend, op, sample) == shown
    assert cell(backend, op, sample, widths=(25,)) == shown.rjust(25)
    assert cell(backend, op, sample, "json") == cell(backend, op, sample, "csv") == str(count)


def test_times(backend: Backend) -> None:
    op = Op("int", "", 0, 64, meaning="time_ns")
    day_ns = 86_400 * 10**9
    style = {"clock_offset_ns": 20_000 * day_ns + 3_723_000_004_567, "boot_offset_ns": 5 * 10**9, "utc_offset_s": 3600}
    assert cell(backend, op, bytes(8), **style) == "-"
    assert cell(backend, op, (1).to_bytes(8, "little"), **style) == "02:02:03.000004"
    assert cell(backend, op, (2**64 - 1).to_bytes(8, "little")) == "23:34:33.709551"
    assert cell(backend, op.replace(meaning="time_ms"), (86_400_001).to_bytes(8, "little")) == "00:00:00.001000"
    assert cell(backend, op.replace(meaning="boottime_ns"), (10**9).to_bytes(8, "little"), **style) == "01:00:06.000000"
    assert cell(backend, op, (10**9).to_bytes(8, "little"), "json", **style) == "1000000000"


ADDRESSES = [
    *((bytes(16), "::"), (bytes(15) + b"\1", "::1"), (b"\x20\1\r\xb8" + bytes(11) + b"\1", "2001:db8::1")),
    *((bytes(10) + b"\xff\xff\1\2\3\4", "::ffff:1.2.3.4"), (bytes([0, 1] * 8), "1:1:1:1:1:1:1:1")),
    *((bytes([0, 1, 0, 0, 0, 2, 0, 3, 0, 4, 0, 5, 0, 6, 0, 7]), "1:0:2:3:4:5:6:7"), (b"\xfe\x80" + bytes(14), "fe80::")),
    *(
        (bytes([0, 1] + [0] * 4 + [0, 1] + [0] * 4 + [0, 1, 0, 1]), "1::1:0:0:1:1"),
        (bytes([0, 1] * 6) + bytes(4), "1:1:1:1:1:1::"),
    ),
]


@pytest.mark.parametrize(("raw", "shown"), ADDRESSES)
def test_addresses(backend: Backend, raw: bytes, shown: str) -> None:
    op = Op("int", "", 0, 128, meaning="ipv6")
    for byteorder in ("little", "big"):
        assert cell(backend, op, raw, "text", byteorder) == shown
        assert cell(backend, op, raw, "json", byteorder) == f'"{shown}"'
        assert cell(backend, op, raw, "csv", byteorder) == shown


def test_other_meanings(backend: Backend) -> None:
    def shown(bits: int, meaning: str, sample: bytes, kind: str = "text", signed: bool = False) -> str:
        return cell(backend, Op("int", "", 0, bits, signed, meaning=meaning), sample, kind, arch="x86_64")

    assert shown(32, "ipv4", bytes([10, 0, 0, 1])) == "10.0.0.1"
    assert shown(32, "ipv4", bytes([255, 0, 99, 100]), "json") == '"255.0.99.100"'
    assert shown(16, "port_be", b"\x1f\x90") == shown(16, "port_be", b"\x1f\x90", "json") == "8080"
    mac = (Op("array", "x", 0, 48, count=6, stride_bits=8, body=1, meaning="mac"), Op("int", "", 0, 8))
    assert (
        render(backend, Plan("", 6, "little", mac), Style("json"), bytes([0, 1, 0xA, 0x1F, 0xFE, 255]))
        == b'{"x":"00:01:0a:1f:fe:ff"}\n'
    )
    assert shown(32, "dev", (8 << 20 | 1).to_bytes(4, "little")) == "8:1"
    assert shown(32, "dev", b"\xff" * 4, signed=True) == "4095:1048575"
    assert shown(32, "errno", (-2).to_bytes(4, "little", signed=True), signed=True) == "ENOENT"
    assert shown(32, "errno", (2).to_bytes(4, "little"), "json") == "2"
    assert shown(32, "errno", bytes(4)) == "0"
    assert shown(32, "signal", (9).to_bytes(4, "little")) == "SIGKILL"
    assert shown(32, "syscall", (1).to_bytes(4, "little")) == "write"
    sizes = (512, 1023, 1024, 1536, 10**6, 1023 * 1024, 1048051, 2**40, 2**60, 2**64 - 1, 2**53 + 1, 1126999418470)
    texts = (
        "512 B",
        "1023 B",
        "1 KiB",
        "1.5 KiB",
        "976.6 KiB",
        "1 MiB",
        "1 MiB",
        "1 TiB",
        "1024 PiB",
        "16384 PiB",
        "8 PiB",
        "1 TiB",
    )
    for number, text in zip(sizes, texts, strict=True):
        assert shown(64, "bytes", number.to_bytes(8, "little")) == text
    assert shown(64, "bytes", b"\xff" * 8, signed=True) == "-1 B"


def test_discards_limits_and_predicates(backend: Backend) -> None:
    plan = Plan("", 4, "little", (Op("int", "x", 0, 32),))
    run = Run.of([struct.pack("<I", number) for number in range(10)])
    data = bytearray(run.data)
    data[3] = 0x40  # of the little-endian header of record 0: discarded
    mixed = Run(bytes(data), run.count, run.stride, run.length, mixed=True)
    even = Predicate((("int", 0, 1, False), ("const", 0), ("cmp", "==")))
    program = make_program(plan, Style("csv"), even)
    everything = make_program(plan, Style("csv"))
    assert backend(program).render(run, b"", -1) == (b"0\n2\n4\n6\n8\n", 5, 10)
    assert backend(program).render(run, b"", 2) == (b"0\n2\n", 2, 3)
    assert backend(program).render(mixed, b"", 2) == (b"2\n4\n", 2, 4)
    assert backend(everything).render(mixed, b"> ", 2) == (b"> 1\n> 2\n", 2, 2)
    assert backend(everything).render(run, b"", 0) == (b"", 0, 0)
    assert backend(everything).render(mixed, b"", -1)[1:] == (9, 9)
    nothing = make_program(plan, Style("csv"), Predicate((("const", 0),)))
    assert backend(nothing).render(run, b"", 1) == (b"", 0, 10)


def test_long_runs_and_long_lines(backend: Backend) -> None:
    ops = (Op("int", "n", 0, 32), Op("string", "text", 32, 0, count=None))
    plan = Plan("", 4, "little", ops)
    for length, count in ((200, 4096), (300_000, 5), (3_000_000, 2)):
        samples = [struct.pack("<I", number) + b"\x01" * length for number in range(count)]
        expected = b"".join(b'{"n":%d,"text":"%b"}\n' % (number, b"\\u0001" * length) for number in range(count))
        assert backend(make_program(plan, Style("json"))).render(Run.of(samples), b"", -1) == (expected, count, count)
        assert backend(make_program(plan, Style("json"))).render(Run.of(samples), b"", count - 1)[1:] == (count - 1, count - 1)


def test_widths(backend: Backend) -> None:
    assert default_widths(EVENT) == (7, 4, 5, 0, 15)
    assert default_widths(EVENT, ("comm", "pid")) == (15, 7)
    assert fit(default_widths(EVENT), EVENT, 60) == (7, 4, 5, 0, 36)
    two = Plan("", 80, "little", (Op("string", "a", 0, 512), Op("string", "b", 0, 128), Op("int", "n", 0, 64)))
    assert default_widths(two) == (32, 15, 12)
    assert fit((32, 15, 12), two, 40) == (12, 12, 12)
    assert fit((32, 15, 12), two, 10) == (8, 8, 12)


def test_neighbours_part_when_they_do_not_repeat_together(backend: Backend) -> None:
    ops = (Op("int", "a", 0, 16), Op("string", "b", 16, 32, count=4), Op("int", "c", 48, 8), Op("bool", "d", 56, 8))
    plan = Plan("", 8, "little", ops)
    lines = backend(make_program(plan, Style("json")))
    for first in range(0, 24_000, 3000):
        rows = [(index % 61, index % 67, index % 3, index & 1) for index in range(first, first + 3000)]
        run = Run.of([struct.pack("<H4sB?", a, b"%03d" % b, c, d) for a, b, c, d in rows])
        expected = [b'{"a":%d,"b":"%03d","c":%d,"d":%b}\n' % (a, b, c, b"true" if d else b"false") for a, b, c, d in rows]
        assert lines.render(run, b"", -1)[0] == b"".join(expected)
    if isinstance(lines, PythonLines):
        assert lines.apart
        assert not lines.direct
