"""`ecli-py schema` describes what `run --json` writes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from ecli_py.overhead import usage_mark
from ecli_py.showing import loss_mark
from ecli_runtime.stream import RING_BUFFER_FULL, MapStats
from ecli_runtime.usage import ProgramUsage, Usage
from tests.cli import Ecli
from tests.golden.golden import HERE, NAMES

pytestmark = pytest.mark.compiler


@pytest.mark.parametrize("name", NAMES)
def test_recorded_events_are_valid_and_others_are_not(ecli: Ecli, packages: Path, name: str) -> None:
    outcome = ecli("schema", packages / f"{name}.json")
    assert (outcome.stderr, outcome.status) == ("", 0)
    schema = json.loads(outcome.stdout)
    Draft202012Validator.check_schema(schema)
    validator = Draft202012Validator(schema)
    lines = (HERE / name / "events.jsonl").read_text().splitlines()
    assert lines
    for line in lines:
        event = json.loads(line)
        validator.validate(event)
        assert not validator.is_valid({**event, "more": 1})
        member = next(iter(event))
        assert not validator.is_valid({**event, member: "text"})


def test_a_package_of_upstream(ecli: Ecli, small_package: Path) -> None:
    schema = json.loads(ecli("schema", small_package).stdout)
    event = schema["anyOf"][0]
    assert schema["title"] == "tiny"
    assert event["properties"]["comm"] == {"type": "string", "maxLength": 16}
    assert event["properties"]["big"] == {"type": "boolean"}


def test_marks_are_described(ecli: Ecli, small_package: Path) -> None:
    validator = Draft202012Validator(json.loads(ecli("schema", small_package).stdout))
    buffer = MapStats("out", 3, 0, 0, 0, (), 0.25, 4096)
    usage = Usage(1.5, (ProgramUsage("on_exec", 3, 4000, 0),), 0.25, 1 << 24)
    for mark in (json.loads(loss_mark("out", 3, RING_BUFFER_FULL)), usage_mark(usage, 0.5, (buffer,), whole=True)):
        validator.validate(mark)
    assert not validator.is_valid(json.loads(loss_mark("other", 3, RING_BUFFER_FULL)))
    assert not validator.is_valid(json.loads(loss_mark("out", 3, "no reason")))
