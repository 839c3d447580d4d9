"""Lines of any samples of any types: both backends write what the plainest code says."""

from __future__ import annotations

import struct
import sys
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecli_py.render.jsonlines import to_json
from ecli_runtime.decode.lines import Style, make_program
from ecli_runtime.decode.plan import Op, Plan
from ecli_runtime.decode.python import make_decoder
from ecli_runtime.decode.rows import PythonLines
from ecli_runtime.decode.where import Predicate, compile_predicate
from ecli_runtime.read.run import Run
from tests.lines_backends import BACKENDS
from tests.lines_reference import line
from tests.types import payloads, plans, plans_with_meanings, styles

# The first example compiles the module.
without_deadline = settings(deadline=None)


def as_double(bits: int) -> float:
    number: float = struct.unpack("<d", bits.to_bytes(8, "little"))[0]
    return number


@st.composite
def cases(draw: st.DrawFn) -> tuple[Plan, Style, list[bytes]]:
    plan = draw(plans_with_meanings())
    return plan, draw(styles(plan)), draw(payloads(plan))


def discarding(run: Run, live: list[bool]) -> Run:
    """Return a run in which some records are discarded."""
    data = bytearray(run.data)
    for index, is_live in enumerate(live):
        if not is_live:
            at = index * run.stride
            data[at : at + 4] = (run.length | 0x4000_0000).to_bytes(4, sys.byteorder)
    return Run(bytes(data), run.count, run.stride, run.length, mixed=True)


@pytest.mark.parametrize("backend", BACKENDS)
@without_deadline
@given(case=cases(), prefix=st.sampled_from(["", "12:00:00  ", "100%d é  "]))
def test_lines_of_any_type(backend: type[PythonLines], case: tuple[Plan, Style, list[bytes]], prefix: str) -> None:
    plan, style, samples = case
    expected = b"".join(line(plan, style, sample, prefix) for sample in samples)
    lines = backend(make_program(plan, style))
    assert lines.render(Run.of(samples), prefix.encode(), -1) == (expected, len(samples), len(samples))


@without_deadline
@given(case=cases(), data=st.data())
def test_lines_whose_values_never_repeat(case: tuple[Plan, Style, list[bytes]], data: st.DataObject) -> None:
    plan, style, samples = case
    lines = PythonLines(make_program(plan, style))
    code = range(len(lines.program.code))
    lines.direct = data.draw(st.just(set(code)) | st.sets(st.integers(0, len(code))))
    lines.apart = data.draw(st.just(set(code)) | st.sets(st.integers(0, len(code))))
    lines.compile()
    assert lines.render(Run.of(samples), b"", -1)[0] == b"".join(line(plan, style, sample) for sample in samples)


@pytest.mark.parametrize("backend", BACKENDS)
@without_deadline
@given(data=st.data())
def test_json_is_that_of_the_reference_decoder(backend: type[PythonLines], data: st.DataObject) -> None:
    plan = data.draw(plans())
    samples = data.draw(payloads(plan))
    decode = make_decoder(plan)
    expected = "".join(to_json(decode(sample)) + "\n" for sample in samples)
    assert backend(make_program(plan, Style("json"))).render(Run.of(samples), b"", -1)[0] == expected.encode()


@pytest.mark.parametrize("backend", BACKENDS)
@without_deadline
@given(case=cases(), live=st.lists(st.booleans(), min_size=4, max_size=4), limit=st.integers(-1, 5))
def test_discarded_records_and_limits(
    backend: type[PythonLines], case: tuple[Plan, Style, list[bytes]], live: list[bool], limit: int
) -> None:
    plan, style, samples = case
    kept = [sample for sample, is_live in zip(samples, live, strict=False) if is_live]
    kept = kept[: len(kept) if limit < 0 else limit]
    expected = b"".join(line(plan, style, sample) for sample in kept)
    run = discarding(Run.of(samples), live)
    assert backend(make_program(plan, style)).render(run, b"", limit) == (expected, len(kept), len(kept))


NUMBERS = st.sampled_from([0, 1, -1, 2**31, 2**32, 2**53 + 1, 2**63, 2**64 - 1, 2**64, -(2**63), -(2**64)]) | st.integers(
    -300, 300
)
REALS = st.sampled_from([0.0, -0.0, 0.5, -0.5, 1e-320, 2.0**53, 2.0**63, 2.0**64, -(2.0**63), 1e30, -1e30]) | st.floats()
TEXTS = st.lists(st.sampled_from([b"a", b"b", b"\xc3\xa9", b"\xe2\x82\xac", b"\xff", b"ab", b"\\"]), max_size=4).map(b"".join)
# A backslash always has something behind it: the parser sees to that.
PATTERNS = st.lists(
    st.sampled_from([b"a", b"b", b"*", b"?", b"\xc3\xa9", b"\xc3", b"\\*", b"\\?", b"\\\\", b"\\\xc3\xa9"]), max_size=5
).map(b"".join)
COMPARISONS = st.sampled_from(["==", "!=", "<", "<=", ">", ">="])


@st.composite
def comparisons(draw: st.DrawFn) -> tuple[tuple[Any, ...], ...]:
    """Draw a predicate that compares two values of samples of 24 bytes, or one with a constant."""
    bits = draw(st.integers(1, 64))
    integer = ("int", draw(st.integers(0, 192 - bits)), bits, draw(st.booleans()))
    size = draw(st.sampled_from([32, 64]))
    real = ("float", draw(st.integers(0, 192 - size)) & ~7, size)
    text = ("string", *draw(st.sampled_from([(0, 0), (8, 0), (24, 0), (0, 8), (4, 20)])))
    number = st.sampled_from([integer, real]) | (NUMBERS | REALS).map(lambda constant: ("const", constant))
    words = TEXTS.map(lambda constant: ("const", constant))
    kind = draw(st.sampled_from(["number", "bits", "text", "glob", "contains"]))
    if kind == "number":
        return draw(number), draw(number), ("cmp", draw(COMPARISONS))
    if kind == "bits":
        mask = ("const", draw(NUMBERS))
        return integer, mask, ("bit_and",), ("const", draw(NUMBERS)), ("cmp", draw(COMPARISONS))
    if kind == "text":
        return text, draw(words), ("cmp", draw(COMPARISONS))
    if kind == "glob":
        return draw(words | st.just(text)), ("const", draw(PATTERNS)), ("glob",)
    return draw(words | st.just(text)), draw(words), ("contains",)


conditions = st.recursive(
    comparisons(),
    lambda inner: (
        inner.map(lambda code: (*code, ("not",)))
        | st.builds(lambda one, other, verb: (*one, *other, (verb,)), inner, inner, st.sampled_from(["and", "or"]))
    ),
    max_leaves=4,
)


@pytest.mark.parametrize("backend", BACKENDS)
@without_deadline
@given(
    code=conditions,
    byteorder=st.sampled_from(["little", "big"]),
    samples=st.lists(st.binary(min_size=24, max_size=24) | TEXTS.map(lambda text: text.ljust(24, b"\0")), min_size=1, max_size=4),
)
def test_predicates(
    backend: type[PythonLines], code: tuple[tuple[Any, ...], ...], byteorder: Literal["little", "big"], samples: list[bytes]
) -> None:
    plan = Plan("", 24, byteorder, (Op("array", "raw", 0, 192, count=24, stride_bits=8, body=1), Op("int", "", 0, 8)))
    predicate = Predicate(code)
    is_shown = compile_predicate(predicate, byteorder)
    shown = [sample for sample in samples if is_shown(sample, 0, 24)]
    expected = b"".join(line(plan, Style("json"), sample) for sample in shown)
    lines = backend(make_program(plan, Style("json"), predicate))
    assert lines.render(Run.of(samples), b"", -1) == (expected, len(shown), len(samples))


@pytest.mark.parametrize("backend", BACKENDS)
@without_deadline
@given(numbers=st.lists(st.floats() | st.integers(0, 2**64 - 1).map(as_double), min_size=1, max_size=200))
def test_floats(backend: type[PythonLines], numbers: list[float]) -> None:
    plan = Plan("", 8, "little", (Op("float", "", 0, 64),))
    expected = "".join(f"{number!r}\n" for number in numbers).encode()
    run = Run.of([struct.pack("<d", number) for number in numbers])
    assert backend(make_program(plan, Style("csv"))).render(run, b"", -1)[0] == expected
