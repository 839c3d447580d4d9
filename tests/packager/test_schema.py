"""`ecli-py schema` describes what `run --json` writes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

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
    assert schema["title"] == "tiny"
    assert schema["properties"]["comm"] == {"type": "string", "maxLength": 16}
    assert schema["properties"]["big"] == {"type": "boolean"}
