"""Reading packages of both dialects."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import pytest

from ecli_schemas.errors import PackageError
from ecli_schemas.model import Build, Doc, EventType, Export, MapSpec, Member, Option, ProgramSpec, Sample, StackTrace
from ecli_schemas.read import read_package

MINIMAL = Path(__file__).parents[2] / "data" / "upstream-minimal.json"
OBJECT = b"\x7fELF" + bytes(60)


def document(*, ecli: dict[str, Any] | None = None, meta: dict[str, Any] | None = None, **skeleton: Any) -> str:
    """Return a package with these parts, and without any other."""
    skeleton = {"obj_name": "tool_bpf", "data_sections": [], "maps": None, "progs": None, **skeleton}
    package = {
        "bpf_object": base64.b64encode(zlib.compress(OBJECT)).decode(),
        "bpf_object_size": len(OBJECT),
        "meta": {"bpf_skel": skeleton, **(meta or {})},
    }
    return json.dumps(package if ecli is None else {**package, "ecli": ecli})


def test_package_of_upstreams_compiler() -> None:
    package = read_package(MINIMAL.read_bytes())
    assert package.object.startswith(b"\x7fELF")
    assert len(package.object) == 3408
    assert package.replace(object=b"") == type(package)(
        name="tiny",
        object_name="tiny_bpf",
        object=b"",
        options=(
            Option("only_pid", ".rodata", "int", long="only_pid", help="only report this pid (0 = all)"),
        ),  # and none for __eunomia_dummy_evt_ptr
        maps=(
            MapSpec("out", "out"),
            MapSpec("tiny_bpf.rodata", "rodata", mmaped=True),
            MapSpec("tiny_bpf.bss", "bss", mmaped=True),
        ),
        programs=(ProgramSpec("on_exec", "tp/sched/sched_process_exec"),),
        exports=(
            Export(
                map=None,
                types=(EventType("evt", 24, 21, (Member("pid", "int"), Member("comm", "char[16]"), Member("big", "_Bool"))),),
            ),
        ),
        upstream_version="0.3.4",
    )


def test_null_lists_and_missing_keys() -> None:
    package = read_package(document())
    assert (package.maps, package.programs, package.options, package.exports) == ((), (), (), ())
    assert package.doc == Doc()
    assert (package.poll_timeout_ms, package.perf_buffer_page_count) == (100, 64)


def test_settings_and_texts() -> None:
    settings = {"poll_timeout_ms": -1, "perf_buffer_pages": 128, "perf_buffer_time_ms": 10, "print_header": True}
    package = read_package(document(meta=settings, doc={"brief": "B", "version": "2", "details": None}))
    assert (package.poll_timeout_ms, package.perf_buffer_page_count) == (-1, 128)
    assert package.doc == Doc(brief="B", version="2")


def test_unknown_keys_are_ignored() -> None:
    maps = [{"name": "m", "ident": "m", "pinning": {"by": "name"}}]
    package = read_package(document(maps=maps, meta={"x": "\ud800"}, ecli={"format": 1, "name": "n", "later": 1}))
    assert package.maps == (MapSpec("m", "m"),)


@pytest.mark.parametrize(
    ("variable", "option"),
    [
        ({}, Option("v", ".rodata", "int", long="v")),
        ({"size": 4}, Option("v", ".rodata", "int", long="v")),
        ({"value": 3}, Option("v", ".rodata", "int", long="v", default=3)),
        ({"value": 3, "cmdarg": {"default": 0}}, Option("v", ".rodata", "int", long="v", default=0)),
        ({"description": "D"}, Option("v", ".rodata", "int", long="v", help="D")),
        ({"description": "D", "cmdarg": {"help": "H"}}, Option("v", ".rodata", "int", long="v", help="H")),
        (
            {"value": 1, "description": None, "cmdarg": dict.fromkeys(("default", "long", "short", "help"))},
            Option("v", ".rodata", "int", long="v", default=1),
        ),
        ({"cmdarg": {"long": "vee", "short": "e"}}, Option("v", ".rodata", "int", long="vee", short="e")),
    ],
)
def test_option_of_a_variable(variable: dict[str, Any], option: Option) -> None:
    section = {"name": ".rodata", "variables": [{"name": "v", "type": "int", **variable}]}
    assert read_package(document(data_sections=[section])).options == (option,)


def test_no_option_for_the_kernels_configuration_and_for_type_keepers() -> None:
    variables = [{"name": "CONFIG_HZ", "type": "int"}]
    keepers = [{"name": "__eunomia_dummy_event_ptr", "type": "struct event *"}, {"name": "seen", "type": "int"}]
    package = read_package(
        document(data_sections=[{"name": ".kconfig", "variables": variables}, {"name": ".bss", "variables": keepers}])
    )
    assert [option.name for option in package.options] == ["seen"]


def test_first_option_keeps_a_short_name_that_two_have() -> None:
    variables = [{"name": name, "type": "bool", "cmdarg": {"short": "p"}} for name in ("pid", "parent")]
    package = read_package(document(data_sections=[{"name": ".bss", "variables": variables}]))
    assert [option.short for option in package.options] == ["p", ""]


@pytest.mark.parametrize(
    ("sample", "expected"),
    [
        ({"interval": 1000}, Sample(1000)),
        ({"interval": 1e3}, Sample(1000)),
        ({"interval": 1, "type": "log2_hist", "unit": "usecs"}, Sample(1, "log2_hist", "usecs")),
        ({"interval": 1, "clear_map": True}, Sample(1, clear=True)),
        (None, None),
    ],
)
def test_sampled_map(sample: dict[str, Any] | None, expected: Sample | None) -> None:
    package = read_package(document(maps=[{"name": "m", "ident": "m", "sample": sample}]))
    assert package.maps[0].sample == expected


@pytest.mark.parametrize(
    ("interpreter", "expected"),
    [
        ("default_struct", None),
        (None, None),
        ({"stack_trace": {}}, StackTrace()),
        ({"stack_trace": {"with_symbols": False}}, StackTrace(with_symbols=False)),
        (
            {"stack_trace": {"field_map": {"pid": "tgid", "comm": None}, "with_symbols": True}},
            StackTrace(pid="tgid"),
        ),
    ],
)
def test_interpreter(interpreter: object, expected: StackTrace | None) -> None:
    package = read_package(document(maps=[{"name": "m", "ident": "m", "intepreter": interpreter}]))
    assert package.maps[0].stack_trace == expected


@pytest.mark.parametrize(
    ("config", "exports"),
    [
        ("no_export", ()),
        (None, ()),
        ("default", (Export("m"),)),
        ({"btf_type_id": 9}, (Export("m", (EventType("", btf_id=9),)),)),
        (
            {"custom_members": [{"name": "a?", "offset": 8, "btf_type_id": 2}]},
            (Export("m", (EventType("", members=(Member("a?", byte_offset=8, btf_id=2),)),)),),
        ),
    ],
)
def test_exports_of_each_map(config: object, exports: tuple[Export, ...]) -> None:
    maps = [{"name": "m", "ident": "m", "export_config": config}]
    types = [{"name": "event", "members": [], "size": 8, "type_id": 3}]
    many = {"enable_multiple_export_types": True, "export_types": types}
    assert read_package(document(maps=maps, meta=many)).exports == exports
    one = {"export_types": types}
    assert read_package(document(maps=maps, meta=one)).exports == (Export(None, (EventType("event", 8, 3),)),)


def test_attach_parameters() -> None:
    program = {"name": "p", "attach": "xdp", "link": True, "ifindex": 2, "xdpopts": {"old_prog_fd": 0}, "note": "x"}
    package = read_package(document(progs=[program]))
    assert package.programs == (ProgramSpec("p", "xdp", True, {"ifindex": 2, "xdpopts": {"old_prog_fd": 0}}),)


def test_our_part_takes_precedence() -> None:
    text = document(
        doc={"brief": "B", "version": "1"},
        data_sections=[{"name": ".bss", "variables": [{"name": "theirs", "type": "int"}]}],
        meta={"export_types": [{"name": "theirs", "members": [], "size": 8, "type_id": 3}]},
        ecli={
            "format": 1,
            "name": "execsnoop",
            "version": "2",
            "license": "MIT",
            "exports": [{"map": "events", "types": [{"name": "ours", "layout": {"kind": "struct"}}]}],
            "options": [{"name": "ours", "section": ".rodata", "type": "u64", "long": "o", "default_decimal": "-1"}],
            "build": {"tools": {"clang": "18.1.8"}},
        },
    )
    package = read_package(text)
    assert (package.format, package.name, package.object_name) == (1, "execsnoop", "tool_bpf")
    assert package.doc == Doc(brief="B", version="2", license="MIT")
    assert package.exports == (Export("events", (EventType("ours", layout={"kind": "struct"}),)),)
    assert package.options == (Option("ours", ".rodata", "u64", long="o", default=-1),)
    assert package.build == Build(tools={"clang": "18.1.8"})


def test_what_our_part_leaves_out_is_upstreams() -> None:
    text = document(
        data_sections=[{"name": ".bss", "variables": [{"name": "theirs", "type": "int"}]}],
        ecli={"format": 1, "name": "execsnoop"},
    )
    assert [option.name for option in read_package(text).options] == ["theirs"]


def test_metadata_with_its_object() -> None:
    whole = read_package(MINIMAL.read_bytes())
    metadata = json.dumps(json.loads(MINIMAL.read_text())["meta"])
    assert read_package(metadata, object=whole.object) == whole


@pytest.mark.parametrize(
    ("text", "elf", "message"),
    [
        (document(), OBJECT, "the package has an object of its own"),
        ('{"bpf_skel": {}}', b"MZ\0\0", "the object is not an ELF file; it begins with 4d 5a 00 00"),
        ('{"bpf_skel": {}}', OBJECT, "$.bpf_skel.obj_name: missing"),
    ],
)
def test_object_that_does_not_fit(text: str, elf: bytes, message: str) -> None:
    with pytest.raises(PackageError) as caught:
        read_package(text, object=elf)
    assert str(caught.value) == message


def test_byte_order_mark_is_ignored() -> None:
    assert read_package(b"\xef\xbb\xbf" + document().encode()) == read_package(document())


def test_other_defects_are_in_the_hint() -> None:
    maps = [{"name": "m", "ident": index} for index in range(3)]
    with pytest.raises(PackageError) as caught:
        read_package(document(maps=maps))
    assert caught.value.path == "$.meta.bpf_skel.maps[0].ident"
    assert caught.value.hint.splitlines() == [
        "2 more problems:",
        "  $.meta.bpf_skel.maps[1].ident: expected a name (1 to 511 printable characters), got 1",
        "  $.meta.bpf_skel.maps[2].ident: expected a name (1 to 511 printable characters), got 2",
    ]


def test_few_of_many_defects_are_in_the_hint() -> None:
    with pytest.raises(PackageError) as caught:
        read_package(document(maps=[0] * 10))
    lines = caught.value.hint.splitlines()
    assert lines[0] == "9 more problems:"
    assert lines[1].startswith("  $.meta.bpf_skel.maps[1]: ")
    assert lines[5].startswith("  $.meta.bpf_skel.maps[5]: ")
    assert lines[6:] == ["  …"]


def test_without_jsonschema_the_first_defect_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jsonschema", None)  # what makes an import fail
    with pytest.raises(PackageError) as caught:
        read_package(document(maps=[0] * 10))
    assert caught.value.path == "$.meta.bpf_skel.maps[0]"
    assert caught.value.hint.startswith("build the package again")


def test_reading_imports_little() -> None:
    """Start-up is a feature: these cost more than reading does."""
    program = (
        "import sys; before = set(sys.modules)\n"
        "from ecli_schemas.read import read_package\n"
        "read_package(open(sys.argv[1], 'rb').read())\n"
        "print(*set(sys.modules) - before)"
    )
    output = subprocess.run([sys.executable, "-c", program, str(MINIMAL)], check=True, capture_output=True, text=True).stdout
    heavy = {"typing", "dataclasses", "inspect", "pathlib", "base64", "jsonschema", "rfc8785", "ecli_schemas.explain"}
    assert heavy.isdisjoint(output.split())
