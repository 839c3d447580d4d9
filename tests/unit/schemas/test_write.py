"""Writing packages: what upstream's loader finds in them, and what cannot be written."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from ecli_schemas.errors import PackageError
from ecli_schemas.model import (
    Behaviour,
    EventType,
    Export,
    MapBehaviour,
    MapSpec,
    Member,
    Option,
    Package,
    ProgramBehaviour,
    Sample,
    StackTrace,
)
from ecli_schemas.read import read_package
from ecli_schemas.write import write_package

if TYPE_CHECKING:
    from ecli_schemas.model import Json

PACKAGE = Package(
    name="tool",
    object_name="tool_bpf",
    object=b"\x7fELF" + bytes(60),
    maps=(
        MapSpec("events", "events"),
        MapSpec("counts", "counts", sample=Sample(1000)),
        MapSpec("tool_bpf.rodata", "rodata", mmaped=True),
    ),
    format=1,
)
EXEC = EventType("exec", 8, 7, (Member("pid", "int"),))
EXIT = EventType("exit", 16, 9, (Member("code", "int"),))


def written(**changes: Any) -> dict[str, Any]:
    """Return the document of the package with ``changes``."""
    document: dict[str, Any] = json.loads(write_package(PACKAGE.replace(**changes)))
    return document


def test_keys_that_upstream_needs_are_always_there() -> None:
    document = written(maps=())
    assert document["meta"]["bpf_skel"] == {
        "obj_name": "tool_bpf",
        "data_sections": [],
        "maps": [],
        "progs": [],
        "doc": {},
    }
    assert document["bpf_object_size"] == 64
    assert document["ecli"] == {"format": 1, "name": "tool"}


def test_bytes_are_canonical() -> None:
    data = write_package(PACKAGE)
    assert data.decode() == json.dumps(json.loads(data), sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def test_a_package_of_upstream_becomes_one_of_ours() -> None:
    assert read_package(write_package(PACKAGE.replace(format=None))) == PACKAGE


def test_upstream_spellings() -> None:
    maps = written(maps=(MapSpec("s", "s", mmaped=True, stack_trace=StackTrace(pid="tgid")),))["meta"]["bpf_skel"]["maps"]
    assert maps[0]["mmaped"] is True
    assert maps[0]["intepreter"]["stack_trace"]["field_map"]["pid"] == "tgid"


def test_types_for_all_maps_are_upstreams_single_mode() -> None:
    meta = written(exports=(Export(None, (EXEC, EXIT)),))["meta"]
    assert [struct["name"] for struct in meta["export_types"]] == ["exec", "exit"]
    assert meta["export_types"][0] == {
        "name": "exec",
        "size": 8,
        "type_id": 7,
        "members": [{"name": "pid", "type": "int"}],
    }
    assert "enable_multiple_export_types" not in meta


def test_types_of_named_maps_are_upstreams_multiple_mode() -> None:
    meta = written(exports=(Export("events", (EXEC, EXIT)), Export("counts")))["meta"]
    assert meta["enable_multiple_export_types"] is True
    configs = {spec["name"]: spec.get("export_config") for spec in meta["bpf_skel"]["maps"]}
    assert configs == {"events": {"btf_type_id": 7}, "counts": "default", "tool_bpf.rodata": None}
    assert [struct["name"] for struct in meta["export_types"]] == ["exec", "exit"]


def test_members_without_a_type() -> None:
    event = EventType("", members=(Member("pid", byte_offset=4, btf_id=2),))
    maps = written(exports=(Export("events", (event,)),))["meta"]["bpf_skel"]["maps"]
    assert maps[0]["export_config"] == {"custom_members": [{"name": "pid", "offset": 4, "btf_type_id": 2}]}


@pytest.mark.parametrize(
    ("c_type", "default", "upstream_type", "upstream_default"),
    [
        ("int", 5, "int", 5),
        ("pid_t", 5, "int", 5),
        ("__u64", 5, "unsigned long long", 5),
        ("u32", 2**31 - 1, "unsigned int", 2**31 - 1),
        ("u32", 2**31, "unsigned int", None),  # upstream: overflow
        ("unsigned long long", 2**64 - 1, "unsigned long long", None),  # beyond JSON's exact integers
        ("_Bool", True, "bool", True),
        ("bool", None, "bool", None),
        ("char[4]", "abc", "char[4]", "abc"),
        ("char[4]", "abcd", "char[4]", None),  # no room for the NUL
        ("char[16]", "abc", "char[16]", "abc"),
        ("double", 1.5, "double", None),  # upstream writes it in the wrong byte order
        ("enum mode", "FAST", "enum mode", None),  # upstream cannot start with it
    ],
)
def test_defaults_that_upstream_can_start_with(c_type: str, default: Json, upstream_type: str, upstream_default: Json) -> None:
    document = written(options=(Option("x", ".rodata", c_type, long="x", default=default),))
    variable = document["meta"]["bpf_skel"]["data_sections"][0]["variables"][0]
    assert variable["type"] == upstream_type
    assert variable["cmdarg"].get("default") == upstream_default


def test_sections_that_upstream_refuses_are_only_in_our_part() -> None:
    options = tuple([Option(name, section, "int", long=name) for name, section in (("a", ".data"), ("b", ".bss"))])
    document = written(options=options)
    assert document["meta"]["bpf_skel"]["data_sections"] == []  # the package has no map of .bss
    assert [option["name"] for option in document["ecli"]["options"]] == ["a", "b"]


def test_large_integers_are_decimal_text() -> None:
    document = written(options=(Option("mask", ".rodata", "u64", long="mask", default=2**64 - 1),))
    assert document["ecli"]["options"][0]["default_decimal"] == "18446744073709551615"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"object": b"MZ"}, "$.bpf_object: the object is not an ELF file; it begins with 4d 5a"),
        ({"name": ""}, '$.ecli.name: expected a name (1 to 511 printable characters), got ""'),
        (
            {"options": (Option("x", ".bss", "int", long="x", default=[2**53]),)},
            "cannot be written as JSON: 9007199254740992 exceeds safe integer domain for JSON floats",
        ),
        (
            {"options": (Option("x", ".bss", "int", long="x", default=[1e20 + 2**20]),)},
            "cannot be written without loss",
        ),
        (
            {"object_name": "\ud800"},
            "cannot be written as JSON: input contains non-UTF-8 codepoints",
        ),
    ],
)
def test_what_cannot_be_written(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(PackageError) as caught:
        write_package(PACKAGE.replace(**changes))
    assert str(caught.value) == message


def test_behaviour() -> None:
    behaviour = Behaviour(
        programs=(ProgramBehaviour("on_exec", "tracepoint", "tp/sched/sched_process_exec"),),
        maps=(MapBehaviour("events", "ringbuf", 0, 0, 4096, 4096), MapBehaviour("per_task", "task_storage", 4, 8, 0)),
        helpers=("bpf_send_signal",),
        facts={"sends_signals": ("bpf_send_signal",)},
    )
    sizes = {"key_size": 0, "value_size": 0, "max_entries": 4096, "memory": 4096}
    assert written(behaviour=behaviour)["ecli"]["behaviour"] == {
        "programs": [{"name": "on_exec", "type": "tracepoint", "section": "tp/sched/sched_process_exec"}],
        "maps": [
            {"name": "events", "type": "ringbuf", **sizes},
            {"name": "per_task", "type": "task_storage", "key_size": 4, "value_size": 8, "max_entries": 0},
        ],
        "helpers": ["bpf_send_signal"],
        "facts": {"sends_signals": ["bpf_send_signal"]},
    }
    assert not behaviour.only_observes
    assert Behaviour(facts={"reads_user_memory": ("bpf_probe_read_user",)}).only_observes
