"""Profiles: lists of stacks, folded lines, flame graphs, whatever the names in them are."""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import pytest

from ecli_py.output import Clock, Format, Output
from ecli_py.profiles import folded_lines
from ecli_py.render.flamegraph import flamegraph
from ecli_py.view import View
from ecli_runtime.btf import Btf
from ecli_runtime.decode.events import EventDecoder
from ecli_runtime.stream import Readings, Source, TypeRef, make_source
from ecli_runtime.symbols.profile import ReadingStacks, StackNames
from ecli_runtime.symbols.resolver import Resolver
from ecli_schemas.errors import EcliError
from ecli_schemas.model import Sample, StackTrace
from tests.btf_builder import BtfBuilder

if TYPE_CHECKING:
    from ecli_runtime.symbols.profile import StackPair

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = "</title><script>alert(1)</script>&\"'\x00\x1b[2J;\n\u202e é"


def source(clear: bool = False) -> Source:
    """Return a map from struct { u32 pid; s32 kernel, user; char comm[16]; } to u64."""
    builder = BtfBuilder()
    s32, u64 = builder.integer("int", 4, signed=True), builder.integer("unsigned long long", 8)
    comm = builder.array(builder.integer("char", 1, signed=True), 16)
    members = (("pid", s32, 0), ("kernel", s32, 32), ("user", s32, 64), ("comm", comm, 96))
    key = builder.struct("key", 28, *members)
    stacks = StackTrace().replace(kstack="kernel", ustack="user")
    btf = Btf(builder.section())
    return make_source(btf, "busy", (TypeRef(key), TypeRef(u64)), Sample(1000, clear=clear), value_size_bytes=8, stacks=stacks)


def key(number: int, comm: bytes = b"loop") -> bytes:
    return struct.pack("<iii16s", os.getpid(), number, number, comm)


@pytest.fixture(autouse=True)
def _names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Resolver, "kernel", lambda self, addresses: [(f"k{address}", "kernel") for address in addresses])
    monkeypatch.setattr(Resolver, "user", lambda self, pid, addresses: [(f"u{address}", "prog") for address in addresses])


def readings(of: Source, *counts: int) -> Readings:
    pairs: list[StackPair] = [((1, 2), (3, 4)), ((), (4,)), (None, None)]
    entries = [(key(index), count.to_bytes(8, "little")) for index, count in enumerate(counts)]
    stacks = {key(index): pairs[index] for index in range(len(counts))}
    return Readings(of, entries, ReadingStacks(StackNames(of), stacks))


def run(of: Source, form: Format, *chunks: Readings) -> tuple[str, str]:
    """Return what is shown while it runs, and at the end."""
    output = Output([of], form, Clock(0, 0, 0, ""), lambda: 0)
    lines = b"".join(output.render(chunk, -1)[0] for chunk in chunks)
    return lines.decode(), output.finish().decode()


def test_stacks_by_count_without_the_ids() -> None:
    of = source()
    text, end = run(of, Format("text"), readings(of, 5, 7, 6))
    assert end == ""
    heading, *lines = text.splitlines()[1:-1]
    assert heading.split() == ["PID", "COMM", "VALUE"]
    assert [line.split()[-1] if line.split()[0].isdecimal() else line.strip() for line in lines] == [
        "7",
        *["u4 (prog)", "6", "[lost stack]", "[lost stack]", "5", "k1 (kernel)", "k2 (kernel)", "u3 (prog)", "u4 (prog)"],
    ]


def test_json_has_the_names_beside_key_and_value() -> None:
    of = source()
    lines = run(of, Format("json"), readings(of, 5, 7, 6))[0].splitlines()
    events = [json.loads(line) for line in lines]
    assert events == list(EventDecoder().events(readings(of, 5, 7, 6)))
    assert events[0]["kernel_stack"] == ["k1", "k2"]
    assert events[1]["user_stack"] == ["u4"]
    assert (events[2]["kernel_stack"], events[2]["user_stack"]) == (None, None)
    assert list(events[0]) == ["key", "value", "kernel_stack", "user_stack"]


FOLDED = ["loop;[lost stack];[lost stack]_[k] 1", "loop;u4 1", "loop;u4;u3;k2_[k];k1_[k] 9"]


@pytest.mark.parametrize(("clear", "counts"), [(False, [(5, 7), (9, 1, 1)]), (True, [(5,), (4, 1, 1)])])
def test_folded_lines_are_of_the_whole_run(clear: bool, counts: list[Any]) -> None:
    of = source(clear)
    text, end = run(of, Format("text", view=View(folded=True)), *(readings(of, *each) for each in counts))
    assert (text, end.splitlines()) == ("", FOLDED)


def test_names_with_what_means_something_in_folded_lines() -> None:
    (line,) = folded_lines({("a;b\nc 7", HOSTILE): 3}).decode().splitlines()
    assert line.startswith("a:b\\nc 7;")
    assert line.endswith(" 3")
    assert line.count(";") == 1
    assert line.isprintable()


def test_a_flame_graph_is_written_at_the_end(tmp_path: Path) -> None:
    of, path = source(), tmp_path / "out.svg"
    text, _end = run(of, Format("text", view=View(flamegraph=str(path))), readings(of, 9, 1))
    assert "k1 (kernel)" in text
    titles = [title.text for title in ET.parse(path).iter(f"{SVG}title")]
    assert sorted(filter(None, titles)) == [
        "all (10 samples, 100.00%)",
        "k1_[k] (9 samples, 90.00%)",
        "k2_[k] (9 samples, 90.00%)",
        "loop (10 samples, 100.00%)",
        "u3 (9 samples, 90.00%)",
        "u4 (10 samples, 100.00%)",
    ]
    with pytest.raises(EcliError, match="cannot write"):
        run(of, Format("text", view=View(flamegraph=str(tmp_path / "no" / "out.svg"))), readings(of, 9))


@pytest.mark.parametrize("view", [View(folded=True), View(flamegraph="x.svg")])
def test_a_package_that_counts_no_stacks(view: View) -> None:
    of = source().replace(stacks=None)
    with pytest.raises(EcliError, match="counts no stack traces"):
        run(of, Format("text", view=view))


def boxes(svg: str) -> list[tuple[float, float, float]]:
    rects = list(ET.fromstring(svg).iter(f"{SVG}rect"))[1:]
    return [(float(each.attrib["x"]), float(each.attrib["y"]), float(each.attrib["width"])) for each in rects]


def test_a_flame_graph_of_hostile_names() -> None:
    svg = flamegraph({(HOSTILE, HOSTILE * 50): 3, ("x", "\ud800"): 1}, HOSTILE)
    tree = ET.fromstring(svg.encode("utf-8"))
    assert {element.tag.removeprefix(SVG) for element in tree.iter()} == {"svg", "style", "rect", "text", "g", "title"}
    assert "\x1b" not in svg


def test_boxes_lie_on_each_other_and_texts_fit() -> None:
    svg = flamegraph({("main", "a" * 200, "leaf"): 60, ("main", "b"): 39, ("main", "c"): 1}, "title")
    found = boxes(svg)
    assert max(width for _x, _y, width in found) == 1180
    assert all(x >= 10 and x + width <= 1190.1 for x, _y, width in found)
    for group in ET.fromstring(svg).iter(f"{SVG}g"):
        rect, text = group.find(f"{SVG}rect"), group.find(f"{SVG}text")
        assert rect is not None
        if text is not None:
            assert len(text.text or "") * 7.2 <= float(rect.attrib["width"])


def test_deep_and_broad_profiles_make_small_files() -> None:
    deep = {tuple(f"f{index}" for index in range(3000)): 1}
    assert flamegraph(deep, "deep").count("<rect") == 3002
    broad: dict[tuple[str, ...], int] = {(f"f{index}",): 1 for index in range(50_000)}
    assert len(flamegraph(broad, "broad")) < 1_000_000
    assert boxes(flamegraph({}, "nothing"))
