"""The samples still give what they are known to give; `make golden` writes it anew."""

from __future__ import annotations

import pytest

from tests.golden.golden import HERE, NAMES, build_sample, decode, describe

pytestmark = pytest.mark.compiler


@pytest.mark.parametrize("name", NAMES)
def test_sample(name: str) -> None:
    package = build_sample(name)
    assert describe(package) == (HERE / name / "package.json").read_text()
    samples = (HERE / name / "samples.txt").read_text()
    assert samples
    assert decode(package, samples) == (HERE / name / "events.jsonl").read_text()
