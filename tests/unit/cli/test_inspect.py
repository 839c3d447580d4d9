"""``ecli-py inspect`` on packages that need no compiler: upstream's, hostile ones, and ones that lie about themselves."""

from __future__ import annotations

import base64
import copy
import json
import os
import zlib
from pathlib import Path
from typing import Any

import pytest

from ecli_schemas.model import Behaviour, Build, Doc, Option, Package
from ecli_schemas.read import read_package
from ecli_schemas.write import write_package
from tests.cli import Ecli


@pytest.fixture
def package(small_package: Path) -> Package:
    return read_package(small_package.read_bytes())


def written(directory: Path, package: Package) -> Path:
    path = directory / "tool.json"
    path.write_bytes(write_package(package))
    return path


def found(ecli: Ecli, package: Path | str, *words: str) -> dict[str, Any]:
    outcome = ecli("inspect", package, "--json", *words)
    assert outcome.status == 0, outcome.stderr
    document: dict[str, Any] = json.loads(outcome.stdout)
    return document


def test_a_package_of_upstream(ecli: Ecli, small_package: Path) -> None:
    outcome = ecli("inspect", small_package)
    assert (outcome.status, outcome.stderr) == (0, "")
    for line in (
        "tiny",
        "package    of eunomia-bpf 0.3.4, 2.4 KiB",
        "object     for any little-endian machine; 3.3 KiB",
        "  It only observes: it changes nothing outside of its own maps.",
        "  on_exec  tracepoint  tp/sched/sched_process_exec",
        "  --only_pid int, default 0",
        "    struct evt {        // 24 bytes",
        "        char comm[16];  // at 4, 16 bytes",
        "  together about 4 KiB",
        "  not recorded",
    ):
        assert line in outcome.stdout.splitlines()


def test_one_json_object(ecli: Ecli, small_package: Path) -> None:
    document = found(ecli, small_package)
    elf = read_package(small_package.read_bytes()).object
    assert document["dialect"] == "eunomia-bpf"
    assert document["file"]["size"] == small_package.stat().st_size
    assert document["objects"][0] | {"digest": ""} == {
        "arches": [],
        "byte_order": "little",
        "size": len(elf),
        "digest": "",
    }
    assert document["programs"] == [
        {"name": "on_exec", "type": "tracepoint", "section": "tp/sched/sched_process_exec", "attach": {}, "autoload": True}
    ]
    assert document["maps"][0] == {
        "name": "out",
        "type": "ringbuf",
        "key_size": 0,
        "value_size": 0,
        "max_entries": 4096,
        "memory": 4096,
        "memory_per_cpu": 0,
        "sample": None,
        "stack_trace": None,
    }
    (option,) = document["options"]
    assert (option["name"], option["type"], option["default"]) == ("only_pid", "int", 0)
    ((event,),) = [each["types"] for each in document["events"]]
    assert (event["role"], event["name"], event["size"]) == ("event", "evt", 24)
    assert document["behaviour"]["only_observes"] is True
    assert (document["verified"], document["contradictions"], document["wasm"], document["build"]) == (True, [], [], None)


def test_what_the_package_says_of_itself(ecli: Ecli, tmp_path: Path, package: Package) -> None:
    doc = Doc(brief="Shows it.", version="1.2", license="MIT", homepage="https://tool.example/")
    build = Build({"clang": "18.1.8"}, {"tool.bpf.c": "sha256:00"})
    path = written(tmp_path, package.replace(name="show", doc=doc, build=build, arches=("x86_64", "aarch64")))
    text = ecli("inspect", path, "--arch", "aarch64").stdout
    for line in (
        "show 1.2",
        "Shows it.",
        "license    MIT",
        "homepage   https://tool.example/",
        "object     for x86_64, aarch64; 3.3 KiB",
        "  tools: clang 18.1.8",
        "  tool.bpf.c  sha256:00",
    ):
        assert line in text.splitlines()
    ecli("inspect", path, "--arch", "s390x").fails("no object for s390x", "x86_64")


def test_hostile_text_does_not_reach_the_terminal(ecli: Ecli, tmp_path: Path, package: Package) -> None:
    evil = "a\x1b[2J\x9b31m\nOptions\n  \u202efake\x07\x7f"
    doc = Doc(brief=evil, version=evil, description=evil + "2", details=evil + "3", license=evil, homepage=evil)
    option = Option("only_pid", ".rodata", "int", long="only_pid", help=evil, default=evil)
    claim = Behaviour(facts={evil: (evil.partition("\n")[0].replace("\x1b", "").replace("\x9b", ""),)})
    path = written(
        tmp_path, package.replace(doc=doc, options=(option,), build=Build({evil: evil}, {evil: evil}), behaviour=claim)
    )
    for words in ((), ("--json",)):
        outcome = ecli("inspect", path, *words)
        for stream in (outcome.stdout, outcome.stderr):
            assert stream.replace("\n", "").isprintable()
    text = ecli("inspect", path).stdout
    assert text.splitlines().count("Options") == 1


def test_names_in_the_object_are_hostile_too(ecli: Ecli, tmp_path: Path, small_package: Path) -> None:
    document = json.loads(small_package.read_bytes())
    elf = zlib.decompress(base64.b64decode(document["bpf_object"]))
    assert b"comm\0" in elf
    evil = copy.deepcopy(document)
    evil["bpf_object"] = base64.b64encode(zlib.compress(elf.replace(b"\0comm\0", b"\0c\x1b\nm\0"))).decode()
    path = tmp_path / "evil.json"
    path.write_text(json.dumps(evil))
    outcome = ecli("inspect", path)
    assert outcome.status == 0, outcome.stderr
    assert r"char c\x1b m[16];" in outcome.stdout or r"char c\x1b" in outcome.stdout
    assert outcome.stdout.replace("\n", "").isprintable()


def test_a_package_that_lies(ecli: Ecli, tmp_path: Path, package: Package) -> None:
    lie = Behaviour(helpers=("bpf_ktime_get_ns",))
    path = written(tmp_path, package.replace(behaviour=lie))
    outcome = ecli("inspect", path)
    assert outcome.status == 1
    assert "WARNING: this package does not tell the truth about what it can do." in outcome.stdout
    assert "the object calls the helper bpf_ringbuf_submit; the package does not say so" in outcome.stdout
    assert "error: what the package says that it can do is not what its object can do" in outcome.stderr
    document = json.loads(ecli("inspect", path, "--json").stdout)
    assert "the package says that the object calls the helper bpf_ktime_get_ns; it does not" in document["contradictions"]


def test_an_object_of_the_other_byte_order(ecli: Ecli, tmp_path: Path, package: Package) -> None:
    elf = package.object[:5] + bytes([3 - package.object[5]]) + package.object[6:]
    claim = Behaviour(facts={"sends_signals": ("bpf_send_signal",)}, helpers=("bpf_send_signal",))
    path = written(tmp_path, package.replace(object=elf, arches=("s390x",), behaviour=claim))
    document = found(ecli, path)
    assert (document["verified"], document["arch"]) == (False, "s390x")
    assert document["behaviour"]["facts"] == {"sends_signals": ["bpf_send_signal"]}
    outcome = ecli("inspect", path)
    assert "this machine cannot open its object" in outcome.stdout
    assert "can send signals to processes" in outcome.stdout


def test_the_object_of_another_machine_is_looked_into(ecli: Ecli, tmp_path: Path, package: Package) -> None:
    behaviour = Behaviour(**{part: found_in(package)[part] for part in Behaviour._fields})
    path = written(tmp_path, package.replace(behaviour=behaviour, arches=("x86_64",), objects={"riscv64": package.object}))
    assert found(ecli, path)["contradictions"] == []
    assert found(ecli, path, "--arch", "riscv64")["arch"] == "riscv64"


def found_in(package: Package) -> dict[str, Any]:
    from ecli_runtime.behaviour import analyse

    return vars(analyse(package.object, package.object_name))


def test_the_object_is_written_out(ecli: Ecli, tmp_path: Path, small_package: Path, package: Package) -> None:
    outcome = ecli("inspect", small_package, "--object", "tool.bpf.o")
    assert (outcome.status, outcome.stdout, outcome.stderr) == (0, "", "")
    assert (tmp_path / "tool.bpf.o").read_bytes() == package.object
    assert ecli("inspect", small_package, "--object", "tool.bpf.o").status == 0  # it has these very bytes
    assert ecli("inspect", small_package, "--object", os.devnull).status == 0
    assert sorted(each.name for each in tmp_path.iterdir()) == ["tool.bpf.o"]


def test_the_object_is_not_written_over_something_else(ecli: Ecli, tmp_path: Path, small_package: Path) -> None:
    mine = tmp_path / "mine.o"
    mine.write_text("mine")
    ecli("inspect", small_package, "--object", mine).fails("mine.o is there already", "choose another name")
    assert mine.read_text() == "mine"
    ecli("inspect", small_package, "--object", tmp_path / "none" / "tool.o").fails("cannot write", "No such file")


def test_usage(ecli: Ecli, tmp_path: Path, small_package: Path) -> None:
    assert ecli("inspect", small_package, "--json", "--object", "x").status == 2
    assert ecli("inspect").status == 2
    ecli("inspect", "none.json").fails("cannot read none.json")
    metadata = tmp_path / "tool.skel.json"
    metadata.write_text(json.dumps(json.loads(small_package.read_bytes())["meta"]))
    ecli("inspect", metadata).fails("only the metadata", "inspect needs a whole package")
