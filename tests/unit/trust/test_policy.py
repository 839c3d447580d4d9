"""Policies: what they say, and where they are wrong."""

from __future__ import annotations

import json
from importlib.resources import files

import pytest
from jsonschema import Draft202012Validator

from ecli_py.trust.allowances import FACTS_OF, allowed_facts, parse_allowance, word_for
from ecli_py.trust.places import TrustError
from ecli_py.trust.policy import Limits, Policy
from ecli_schemas.model import FACTS, READING_FACTS

TEXT = """\
catalogues = ["https://tools.example.org/catalogue.json"]

[[source]]
host = "tools.example.org"
keys = ["acme", "ops"]
allow = ["observe", "network"]

[[source]]
repository = "registry.example.org:5000/acme/*"
unsigned = "run"

[[source]]
directory = "/opt/tools/"
unsigned = "refuse"

[[source]]
host = "*"
unsigned = "refuse"

[limits]
allow = ["network"]
program_types = ["xdp", "kprobe"]
deny_helpers = ["bpf_probe_write_*"]
map_memory = "64 MiB"
"""


def policy(text: str) -> Policy:
    return Policy("policy.toml", text)


@pytest.mark.parametrize(
    ("source", "remote", "line"),
    [
        ("tools.example.org/x", True, 3),
        ("tools.example.org", True, 3),
        ("registry.example.org:5000/acme/snoop", True, 8),
        ("registry.example.org:5000/other/snoop", True, 16),
        ("/opt/tools", False, 12),
        ("/opt/tools/below", False, 12),
        ("/opt/toolsmith", False, 0),
        ("/home", False, 0),
        ("-", False, 0),
    ],
)
def test_the_first_source_that_matches_holds(source: str, remote: bool, line: int) -> None:
    rule = policy(TEXT).rule_for(source, remote=remote)
    assert (rule.line if rule else "policy.toml:0") == f"policy.toml:{line}"


def test_standard_input_is_nowhere_but_in_the_root() -> None:
    rule = policy('[[source]]\ndirectory = "/"\nkeys = ["acme"]').rule_for("-", remote=False)
    assert rule is not None
    assert rule.keys == ("acme",)


def test_all_that_is_said() -> None:
    found = policy(TEXT)
    rule = found.rule_for("tools.example.org/x", remote=True)
    assert rule is not None
    assert (rule.keys, rule.allow, rule.unsigned) == (("acme", "ops"), ("observe", "network"), None)
    assert found.catalogues == ("https://tools.example.org/catalogue.json",)
    assert found.limits == Limits(
        "policy.toml",
        allow=("network",),
        program_types=("xdp", "kprobe"),
        deny_helpers=("bpf_probe_write_*",),
        map_memory_bytes=64 << 20,
    )
    assert policy("").limits == Limits("policy.toml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[limits]\n\nmap_memory = 64\n", 'policy.toml:3: limits.map_memory: expected a size in bytes, such as "64M", got 64'),
        ("[limits]\nhelper = []\n", "policy.toml:2: limits.helper: there is no such key; there are allow, program_types"),
        (
            '# x\n[[source]]\nhost = "a"\n[[source]]\nhost = "b"\nallow = ["sing"]\n',
            "policy.toml:6: source[1].allow[0]: expected",
        ),
        (
            '[[source]]\nkeys = ["a"]\n',
            "policy.toml:1: source[0]: expected one of host, repository and directory, got none of them",
        ),
        ('[[source]]\nhost = "a"\ndirectory = "/b"\n', "policy.toml:1: source[0]: expected one of host"),
        ('[[source]]\n\ndirectory = "b"\n', "policy.toml:3: source[0].directory: expected an absolute path"),
        ('[[source]]\nhost = "a"\nkeys = []\n', "policy.toml:3: source[0].keys: expected a list of names"),
        ("catalogues = 3\n", "policy.toml:1: catalogues: expected a list of URLs and files, got 3"),
        ("\nlimit = 1\n", "policy.toml:2: limit: there is no such key"),
        ("\n\n[limits\n", "policy.toml:3: this is no TOML"),
        ('a = "', "policy.toml:1: this is no TOML"),
        ("[source]\n", "policy.toml:1: source: expected tables [[source]]"),
        ("a = " + "[" * 5000, "policy.toml"),
    ],
)
def test_an_error_has_its_line(text: str, message: str) -> None:
    with pytest.raises(TrustError) as caught:
        policy(text)
    assert str(caught.value).startswith(message)
    assert caught.value.hint


def test_the_schema_is_one_and_knows_all_words() -> None:
    schema = json.loads((files("ecli_schemas") / "policy.schema.json").read_text("utf-8"))
    Draft202012Validator.check_schema(schema)
    assert schema["$defs"]["allow"]["items"]["enum"] == list(FACTS_OF)


def test_each_fact_that_acts_has_one_word() -> None:
    for fact in FACTS:
        if fact not in READING_FACTS:
            assert fact in allowed_facts([word_for(fact)])
            assert fact not in allowed_facts([word for word in FACTS_OF if word not in (word_for(fact), "all")])
    assert allowed_facts(["observe"]) == READING_FACTS
    assert allowed_facts(parse_allowance("all")) == set(FACTS)


def test_a_word_that_there_is_not() -> None:
    with pytest.raises(TrustError, match="there is no 'net'") as caught:
        parse_allowance("observe,net")
    assert "network" in caught.value.hint
