"""What only the kernel, the machine or the compiler notices: an error, a hint, and no traceback."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ecli_schemas.read import read_package
from ecli_schemas.write import write_package
from tests.cli import Ecli
from tests.machine import hiding
from tests.programs import EVENT, RINGBUF, source

pytestmark = pytest.mark.kernel


def edit(package: Path, copy: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """Write a changed copy of a package."""
    document = json.loads(package.read_text(encoding="utf-8"))
    change(document)
    copy.write_text(json.dumps(document), encoding="utf-8")
    return copy


@pytest.fixture
def package(packages: Path) -> Path:
    return packages / "execsnoop.json"


# --- run ---


def test_no_permission(ordinary_user: Ecli, package: Path) -> None:
    ordinary_user("run", "-", stdin=package.read_bytes()).fails("error: no permission to load eBPF programs", "sudo")


def test_inspecting_needs_no_permission(ordinary_user: Ecli, package: Path) -> None:
    outcome = ordinary_user("inspect", "-", stdin=package.read_bytes())
    assert (outcome.status, outcome.stderr) == (0, "")
    assert "It only observes" in outcome.stdout


def test_a_package_that_lies_is_warned_of(ecli: Ecli, package: Path) -> None:
    honest = read_package(package.read_bytes())
    assert honest.behaviour is not None
    facts = {fact: shown for fact, shown in honest.behaviour.facts.items() if fact != "reads_user_memory"}
    lie = ecli.directory / "lie.json"
    lie.write_bytes(write_package(honest.replace(behaviour=honest.behaviour.replace(facts=facts, helpers=()))))
    warned = ecli("run", lie, "--duration", "10ms")
    assert warned.status == 0
    assert "warning: the object reads the memory of processes; the package does not say so\n" in warned.stderr
    assert "warning: the object calls the helper bpf_ktime_get_ns; the package does not say so\n" in warned.stderr
    assert "warning" not in ecli("run", package, "--duration", "10ms").stderr


def test_unreadable_package(ordinary_user: Ecli, package: Path) -> None:
    copy = ordinary_user.directory / "x.json"
    copy.touch(mode=0o600)
    ordinary_user("run", "x.json").fails("cannot read x.json: Permission denied")


def test_an_ordinary_user_gets_help_and_versions(ordinary_user: Ecli, package: Path) -> None:
    shutil.copy(package, ordinary_user.directory / "x.json")
    (ordinary_user.directory / "x.json").chmod(0o644)
    assert "--only_uid" in ordinary_user("run", "x.json", "--help").stdout
    assert "libbpf" in ordinary_user("--version").stdout


def test_kernel_without_btf(ecli: Ecli, package: Path) -> None:
    ecli = replace(ecli, prefix=hiding("/sys/kernel/btf"))
    ecli("run", package).fails("needs a kernel with BTF (CONFIG_DEBUG_INFO_BTF)", "--kernel-btf FILE")


def test_kernel_without_btf_and_a_file_instead(ecli: Ecli, package: Path, tmp_path: Path) -> None:
    shutil.copy("/sys/kernel/btf/vmlinux", tmp_path / "vmlinux.btf")
    ecli = replace(ecli, prefix=hiding("/sys/kernel/btf"))
    outcome = ecli("run", package, "--kernel-btf", "vmlinux.btf", "--duration", "100ms")
    assert outcome.status == 0, outcome.stderr


def test_kernel_btf_that_is_none(ecli: Ecli, package: Path, tmp_path: Path) -> None:
    (tmp_path / "garbage").write_bytes(b"garbage")
    ecli("run", package, "--kernel-btf", "garbage").fails("the kernel's BTF cannot be used: ", "/sys/kernel/btf/vmlinux")
    ecli("run", package, "--kernel-btf", "gone").fails("cannot read BTF file gone: No such file or directory")


def test_types_that_nothing_tells_apart(ecli: Ecli) -> None:
    two = RINGBUF.replace("struct {", "struct other {\n\tint fd;\n};\n\nstruct {", 1)
    body = EVENT + "\n\tstruct other other = { 2 };\n\tbpf_ringbuf_output(&events, &other, sizeof(other), 0);"
    path = source(ecli.directory, declarations=two, body=body)
    assert ecli("build", path, "--export", "events=struct event", "--export", "events=struct other").status == 0
    outcome = ecli("run", "tool.json", "--duration", "100ms")
    assert outcome.status == 0, outcome.stderr
    warning = "warning: map events: nothing tells other from event, so all are shown as event\n"
    assert outcome.stderr.count(warning) == 1


def test_a_type_of_program_that_nobody_may_load(ecli: Ecli, packages: Path) -> None:
    path = source(ecli.directory, section="lsm/task_alloc")
    assert ecli("build", path).status == 0
    outcome = ecli("run", "tool.json", "--duration", "100ms")
    if not outcome.status:
        pytest.skip("this kernel permits LSM programs")
    said = outcome.fails("error: run: this kernel permits nobody to load a program of lsm/task_alloc", "security module")
    assert "sudo" not in said


def test_tracefs_that_cannot_be_mounted(ecli: Ecli, package: Path) -> None:
    # Without CAP_SYS_ADMIN, which mounting takes; CAP_BPF and CAP_PERFMON are enough for all else.
    prefix = [*hiding("/sys/kernel/tracing", "/sys/kernel/debug"), "setpriv", "--bounding-set", "-sys_admin"]
    replace(ecli, prefix=prefix)("run", package).fails(
        "tracefs is not mounted, and mounting it failed (unshare: Operation not permitted)",
        "mount -t tracefs tracefs /sys/kernel/tracing",
    )


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--only-uid", "root"], "--only_uid: expected an integer, got 'root'"),
        (["--min-duration-ms=-1"], "--min_duration_ms: expected an integer from 0 to 4294967295, got -1"),
        (["--min-duration-ms", "4294967296"], "--min_duration_ms: expected an integer from 0 to 4294967295, got 4294967296"),
    ],
)
def test_bad_value_of_an_option(ecli: Ecli, package: Path, words: list[str], text: str) -> None:
    ecli("run", package, *words).fails(text)


def test_struct_that_the_object_lacks(ecli: Ecli, package: Path, tmp_path: Path) -> None:
    def change(document: dict[str, Any]) -> None:
        document["ecli"]["exports"][0]["types"][0].update(name="gone")

    ecli("run", edit(package, tmp_path / "x.json", change)).fails(
        "$.ecli.exports[0].types: the object has no struct 'gone'", "structs in the object: "
    )


def test_a_program_that_the_verifier_refuses(build: Ecli, tmp_path: Path) -> None:
    path = source(tmp_path, body="char *next = ctx;\n\treturn next[100000];")
    assert build("build", path, "-o", "x.json").status == 0
    said = build("run", "x.json").fails("error: run: permission denied: ", "--verbose")
    assert "R1" in said
    assert len(said.splitlines()) == 4
    verbose = build("run", "x.json", "--verbose")
    assert verbose.status == 1
    assert "BEGIN PROG LOAD LOG" in verbose.stderr
    assert "Traceback" not in verbose.stderr


def test_a_tracepoint_that_does_not_exist(build: Ecli, tmp_path: Path) -> None:
    path = source(tmp_path, section="tp/sched/sched_no_such_thing")
    assert build("build", path, "-o", "x.json").status == 0
    build("run", "x.json").fails("run: cannot attach to tp/sched/sched_no_such_thing: No such file or directory")


def test_a_function_that_does_not_exist(build: Ecli, tmp_path: Path) -> None:
    path = source(tmp_path, section="kprobe/no_such_function")
    assert build("build", path, "-o", "x.json").status == 0
    build("run", "x.json").fails("run: cannot attach to kernel function no_such_function: ")


def test_a_second_program_that_cannot_be_attached(build: Ecli, tmp_path: Path) -> None:
    """The first has been attached by then, and a buffer opened."""
    path = source(
        tmp_path,
        declarations=f"""{RINGBUF}
SEC("tp/sched/sched_no_such_thing")
int second(void *ctx)
{{
	return 0;
}}""",
        body=EVENT,
    )
    outcome = build("build", path, "-o", "x.json")
    assert outcome.status == 0, outcome.stderr
    build("run", "x.json").fails("second: cannot attach to tp/sched/sched_no_such_thing")


def test_a_program_that_is_not_loaded_is_not_attached(build: Ecli, tmp_path: Path) -> None:
    declarations = 'SEC("?tp/sched/sched_no_such_thing")\nint spare(void *ctx)\n{\n\treturn 0;\n}'
    path = source(tmp_path, declarations=f"{RINGBUF}\n{declarations}", body=EVENT)
    outcome = build("build", path, "-o", "x.json")
    assert outcome.status == 0, outcome.stderr
    outcome = build("run", "x.json", "--duration", "100ms")
    assert outcome.status == 0, outcome.stderr


def test_a_section_that_names_no_hook(build: Ecli, tmp_path: Path) -> None:
    path = source(tmp_path, section="kprobe")
    assert build("build", path, "-o", "x.json").status == 0
    build("run", "x.json").fails('run: SEC("kprobe") needs a kernel function', "--attach run=FUNCTION")


def test_a_program_type_that_libbpf_does_not_know(build: Ecli, tmp_path: Path) -> None:
    path = source(tmp_path, section="no/such/type")
    assert build("build", path, "-o", "x.json").status == 0
    build("run", "x.json").fails("no/such/type")


def test_unreadable_source(ordinary_user: Ecli) -> None:
    path = ordinary_user.directory / "tool.bpf.c"
    path.touch(mode=0o600)
    outcome = ordinary_user("build", "tool.bpf.c")
    # That Python may have none of what building needs, which is an error with a hint, too.
    outcome.fails("Permission denied" if "Permission" in outcome.stderr else "building needs the Python module")
