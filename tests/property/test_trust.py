"""Keys, signatures, policies, locks and catalogues are hostile: a value or an error of ours, never another exception."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from ecli_py.catalogue import find_package, parse_catalogue, search, version_key
from ecli_py.differences import compare_events
from ecli_py.trust.lock import Pin, parse_lock
from ecli_py.trust.minisign import (
    SecretKey,
    generate,
    parse_public_key,
    parse_secret_key,
    parse_signature,
)
from ecli_py.trust.policy import Policy
from ecli_schemas.errors import EcliError

KEY = SecretKey(b"\x01" * 8, b"\x02" * 32)
DATA = b"content"
DIGEST = "sha256:" + "0" * 64

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@st.composite
def damaged(draw: st.DrawFn, whole: bytes) -> bytes:
    """Return bytes with some changed, cut out, or put in."""
    data = bytearray(whole)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(data)))
        data[at : at + draw(st.integers(0, 8))] = draw(st.binary(max_size=8) | st.sampled_from([b"\n", b"=", b"[", b'"', b"\0"]))
    return bytes(data)


@given(st.binary(max_size=400) | damaged(KEY.sign(DATA, "comment")))
def test_signatures(data: bytes) -> None:
    with suppress(EcliError):
        signature = parse_signature(data)
        signature.verify(DATA, KEY.public())
        assert signature.trusted_comment == "comment"  # whatever else was changed, nothing that counts was


@given(st.binary(max_size=400) | damaged(KEY.public().file()) | damaged(KEY.file(None)))
def test_keys(data: bytes) -> None:
    with suppress(EcliError):
        parse_public_key(data)
    with suppress(EcliError):
        # Without a password: deriving a key takes long, whatever its parameters are.
        assert parse_secret_key(data, _no_password).public().id


def _no_password() -> bytes:
    raise EcliError("no password")


@given(st.binary(max_size=100), st.text(st.characters(categories=("L", "N", "P", "S")), max_size=50), st.booleans())
def test_what_is_signed_verifies(data: bytes, comment: str, legacy: bool) -> None:
    key = generate()
    signature = parse_signature(key.sign(data, comment, legacy=legacy))
    signature.verify(data, key.public())
    assert signature.trusted_comment == comment


POLICY = b"""catalogues = ["a"]
[[source]]
host = "a.example.org"
keys = ["x"]
allow = ["observe"]
[limits]
helpers = ["bpf_*"]
map_memory = "64M"
"""


@given(st.binary(max_size=100) | damaged(POLICY))
@settings(deadline=None)
def test_policies(data: bytes) -> None:
    text = data.decode(errors="replace")
    with suppress(EcliError):
        policy = Policy("policy.toml", text)
        policy.rule_for("a.example.org/x", remote=True)
        policy.rule_for("/", remote=False)


LOCK = json.dumps(
    {"lock": 1, "packages": {"a": {"digest": DIGEST, "schema": DIGEST, "url": "https://a/b", "key": "RW"}}}
).encode()


@given(st.binary(max_size=100) | damaged(LOCK) | st.builds(lambda value: json.dumps(value).encode(), values))
def test_locks(data: bytes) -> None:
    with suppress(EcliError):
        assert all(isinstance(pin, Pin) for pin in parse_lock(data, "ecli.lock").values())


entries = st.fixed_dictionaries(
    {"name": st.just("a") | values, "digest": st.just(DIGEST) | values, "url": st.text(max_size=20) | values},
    optional={"version": st.text(max_size=5) | values, "description": values, "size": values, "allow": values, "other": values},
)
catalogues = st.builds(
    lambda packages: json.dumps({"catalogue": 1, "packages": packages}).encode(), st.lists(entries, max_size=3)
)
wheres = st.sampled_from(
    ["https://a.example.org/x/catalogue.json", "/srv/catalogue.json", "oci://a.example.org/c:1", "catalogue"]
)


@given(st.binary(max_size=100) | catalogues, wheres)
def test_catalogues(data: bytes, where: str) -> None:
    with suppress(EcliError):
        found = parse_catalogue(data, where)
        search("a", found)
        find_package("a", found)


@given(st.lists(st.text(max_size=12)))
def test_versions_have_an_order(versions: list[str]) -> None:
    versions.sort(key=version_key)


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


integers = st.tuples(st.integers(-5, 5), st.integers(-5, 5)).map(
    lambda bounds: {"type": "integer", "minimum": min(bounds), "maximum": max(bounds)}
)
simple = (
    integers
    | st.just({"type": "boolean"})
    | st.just({"type": ["number", "null"]})
    | st.integers(0, 5).map(lambda length: {"type": "string", "maxLength": length})
    | st.lists(st.sampled_from("ABC"), min_size=1, unique=True).flatmap(
        lambda names: integers.map(lambda number: {"anyOf": [{"enum": names}, number]})
    )
)
schemas = st.recursive(
    simple,
    lambda inner: (
        st.builds(lambda items, n: {"type": "array", "items": items, "minItems": n, "maxItems": n}, inner, st.integers(0, 3))
        | st.dictionaries(st.sampled_from("abcd"), inner, max_size=4).map(_object)
    ),
    max_leaves=6,
)


def _values(schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Return a strategy for what a schema allows."""
    if "anyOf" in schema:
        return st.sampled_from(schema["anyOf"][0]["enum"]) | _values(schema["anyOf"][1])
    if schema["type"] == "object":
        return st.fixed_dictionaries({name: _values(each) for name, each in schema["properties"].items()})
    if schema["type"] == "array":
        return st.lists(_values(schema["items"]), min_size=schema["minItems"], max_size=schema["maxItems"])
    if schema["type"] == "integer":
        return st.integers(schema["minimum"], schema["maximum"])
    if schema["type"] == "string":
        return st.text("xyz", max_size=schema["maxLength"])
    return st.booleans() if schema["type"] == "boolean" else st.none() | st.floats(allow_nan=False)


def _lenient(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema for a reader that ignores members that it does not know."""
    if schema.get("type") == "object":
        members = {name: _lenient(each) for name, each in schema["properties"].items()}
        return {**schema, "properties": members, "additionalProperties": True}
    return {**schema, "items": _lenient(schema["items"])} if "items" in schema else schema


@given(schemas, schemas, st.data())
@settings(deadline=None)
def test_compatible_means_that_the_old_schema_allows_what_comes(
    old: dict[str, Any], new: dict[str, Any], data: st.DataObject
) -> None:
    described = [{"description": "event, through map events", **each} for each in (_object({"x": old}), _object({"x": new}))]
    assert compare_events(described[:1], described[:1]) == []
    changes = compare_events(described[:1], described[1:])
    if not any(change.is_breaking for change in changes):
        event = data.draw(_values(described[1]))
        assert Draft202012Validator(_lenient(described[0])).is_valid(event), (changes, event)
