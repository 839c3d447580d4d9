"""``@alternative``, ``@target`` and ``@optional`` in comments of programs: in the package, in what is shown, and in errors."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ecli_packager.build import Request, build
from ecli_packager.errors import AnnotationError
from ecli_runtime.opening import OpenSession
from ecli_schemas.errors import PackageError
from ecli_schemas.model import Alternative, Hook, HookProgram, Package
from ecli_schemas.read import read_package
from ecli_schemas.write import write_package
from tests.cli import Ecli

pytestmark = pytest.mark.compiler

HEAD = '#include <linux/bpf.h>\n#include <bpf/bpf_helpers.h>\nchar LICENSE[] SEC("license") = "GPL";\n'


def program(name: str, section: str, *comment: str) -> str:
    lines = "".join(f"// {line}\n" for line in comment)
    return f'{lines}SEC("{section}") int {name}(void *ctx) {{ return 0; }}\n'


def built(directory: Path, *programs: str) -> Package:
    path = directory / "tool.bpf.c"
    path.write_text(HEAD + "\n".join(programs))
    package = build(Request((path,))).package
    assert read_package(write_package(package)) == package
    return package


def alone(name: str, *targets: str) -> Alternative:
    return Alternative(name, (HookProgram(name, targets),))


def test_alternatives_are_in_the_order_of_the_source(tmp_path: Path) -> None:
    """Not in that of the object, where programs of one section stand together."""
    package = built(
        tmp_path,
        program("first", "kprobe/a", "@alternative call"),
        program("second", "?fentry/a", "Shows it, too.", "@alternative call", "@target b, c"),
        program("third", "kprobe/a", "@alternative call"),
        program("always", "tp/sched/sched_switch", "Nothing is said of it."),
    )
    assert package.hooks == (Hook("call", (alone("first"), alone("second", "b", "c"), alone("third"))),)


def test_programs_that_go_together(tmp_path: Path) -> None:
    package = built(
        tmp_path,
        program("f", "fentry/a", "@alternative io fentry"),
        program("x", "fexit/a", "@alternative io fentry"),
        program("k", "kprobe/a", "@alternative io kprobe"),
        program("kr", "kretprobe/a", "@alternative io kprobe"),
        program("t", "tp/a/b", "@alternative io"),
    )
    (hook,) = package.hooks
    assert [(each.name, [one.name for one in each.programs]) for each in hook.alternatives] == [
        ("fentry", ["f", "x"]),
        ("kprobe", ["k", "kr"]),
        ("t", ["t"]),
    ]


def test_upstream_attaches_the_last_choice_only(tmp_path: Path) -> None:
    package = built(
        tmp_path,
        program("f", "?fentry/a", "@alternative io"),
        program("t", "tp/a/b", "@alternative io"),
        program("always", "tp/sched/sched_switch"),
    )
    document = json.loads(write_package(package))
    assert [each["name"] for each in document["meta"]["bpf_skel"]["progs"]] == ["t", "always"]
    del document["ecli"]
    assert read_package(json.dumps(document)).hooks == ()


@pytest.mark.parametrize(
    ("first", "second", "optional"),
    [
        (["?kprobe/a", "@alternative call"], ["kprobe/b", "@alternative call"], False),
        (["?kprobe/a", "@alternative call"], ["?kprobe/b", "@alternative call"], True),
        (["kprobe/a", "@alternative call"], ["kprobe/b", "@optional", "@alternative call"], True),
    ],
)
def test_hooks_that_the_package_does_without(tmp_path: Path, first: list[str], second: list[str], optional: bool) -> None:
    (hook,) = built(tmp_path, program("one", *first), program("two", *second)).hooks
    assert hook.optional == optional


def test_programs_that_are_hooks_of_their_own(tmp_path: Path) -> None:
    package = built(
        tmp_path,
        program("one", "tp/a/b", "@optional"),
        program("two", "kprobe/do_unlinkat", "@target filename_unlinkat"),
        program("three", "?kprobe/a", "@target b"),
    )
    assert package.hooks == (
        Hook("one", (alone("one"),), True),
        Hook("two", (alone("two", "filename_unlinkat"),)),
        Hook("three", (alone("three", "b"),)),
    )
    assert [each.name for each in package.programs] == ["one", "two", "three"]


@pytest.mark.parametrize(
    ("comments", "message", "hint"),
    [
        (["@alternative"], ":4:16: @alternative: expected the name of a hook, and maybe", "@alternative unlink"),
        (["@alternative a b c"], ":4:17: @alternative: expected the name of a hook", "@alternative io fentry"),
        (["@alternative 1"], "got '1'", "for example"),
        (["@alternative call"], "@alternative: the hook call has no other alternative", "@optional alone"),
        (["@alternativ call"], "there is no annotation @alternativ", "did you mean @alternative?"),
        (["@target"], "@target: expected up to 16 targets with commas between, got ''", "for example"),
        (["@target a,,b"], "@target: expected up to 16 targets with commas between, got 'a,,b'", "for example"),
        (["@target " + ", ".join("abcdefghijklmnopq")], "expected up to 16 targets", "for example"),
        (["@optional since 5.10"], "@optional: it takes no value, got 'since 5.10'", "begin a new line"),
    ],
)
def test_annotations_that_are_wrong(tmp_path: Path, comments: list[str], message: str, hint: str) -> None:
    with pytest.raises(AnnotationError) as caught:
        built(tmp_path, program("one", "kprobe/a", *comments))
    assert "tool.bpf.c:" in str(caught.value)
    assert message in str(caught.value)
    assert hint in caught.value.hint


def test_a_hook_whose_name_is_misspelt(tmp_path: Path) -> None:
    programs = [
        program(name, "kprobe/a", f"@alternative {hook}") for name, hook in zip("abc", ("call", "call", "cal"), strict=True)
    ]
    with pytest.raises(AnnotationError, match="the hook cal has no other alternative") as caught:
        built(tmp_path, *programs)
    assert caught.value.hint == "did you mean call?"


def test_targets_of_what_has_no_places(tmp_path: Path) -> None:
    with pytest.raises(AnnotationError, match='@target: SEC\\("xdp"\\) has no places'):
        built(tmp_path, program("one", "xdp", "@target eth0"))


def test_a_hook_with_the_name_of_a_program(tmp_path: Path) -> None:
    programs = [program(name, "kprobe/a", "@alternative c") for name in "ab"]
    with pytest.raises(AnnotationError, match="a program with annotations has the name c, too"):
        built(tmp_path, *programs, program("c", "kprobe/a", "@optional"))


def test_a_hook_of_programs_that_are_not_there(tmp_path: Path) -> None:
    package = built(tmp_path, program("one", "tp/a/b", "@optional"))
    with pytest.raises(PackageError, match="the object has no program 'two'") as caught:
        OpenSession(package.replace(hooks=(Hook("h", (alone("two"),)),)))
    assert caught.value.path == "$.ecli.hooks[0]"


def test_inspect_shows_alternatives(ecli: Ecli, tmp_path: Path) -> None:
    package = built(
        tmp_path,
        program("f", "?fentry/a", "@alternative io fentry", "@target b"),
        program("x", "?fexit/a", "@alternative io fentry"),
        program("t", "tp/a/b", "@alternative io"),
        program("one", "?tp/a/b", "@optional"),
        program("two", "?kprobe/a", "@target b"),
    )
    (tmp_path / "tool.json").write_bytes(write_package(package))
    text = ecli("inspect", "tool.json").stdout
    assert (
        """
Hooks: the first alternative that is possible serves
  io
    1. fentry: f (else at b), x
    2. t
  one (optional)
    1. one
  two
    1. two (else at b)
"""
        in text
    )
    assert [line.split()[0] for line in text.splitlines() if "(not loaded by default)" in line] == ["two"]
    document = json.loads(ecli("inspect", "tool.json", "--json").stdout)
    assert document["hooks"][0] == {
        "name": "io",
        "optional": False,
        "alternatives": [
            {"name": "fentry", "programs": [{"name": "f", "targets": ["b"]}, {"name": "x", "targets": []}]},
            {"name": "t", "programs": [{"name": "t", "targets": []}]},
        ],
    }
