from __future__ import annotations

import json
import struct

import pytest

from ecli_py.commands.run import parse_duration, parse_latency_ms
from ecli_py.output import Clock, Format, Output
from ecli_py.render.fields import Fields
from ecli_py.render.jsonlines import to_json
from ecli_py.render.plain import age_text
from ecli_py.showing import closing_lines
from ecli_runtime.btf import Btf
from ecli_runtime.decode.plan import Plan, make_plan
from ecli_runtime.read.run import Run
from ecli_runtime.stream import MapStats, Readings, Samples, Source, Stats
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


PAIR = struct.Struct("<II16sII4x")


def source() -> Source:
    return Source("events", (plan(),))


def samples(*rows: tuple[int, int, bytes, int, int], of: Source | None = None) -> Samples:
    its_source = of or source()
    return Samples(its_source, its_source.plans[0], Run.of([PAIR.pack(*row) for row in rows]))


def render(form: Format, *chunks: Samples | Readings, limit: int = -1) -> str:
    """Return what a run would write; all chunks are of one source."""
    output = Output([chunks[0].source], form, Clock(0, 0, 0, "x86_64"))
    return b"".join(output.render(chunk, limit)[0] for chunk in chunks).decode()


TEXT, JSON, CSV = Format("text"), Format("json"), Format("csv")
SHELL = (7, 0, b"sh", 1, 2)


def test_columns_are_aligned_under_one_heading() -> None:
    chunk = samples(SHELL, (4194304, 1, b"a longer name", 1, 2))
    heading, first, second = render(TEXT, chunk).splitlines()
    assert heading.split() == ["TIME", "PID", "KIND", "COMM", "AT.A", "AT.B"]
    for line, pid, kind, comm in ((first, "7", "EXEC", "sh"), (second, "4194304", "EXIT", "a longer name")):
        assert line[heading.index("PID") + 3 - len(pid) :].startswith(f"{pid}  {kind}  ")
        assert line[heading.index("COMM") :].startswith(comm + "  ")
        assert line[heading.index("COMM") :].split()[-2:] == ["1", "2"]


def test_types_that_come_mixed_have_one_heading_each_and_their_names() -> None:
    two = Source("events", (plan(), plan().replace(type_name="other")))
    output = Output([two], TEXT, Clock(0, 0, 0, ""))
    one, other = (Samples(two, each, Run.of([PAIR.pack(*SHELL)])) for each in two.plans)
    lines = b"".join(output.render(chunk, -1)[0] for chunk in (one, other, one, other)).decode().splitlines()
    assert [line.split()[:2] for line in lines if line.startswith("TIME")] == [["TIME", "EVENT"]] * 2
    assert [line.split()[1] for line in lines if line and not line.startswith("TIME")] == ["event", "other", "event", "other"]


def test_names_of_a_package_do_not_reach_the_terminal_as_they_are() -> None:
    hostile = plan().replace(type_name="a\x1b[2J", ops=(plan().ops[0].replace(name="p\x1b[31m"), *plan().ops[1:]))
    source = Source("events", (hostile, plan()))
    output = Output([source], TEXT, Clock(0, 0, 0, ""))
    assert b"\x1b" not in output.render(Samples(source, hostile, Run.of([PAIR.pack(*SHELL)])), -1)[0]


def test_a_terminal_gets_lines_that_fit_and_a_bold_heading() -> None:
    chunk = samples((7, 0, b"a-very-long-name", 1, 2))
    heading, line = render(Format("text", "pid,comm", columns=28, colour=True), chunk).splitlines()
    assert heading == "\x1b[1mTIME          PID  COMM\x1b[0m"
    assert line[10:] == "      7  a-ve…name"


def test_control_characters_do_not_reach_the_terminal() -> None:
    line = render(TEXT, samples((7, 0, b"a\x1b[31m\nb", 1, 2)))
    assert "\x1b" not in line
    assert "a\\x1b[31m\\nb" in line


def test_json_keeps_the_order_of_members_and_the_text_as_it_is() -> None:
    line = render(JSON, samples((7, 0, 'é"\n'.encode(), 1, 2)))
    assert line == '{"pid":7,"kind":"EXEC","comm":"é\\"\\n","at":{"a":1,"b":2}}\n'
    assert json.loads(line)["comm"] == 'é"\n'


def test_json_has_no_nan() -> None:
    line = to_json({"at": [float("nan"), {"x": float("inf")}, 1.5]})
    assert json.loads(line)["at"] == [None, {"x": None}, 1.5]


def test_json_tells_maps_and_types_apart_where_there_are_several() -> None:
    two = Source("events", (plan(), plan().replace(type_name="other")))
    output = Output([two, Source("more", ())], JSON, Clock(0, 0, 0, "x86_64"))
    known, unknown = samples(SHELL, of=two), Samples(Source("more", ()), None, Run.of([b"\xff"]))
    assert output.render(known, -1)[0].startswith(b'{"@map":"events","@type":"event","pid":7,')
    assert output.render(unknown, -1)[0] == b'{"@map":"more","data":"ff"}\n'


def test_csv_has_one_heading_and_quotes_where_they_are_needed() -> None:
    chunk = samples(SHELL, (8, 1, b'a,"b"', 1, 2))
    assert render(CSV, chunk, chunk).splitlines() == [
        "pid,kind,comm,at.a,at.b",
        *["7,EXEC,sh,1,2", '8,EXIT,"a,""b""",1,2'] * 2,
    ]
    with pytest.raises(EcliError, match="several types"):
        Output([chunk.source, Source("more", (plan(),))], CSV, Clock(0, 0, 0, ""))


def test_a_limit_ends_in_the_middle_of_a_run() -> None:
    chunk = samples(SHELL, SHELL, SHELL)
    output = Output([chunk.source], JSON, Clock(0, 0, 0, ""))
    lines, shown = output.render(chunk, 2)
    assert (lines.count(b"\n"), shown) == (2, 2)


def test_readings_of_a_map() -> None:
    pairs = Readings(Source("counts", (), Sample(1000)), [(b"\3", b"\1\2")])
    assert render(TEXT, pairs).split()[1:] == ["03", "0102"]
    assert render(JSON, pairs) == '{"key":"03","value":"0102"}\n'


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
    [("comm,pid", ["comm", "pid"]), ("-at,-pid", ["kind", "comm"]), ("pid, comm,-pid", ["comm"]), ("at.b", ["at.b"])],
)
def test_fields_pick_and_order_members(text: str, names: list[str]) -> None:
    assert list(json.loads(render(Format("json", text), samples(SHELL)))) == names
    heading = render(Format("text", text), samples(SHELL)).splitlines()[0]
    assert heading.split() == ["TIME", *(name.upper() for name in names)]


@pytest.mark.parametrize(("text", "hint"), [("com", "did you mean comm?"), ("-xyz", "members: pid, kind, comm, at.a, at.b")])
def test_fields_that_there_are_not(text: str, hint: str) -> None:
    with pytest.raises(EcliError, match="--fields: there is no member") as caught:
        Fields(text, [source()])
    assert caught.value.hint == hint


@pytest.mark.parametrize(("text", "milliseconds"), [("0", 0), ("2ms", 2), ("1s", 1000), ("0.5ms", 0.5)])
def test_latencies(text: str, milliseconds: float) -> None:
    assert parse_latency_ms(text) == milliseconds


@pytest.mark.parametrize("text", ["", "-1ms", "soon", "2s"])
def test_what_is_no_latency(text: str) -> None:
    with pytest.raises(EcliError, match="--latency: expected") as caught:
        parse_latency_ms(text)
    assert caught.value.hint == "for example 2ms"


def test_the_closing_lines_says_what_was_lost() -> None:
    assert closing_lines(Stats(1, 1, 0, 0, 0.2, 1.25)) == "1 event, 0 lost, 1.2 s\n"
    assert closing_lines(Stats(5, 5, 3, 1, 1.0, 2)) == "5 events, 3 lost, 1 not decoded, 2.0 s\n"
    assert closing_lines(Stats(1, 9, 0, 0, 0.0, 2, 8), filtered=True) == "1 of 9 events, 0 lost, 2.0 s\n"
    assert closing_lines(Stats(1, 1, 0, 0, 0.0, 2, 0), filtered=True) == "1 of 1 event, 0 lost, 2.0 s\n"


def test_each_of_several_maps_has_a_closing_line() -> None:
    one = MapStats("events", 9, 3, 1, 4, (), 0.5, 4096)
    assert closing_lines(Stats(9, 9, 3, 1, 0.5, 2, 0, (one,))).count("\n") == 1
    maps = (one, MapStats("a\x1bb", 1, 0, 0, 0, (), 0.0, 0))
    assert closing_lines(Stats(6, 10, 3, 1, 0.5, 2, 4, maps), filtered=True) == (
        "events: 5 of 9 events, 3 lost, 1 not decoded, at most 50% full\n"
        "a\\x1bb: 1 of 1 event, 0 lost\n"
        "6 of 10 events, 3 lost, 1 not decoded, 2.0 s\n"
    )


def test_what_a_filter_left_out_is_counted() -> None:
    chunk = samples(SHELL, (8, 0, b"sh", 1, 2), SHELL)
    output = Output([chunk.source], Format("json", where="pid == 7"), Clock(0, 0, 0, "x86_64"))
    assert (output.render(chunk, -1)[1], output.left_out) == (2, 1)
    assert (output.render(chunk, 1)[1], output.left_out) == (1, 0)  # what follows the last one was not looked at
    everything = Output([chunk.source], JSON, Clock(0, 0, 0, "x86_64"))
    assert (everything.render(chunk, -1)[1], everything.left_out) == (3, 0)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (59.9, "59s"), (60, "1m 0s"), (3599, "59m 59s"), (7500.3, "2h 5m"), (86400 * 400, "400d 0h")],
)
def test_ages(seconds: float, text: str) -> None:
    assert age_text(seconds) == text
