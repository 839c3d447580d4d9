"""Lines of any samples of any types: both backends write what the plainest code says."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecli_py.render.jsonlines import to_json
from ecli_runtime.decode.lines import Style, make_program
from ecli_runtime.decode.plan import Plan
from ecli_runtime.decode.python import make_decoder
from ecli_runtime.decode.rows import PythonLines
from ecli_runtime.read.run import Run
from tests.lines_backends import BACKENDS
from tests.lines_reference import line
from tests.types import payloads, plans, plans_with_meanings, styles


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
@given(case=cases(), prefix=st.sampled_from(["", "12:00:00  ", "100%d é  "]))
def test_lines_of_any_type(backend: type[PythonLines], case: tuple[Plan, Style, list[bytes]], prefix: str) -> None:
    plan, style, samples = case
    expected = b"".join(line(plan, style, sample, prefix) for sample in samples)
    lines = backend(make_program(plan, style))
    assert lines.render(Run.of(samples), prefix.encode(), -1) == (expected, len(samples), len(samples))


@pytest.mark.parametrize("backend", BACKENDS)
@given(data=st.data())
def test_json_is_that_of_the_reference_decoder(backend: type[PythonLines], data: st.DataObject) -> None:
    plan = data.draw(plans())
    samples = data.draw(payloads(plan))
    decode = make_decoder(plan)
    expected = "".join(to_json(decode(sample)) + "\n" for sample in samples)
    assert backend(make_program(plan, Style("json"))).render(Run.of(samples), b"", -1)[0] == expected.encode()


@pytest.mark.parametrize("backend", BACKENDS)
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
