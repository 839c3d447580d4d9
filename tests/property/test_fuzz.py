"""Random samples of random and damaged types: ``python -m tests.fuzz`` does it at length."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz import fuzz


@given(st.integers(0, 1 << 32))
@settings(deadline=None, max_examples=20)
def test_any_sample_of_any_type_is_a_value_or_a_decode_error(seed: int) -> None:
    fuzz(500, 10, seed)
