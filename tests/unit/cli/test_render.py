from __future__ import annotations

import json
import re
from typing import Any

import pytest

from ecli_py.commands.run import closing_line, parse_duration, parse_latency_ms
from ecli_py.render.fields import Fields
from ecli_py.render.histogram import log2_histogram
from ecli_py.render.jsonlines import JsonLines
from ecli_py.render.text import Text
from ecli_runtime.btf import Btf
from ecli_runtime.decode.events import Event
from ecli_runtime.decode.plan import Plan, make_plan
from ecli_runtime.session import Stats
from ecli_runtime.stream import Source
from ecli_schemas.errors import EcliError
from ecli_schemas.model import Sample
from tests.btf_builder import BtfBuilder


def plan() -> Plan:
    builder = BtfBuilder()
    u32, char = builder.integer("unsigned int", 4), builder.integer("char", 1, signed=True)
    comm, kind = builder.array(char, 16), builder.enum("kind", 4, {"EXEC": 0, "EXIT": 1})
    pair = builder.struct("pair", 8, ("a", u32, 0), ("b", u32, 32))
    event = builder.struct("event", 36, ("pid", u32, 0), ("kind", kind, 32), ("comm", comm, 64), ("at", pair, 192))
    return make_plan(Btf(builder.section()), event)


def event(**values: Any) -> Event:
    source = Source("events", (plan(),))
    return Event({"pid": 7, "kind": "EXEC", "comm": "sh", "at": {"a": 1, "b": 2}, **values}, source, "event")


def test_columns_are_aligned_under_one_heading() -> None:
    text = Text()
    heading, first, second = (text.render(event()) + text.render(event(pid=4194304, comm="a longer name"))).splitlines()
    assert re.split(r"\s{2,}", heading) == ["TIME", "PID", "KIND", "COMM", "AT"]
    for line, pid, comm in ((first, "7", "sh"), (second, "4194304", "a longer name")):
        assert line[heading.index("PID") + 3 - len(pid) :].startswith(f"{pid}  EXEC  ")
        assert line[heading.index("COMM") :].startswith(comm + "  ")
        assert line[heading.index("AT") :] == '{"a":1,"b":2}'


def test_another_type_has_its_own_heading() -> None:
    text = Text()
    text.render(event())
    other = Event({"data": "ff"}, Source("raw", ()), "")
    assert text.render(other).splitlines()[1].split() == ["TIME", "DATA"]
    assert text.render(event()).splitlines()[1].startswith("TIME")


def test_control_characters_do_not_reach_the_terminal() -> None:
    line = Text().render(event(comm="a\x1b[31m\nb"))
    assert "\x1b" not in line
    assert "a\\x1b[31m\\nb" in line


def test_json_keeps_the_order_of_members_and_the_text_as_it_is() -> None:
    line = JsonLines().render(event(comm='é"\n'))
    assert line == '{"pid":7,"kind":"EXEC","comm":"é\\"\\n","at":{"a":1,"b":2}}\n'
    assert json.loads(line)["comm"] == 'é"\n'


def test_json_has_no_nan() -> None:
    line = JsonLines().render(event(at=[float("nan"), {"x": float("inf")}, 1.5]))
    assert json.loads(line)["at"] == [None, {"x": None}, 1.5]


def test_a_histogram() -> None:
    assert log2_histogram([1, 0, 4, 0, 0], "usecs") == [
        " usecs : count  distribution",
        "0 -> 1 : 1     |**********                              |",
        "2 -> 3 : 0     |                                        |",
        "4 -> 7 : 4     |****************************************|",
    ]
    assert log2_histogram([0, 0], "usecs") == ["(no values)"]


def test_counts_beyond_32_bits_are_drawn_in_proportion() -> None:
    lines = log2_histogram([1 << 40, 1 << 41], "x")
    assert [line.count("*") for line in lines[1:]] == [20, 40]


def test_readings_of_a_map() -> None:
    pairs = Source("counts", (), Sample(1000))
    line = Text().render(Event({"key": 3, "value": {"n": 1}}, pairs, ""))
    assert line.split(maxsplit=1)[1] == '3  {"n":1}\n'
    hists = Source("hists", (), Sample(1000, "log2_hist", "usecs"))
    lines = Text().render(Event({"key": 3, "value": {"total": 9, "slots": [1]}}, hists, "")).splitlines()
    assert lines[0].endswith("hists[3]  total = 9")
    assert lines[1].split()[0] == "usecs"


@pytest.mark.parametrize(
    ("text", "seconds"), [("5", 5), ("5s", 5), ("500ms", 0.5), ("2m", 120), ("1h", 3600), ("0.5", 0.5), ("1e1s", 10)]
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "s", "-1", "0", "soon", "5 days", "nan", "inf"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(EcliError, match="expected a time") as caught:
        parse_duration(text)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("text", "names"),
    [("comm,pid", ["comm", "pid"]), ("-at,-pid", ["kind", "comm"]), ("pid, comm,-pid", ["comm"]), ("at", ["at"])],
)
def test_fields_pick_and_order_members(text: str, names: list[str]) -> None:
    picked = Fields(text, [event().source]).pick(event())
    assert list(picked) == names
    assert re.split(r"\s{2,}", Text().render(picked).splitlines()[0]) == ["TIME", *(name.upper() for name in names)]


@pytest.mark.parametrize(("text", "hint"), [("com", "did you mean comm?"), ("-xyz", "members: pid, kind, comm, at")])
def test_fields_that_there_are_not(text: str, hint: str) -> None:
    with pytest.raises(EcliError, match="--fields: there is no member") as caught:
        Fields(text, [event().source])
    assert caught.value.hint == hint


@pytest.mark.parametrize(("text", "milliseconds"), [("0", 0), ("2ms", 2), ("1s", 1000), ("0.5ms", 0.5)])
def test_latencies(text: str, milliseconds: float) -> None:
    assert parse_latency_ms(text) == milliseconds


@pytest.mark.parametrize("text", ["", "-1ms", "soon", "2s"])
def test_what_is_no_latency(text: str) -> None:
    with pytest.raises(EcliError, match="--latency: expected") as caught:
        parse_latency_ms(text)
    assert caught.value.hint == "for example 2ms"


def test_the_closing_line_says_what_was_lost() -> None:
    assert closing_line(Stats(1, 1, 0, 0, 0.2, 1.25)) == "1 event, 0 lost, 1.2 s\n"
    assert closing_line(Stats(5, 5, 3, 1, 1.0, 2)) == "5 events, 3 lost, 1 not decoded, 2.0 s\n"
    assert "ring buffer was 95% full" in closing_line(Stats(5, 5, 0, 0, 0.95, 2))
