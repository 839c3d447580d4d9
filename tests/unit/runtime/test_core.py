"""CO-RE rules that hardly any program shows: flavours, damaged relocations."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecli_runtime.btf import Btf
from ecli_runtime.code import section_bytes
from ecli_runtime.core.compat import essential
from ecli_runtime.core.records import relocations
from ecli_runtime.errors import BtfError, ObjectError
from ecli_schemas.read import read_package
from tests.conftest import DATA


@pytest.mark.parametrize(
    ("name", "bare"),
    [
        ("task_struct", "task_struct"),
        ("task_struct___old", "task_struct"),
        ("a___b___c", "a___b"),
        ("___x", "___x"),
        ("x___", "x___"),
        ("x____y", "x____y"),
        ("", ""),
    ],
)
def test_a_flavour_is_what_stands_behind_the_last_three_underscores(name: str, bare: str) -> None:
    assert essential(name) == bare


def _object() -> bytes:
    return read_package((DATA / "upstream-minimal.json").read_bytes()).object


@given(st.integers(0, 1 << 16), st.binary(min_size=1, max_size=64))
def test_damaged_objects_give_an_error(at: int, junk: bytes) -> None:
    data = bytearray(_object())
    at %= len(data) - len(junk)
    data[64 + at : 64 + at + len(junk)] = junk
    try:
        found = relocations(bytes(data), Btf(section_bytes(_object(), ".BTF") or b""))
    except (BtfError, ObjectError):
        return
    assert isinstance(found, list)
