"""Readings of maps: sorted, cut, as differences and rates, of several CPUs, as tables, CSV and JSON."""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence

import pytest

from ecli_py.output import Clock, Format, Output
from ecli_py.view import View
from ecli_runtime.btf import Btf
from ecli_runtime.stream import Readings, Source, TypeRef, make_source
from ecli_schemas.errors import EcliError
from ecli_schemas.model import Sample
from tests.btf_builder import BtfBuilder

NAMES = [b"one", b"two", b"three", b"four"]


def make(kind: str = "default_kv", clear: bool = False, per_cpu: bool = False) -> Source:
    """Return a map from struct { u32 pid; char comm[16]; } to struct { u64 hits, total_ns; u32 max_us, slots[3]; }."""
    builder = BtfBuilder()
    u32, u64 = builder.integer("unsigned int", 4), builder.integer("unsigned long long", 8)
    char = builder.integer("char", 1, signed=True)
    key = builder.struct("key", 20, ("pid", u32, 0), ("comm", builder.array(char, 16), 32))
    slots = builder.array(u32, 3)
    value = builder.struct("value", 32, ("hits", u64, 0), ("total_ns", u64, 64), ("max_us", u32, 128), ("slots", slots, 160))
    sample = Sample(1000, kind, "usecs", clear)  # type: ignore[arg-type]
    return make_source(Btf(builder.section()), "map", (TypeRef(key), TypeRef(value)), sample, per_cpu, 32)


def entry(pid: int, *values: tuple[int, ...]) -> tuple[bytes, bytes]:
    """Return an entry; values are those of all CPUs: hits, total_ns, max_us, slots."""
    return (
        struct.pack("<I16s", pid, NAMES[pid % 4]),
        b"".join(struct.pack("<QQIIII", *value, *[0] * (6 - len(value))) for value in values),
    )


def shown(
    source: Source, *readings: Sequence[tuple[bytes, bytes]], form: Format, times: Sequence[float] = (1, 2, 4), limit: int = -1
) -> list[str]:
    clock = iter([time for time in times for _ in range(2)])
    times_now: list[float] = []

    def now() -> float:
        return times_now[-1]

    output = Output([source], form, Clock(0, 0, 0, ""), now)
    lines = b""
    for reading in readings:
        times_now.append(next(clock))
        next(clock)
        lines += output.render(Readings(source, reading), limit)[0]
    return lines.decode().splitlines()


def text(view: View, **more: object) -> Format:
    return Format("text", view=view, **more)  # type: ignore[arg-type]


READING = [entry(1, (5, 1500, 7)), entry(2, (50, 3)), entry(3, (7, 2_000_000))]


def pids(lines: list[str]) -> list[str]:
    return [line.split()[0] for line in lines[2:] if line and not line.startswith("...")]


def test_a_table_with_meanings_sorted_by_the_first_counter() -> None:
    title, heading, *lines = shown(make(), READING, form=Format("text"))
    assert title.split()[1] == "map"
    assert heading.split() == ["PID", "COMM", "HITS", "TOTAL_NS", "MAX_US", "SLOTS"]
    assert [line.split() for line in lines if line] == [
        ["2", "three", "50", "3ns", "0", "[0,0,0]"],
        ["3", "four", "7", "2.00ms", "0", "[0,0,0]"],
        ["1", "two", "5", "1.50us", "7us", "[0,0,0]"],
    ]
    assert lines[-1] == ""
    assert len({line.index("[") for line in lines[:-1]}) == 1


@pytest.mark.parametrize(
    ("sort", "order"),
    [("total_ns", "312"), ("-hits", "132"), ("value.max_us", "123"), ("comm", "321"), ("key.pid", "321"), ("slots", "123")],
)
def test_sorting(sort: str, order: str) -> None:
    assert pids(shown(make(), READING, form=text(View(sort=sort)))) == list(order)
    lines = shown(make(), READING, form=Format("json", view=View(sort=sort)))
    assert [str(json.loads(line)["key"]["pid"]) for line in lines] == list(order)


def test_a_member_to_sort_by_that_there_is_not() -> None:
    with pytest.raises(EcliError, match="--sort: there is no member 'hit'") as caught:
        shown(make(), form=text(View(sort="hit")))
    assert "hits" in caught.value.hint


def test_the_top_entries_and_how_many_more_there_are() -> None:
    lines = shown(make(), READING, form=text(View(top=2)))
    assert (pids(lines), lines[-2]) == (["2", "3"], "... 1 more")
    assert len(shown(make(), READING, form=Format("json", view=View(top=1)))) == 1
    many = [entry(pid, (pid,)) for pid in range(100)]
    assert len(pids(shown(make(), many, form=Format("text", columns=80)))) == 20  # a terminal
    assert len(pids(shown(make(), many, form=Format("text", columns=80, view=View(top=0))))) == 100
    assert len(pids(shown(make(), many, form=Format("text")))) == 100
    assert len(pids(shown(make(), many, form=Format("text"), limit=7))) == 7


def test_json_is_as_it_was_read_unless_the_user_wants_it_otherwise() -> None:
    lines = shown(make(), READING, form=Format("json"))
    assert json.loads(lines[0]) == {
        "key": {"pid": 1, "comm": "two"},
        "value": {"hits": 5, "total_ns": 1500, "max_us": 7, "slots": [0, 0, 0]},
    }
    assert [json.loads(line)["key"]["pid"] for line in lines] == [1, 2, 3]


def test_csv_has_a_column_for_each_member_and_one_heading() -> None:
    lines = shown(make(), READING[:1], READING[:1], form=Format("csv"))
    assert lines == ["key.pid,key.comm,value.hits,value.total_ns,value.max_us,value.slots", *['1,two,5,1500,7,"[0,0,0]"'] * 2]


LATER = [entry(1, (5, 1500, 9)), entry(2, (70, 13, 4, 1)), entry(3, (6, 6)), entry(4, (9, 1))]


def test_differences_to_the_reading_before() -> None:
    lines = shown(make(), READING, LATER, form=Format("json", view=View(change="delta")))
    values = [json.loads(line)["value"] for line in lines]
    assert values[0]["hits"] == 5  # before the first reading the map was empty
    assert [value["hits"] for value in values[3:]] == [0, 20, 6, 9]  # one that has become less was made anew
    assert [value["total_ns"] for value in values[3:]] == [0, 10, 6, 1]
    assert values[3]["max_us"] == 9  # no counter
    assert values[4]["slots"] == [1, 0, 0]
    table = shown(make(), READING, LATER, form=text(View(change="delta")))
    assert [line.split()[0] for line in table[table.index("") + 3 :] if line] == ["2", "4", "3"]  # idle ones are left out
    table = shown(make(), READING, LATER, form=text(View(change="delta", sort="-pid")))
    assert [line.split()[0] for line in table[table.index("") + 3 :] if line] == ["2", "3", "4"]


def test_rates_per_second() -> None:
    lines = shown(make(), READING, LATER, LATER, form=Format("json", view=View(change="rate")), times=(1, 5, 6))
    values = [json.loads(line)["value"] for line in lines]
    assert [value["hits"] for value in values[3:7]] == [0, 5, 1.5, 2.2]
    assert [value["total_ns"] for value in values[3:7]] == [0, 2, 2, 0]  # a time stays one
    assert all(value["hits"] == 0 for value in values[7:])
    heading = shown(make(), READING, form=text(View(change="rate")))[1]
    assert heading.split() == ["PID", "COMM", "HITS/S", "TOTAL_NS", "MAX_US", "SLOTS"]


def test_what_is_cleared_is_a_difference_already() -> None:
    lines = shown(make(clear=True), READING, READING, form=Format("json", view=View(change="delta")))
    assert [json.loads(line)["value"]["hits"] for line in lines] == [5, 50, 7] * 2


CPUS = [entry(1, (5, 10, 7, 1), (0,), (6, 20, 9, 2)), entry(2, (1,), (40,), (0,))]


def test_values_of_all_cpus() -> None:
    source = make(per_cpu=True)

    def values(how: str | None) -> list[object]:
        lines = shown(source, CPUS, form=Format("json", view=View(per_cpu=how)))  # type: ignore[arg-type]
        return [json.loads(line)["value"] for line in lines]

    assert values("sum") == [
        {"hits": 11, "total_ns": 30, "max_us": 9, "slots": [3, 0, 0]},
        {"hits": 41, "total_ns": 0, "max_us": 0, "slots": [0, 0, 0]},
    ]
    assert [value["hits"] for value in values("max") if isinstance(value, dict)] == [6, 40]
    assert [len(value) for value in values("list") if isinstance(value, list)] == [3, 3]
    assert values(None) == values("list")
    assert pids(shown(source, CPUS, form=Format("text"))) == ["2", "1"]
    _title, heading, *rows = shown(source, CPUS, form=text(View(per_cpu="list")))
    assert heading.split()[:4] == ["PID", "COMM", "CPU", "HITS"]
    assert [row.split()[:4] for row in rows if row] == [
        ["2", "three", "0", "1"],
        ["2", "three", "1", "40"],
        ["1", "two", "0", "5"],
        ["1", "two", "2", "6"],
    ]


@pytest.mark.parametrize("where", ["hits > 6", "value.hits > 6", "comm != 'two' and key.pid < 9"])
def test_filters(where: str) -> None:
    assert pids(shown(make(), READING, form=Format("text", where=where))) == ["2", "3"]
    with pytest.raises(EcliError, match="unknown member"):
        shown(make(), form=Format("text", where="nothing == 1"))


def test_fields_by_their_short_names_and_by_their_full_ones() -> None:
    for fields in ("hits,pid", "value.hits,key.pid"):
        _title, heading, first, *_ = shown(make(), READING, form=Format("text", fields))
        assert (heading.split(), first.split()) == (["HITS", "PID"], ["50", "2"])
    assert shown(make(), READING, form=Format("json", "hits"))[0] == '{"value.hits":5}'
    assert shown(make(), READING, form=Format("json", "-value"))[0] == '{"key":{"pid":1,"comm":"two"}}'


def test_histograms_with_their_keys() -> None:
    reading = [entry(1, (3, 1000, 0, 1, 2)), entry(2, (7,))]
    lines = shown(make("log2_hist"), reading, form=Format("text"))
    assert lines[0].split(maxsplit=1)[1] == "map[2, three]  hits = 7  total_ns = 0  max_us = 0"
    assert lines[1:4] == ["(no values)", "", "map[1, two]  hits = 3  total_ns = 1.00us  max_us = 0"]
    assert [line.split("|")[1].count("*") for line in lines[5:7]] == [20, 40]
    assert shown(make("log2_hist"), reading, form=text(View(top=1)))[-2] == "... 1 more"


def test_of_several_histograms_only_those_with_values() -> None:
    lines = shown(make("log2_hist"), [entry(0, (0,)), entry(1, (3, 0, 0, 1)), entry(2, (0,))], form=Format("text"))
    assert [line for line in lines if "map" in line or "(no values)" in line] == [lines[0]]
    assert (lines[0].split()[1:3], lines[-2]) == (["map[1,", "two]"], "... 2 without values")
    lines = shown(make("log2_hist"), [entry(0, (0,)), entry(2, (0,))], form=Format("text"))
    assert lines[0].endswith("  map")
    assert lines[1] == "(no values)"
    assert len(shown(make("log2_hist"), [entry(0, (0,)), entry(2, (0,))], form=Format("json"))) == 2


def test_a_name_that_a_terminal_would_obey() -> None:
    hostile = struct.pack("<I16s", 7, b"\x1b[2J\nx"), READING[0][1]
    for kind in ("default_kv", "log2_hist"):
        assert not any("\x1b" in line for line in shown(make(kind), [hostile], form=Format("text")))


def test_flexible_arrays_at_the_end_have_no_elements() -> None:
    builder = BtfBuilder()
    u32, char = builder.integer("unsigned int", 4), builder.integer("char", 1, signed=True)
    key = builder.struct("key", 4, ("n", u32, 0), ("rest", builder.array(u32, 0), 32))
    inner = builder.struct("inner", 4, ("m", u32, 0), ("name", builder.array(char, 0), 32))
    value = builder.struct("value", 8, ("hits", u32, 0), ("inner", inner, 32))
    of = make_source(Btf(builder.section()), "map", (TypeRef(key), TypeRef(value)), Sample(1000), True, 8)
    reading = [(struct.pack("<I", 7), struct.pack("<IIII", 1, 2, 3, 4))]
    (line,) = shown(of, reading, form=Format("json"))
    entry = {"hits": 1, "inner": {"m": 2, "name": []}}
    assert json.loads(line) == {
        "key": {"n": 7, "rest": []},
        "value": [entry, {**entry, "hits": 3, "inner": {"m": 4, "name": []}}],
    }
    assert len(shown(of, reading, form=text(View(sort="inner.name")))) == 4


class Terminal:
    """Standard output that claims to be a terminal."""

    encoding = "utf-8"

    @staticmethod
    def isatty() -> bool:
        return True


def test_on_a_terminal_readings_replace_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout", Terminal())
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr("ecli_py.render.live._height", lambda: 8)
    many = [entry(pid, (pid + 1,)) for pid in range(100)]
    lines = shown(make(), READING, many, form=Format("text", columns=100))
    assert lines[0].startswith("\x1b[2J\x1b[H")
    second = next(index for index, line in enumerate(lines) if "\x1b[H" in line and index)
    assert "\x1b[2J" not in lines[second]
    assert lines[-1] == "\x1b[?7h\x1b[J"
    assert len(lines[second:-1]) == 6
    assert all(line.endswith("\x1b[K") for line in lines[second:-1])
    monkeypatch.setenv("TERM", "dumb")
    assert not any("\x1b" in line for line in shown(make(), READING, form=Format("text", columns=100)))
