"""Reader, writer and schemas agree: parse∘emit is identity, any bytes give a package or a PackageError."""

from __future__ import annotations

import copy
import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ecli_schemas.checks import Mismatch
from ecli_schemas.dialects import METADATA, OURS, UPSTREAM
from ecli_schemas.errors import PackageError
from ecli_schemas.explain import explain
from ecli_schemas.read import read_package
from ecli_schemas.write import write_package
from tests.strategies import json_values, packages

if TYPE_CHECKING:
    from ecli_schemas.checks import Check
    from ecli_schemas.model import Json, Package

# What no schema can say: uniqueness across parts, and what is inside values that are kept as they are.
BEYOND_A_SCHEMA = (
    "the option ",
    "the map has ",
    "the hook ",
    "the program ",
    "nested deeper ",
    "expected text without lone surrogates",
)

ODD_VALUES: list[Any] = [
    *(None, True, False, 0, 1, -1, 2, 2**31, 2**32, 2**53, 0.5, 1e300),
    *("", "x", "no_export", "default", "default_struct", "log2_hist", "a\0b", "a\nb", "a\n", "-a", "é", "\ud800"),
    *("n" * 511, "n" * 512, "n" * 4608, "9" * 39, "9" * 41),
    *([], [None], ["x"], {}, {"a\0b": "x"}, {"stack_trace": {}}, {"stack_trace": None}, {"name": "x"}),
    *({"btf_type_id": 1}, {"btf_type_id": 0}, {"custom_members": []}, {"btf_type_id": 1, "custom_members": []}),
    {"custom_members": [{"name": "m", "offset": 0, "btf_type_id": 1}]},
]


@given(packages())
@settings(deadline=None)  # the first one imports jsonschema
def test_what_is_written_is_read_back(package: Package) -> None:
    data = write_package(package)
    assert read_package(data) == package
    assert read_package(data.decode()) == package
    assert explain(json.loads(data)) == []


@given(packages())
@settings(deadline=None)  # the first one imports rfc8785
def test_writing_is_canonical(package: Package) -> None:
    data = write_package(package)
    assert write_package(read_package(data)) == data


@given(packages())
@settings(deadline=None)  # the first one imports jsonschema
def test_upstreams_part_is_a_package_of_its_own(package: Package) -> None:
    document = json.loads(write_package(package))
    ours = document.pop("ecli")
    upstream = read_package(json.dumps(document))
    assert upstream.format is None
    assert upstream.object == package.object
    assert upstream.maps == package.maps
    assert upstream.programs == package.programs
    assert {option.name for option in upstream.options} <= {option["name"] for option in ours.get("options", [])}
    assert explain(document) == []


@given(st.binary() | st.text() | json_values.map(json.dumps))
@settings(deadline=None)  # two of them are large
@example(b"\xef\xbb\xbf{}")
@example("[" * 100_000)
@example('{"ecli":' * 100_000)
def test_any_document_is_read_or_refused(data: bytes | str) -> None:
    with pytest.raises(PackageError) as caught:
        read_package(data)
    assert caught.value.hint


def places(document: Json, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """Return the paths of all values in ``document``."""
    found = [path]
    if isinstance(document, (list, dict)):
        for key, item in document.items() if isinstance(document, dict) else enumerate(document):
            found += places(item, (*path, key))
    return found


def mutate(draw: st.DrawFn, document: dict[str, Any]) -> None:
    """Replace, delete, add or repeat one value somewhere in ``document``."""
    *path, last = draw(st.sampled_from(places(document)[1:]))
    target: Any = document
    for key in path:
        target = target[key]
    match draw(st.sampled_from(["replace", "replace", "delete", "add"])):
        case "replace":
            target[last] = copy.deepcopy(draw(st.sampled_from(ODD_VALUES)))
        case "delete":
            del target[last]
        case "add" if isinstance(target[last], dict):
            key = draw(st.sampled_from(["unknown", "name", "value", "export_config", "intepreter", "sample", "cmdarg"]))
            target[last][key] = copy.deepcopy(draw(st.sampled_from(ODD_VALUES)))
        case "add" if isinstance(target[last], list):
            target[last].append(copy.deepcopy(draw(st.sampled_from(ODD_VALUES))))


@st.composite
def mutants(draw: st.DrawFn) -> tuple[Check[Any], dict[str, Any]]:
    """Draw a document of one of the three kinds that had up to three changes, and the table to check it with."""
    document = json.loads(write_package(draw(packages())))
    kind = draw(st.sampled_from([OURS, UPSTREAM, METADATA]))
    if kind is UPSTREAM:
        del document["ecli"]
    if kind is METADATA:
        document = document["meta"]
    for _ in range(draw(st.integers(1, 3))):
        mutate(draw, document)
        if not document:
            break
    return kind, document


@given(mutants())
@settings(deadline=None)  # the first one imports jsonschema
def test_reader_and_schema_refuse_the_same(mutant: tuple[Check[Any], dict[str, Any]]) -> None:
    check, document = mutant
    kind = OURS if "ecli" in document else METADATA if "bpf_skel" in document else UPSTREAM
    if kind is not check:
        return  # a change of its top level made it a document of another kind
    problems = explain(document)
    refusal = refusal_by(check, document)
    if refusal is None:
        assert problems == []
    elif not refusal.message.startswith(BEYOND_A_SCHEMA):
        assert f"${refusal.path}: {refusal.message}" in problems


def refusal_by(check: Check[Any], document: Json) -> Mismatch | None:
    """Return what the reader has against ``document``."""
    try:
        check(document)
    except Mismatch as mismatch:
        return mismatch
    return None
