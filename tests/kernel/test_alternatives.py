"""Hooks that one of several alternatives serves: which one does on the running kernel, and what is said of the others."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import jsonschema
import pytest

import ecli_py
from ecli_runtime.errors import TargetError
from tests.bpf import held_by, wait_gone
from tests.cli import Ecli, wait_until
from tests.corpus_programs import CORPUS
from tests.machine import hiding

pytestmark = [pytest.mark.kernel, pytest.mark.compiler]

HEAD = """\
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 4096); } events SEC(".maps");
const volatile u32 only_pid = 0;
const u32 zero = 0;
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 8); __type(key, u32); __type(value, u64); } counts SEC(".maps");
static int report(u32 program)
{
	if (!only_pid || bpf_get_current_pid_tgid() >> 32 == only_pid)
		bpf_ringbuf_output(&events, &program, sizeof(program), 0);
	return 0;
}
char LICENSE[] SEC("license") = "GPL";
"""
GETPGID = "tp/syscalls/sys_enter_getpgid"


def program(section: str, number: int, comment: str, name: str = "", body: str = "") -> str:
    """Return the source of a program that reports its number."""
    return f'// {comment}\nSEC("{section}") int {name or f"way{number}"}(void *ctx) {{ {body}return report({number}); }}\n'


def made(build: Ecli, *programs: str) -> Ecli:
    (build.directory / "tool.bpf.c").write_text(HEAD + "\n".join(programs))
    outcome = build("build", "tool.bpf.c")
    assert (outcome.status, outcome.stderr) == (0, ""), outcome.stderr
    return build


def reported(ecli: Ecli, *words: str) -> tuple[list[int], str, list[dict[str, object]]]:
    """Run the tool, do what it waits for; return the numbers of the programs that saw it, stderr, and what is said of hooks."""
    with ecli.start("run", "tool.json", "--json", "--only_pid", str(os.getpid()), *words) as running:
        held = held_by(running.pid)
        os.getpgid(0)
        wait_until(lambda: bool(running.stdout), "an event")
        outcome = running.end()
    wait_gone(held)
    assert outcome.status == 0, outcome.stderr
    return [event["value"] for event in outcome.events], outcome.stderr, outcome.marks("@hook")


def test_the_first_that_is_possible_serves(build: Ecli) -> None:
    made(
        build,
        program("fentry/no_such_function", 1, "@alternative call"),
        program("?kprobe/no_such_function", 2, "@alternative call"),
        program(GETPGID, 3, "@alternative call"),
        program("raw_tp/sys_enter", 4, "@alternative call"),
    )
    numbers, said, marks = reported(build)
    assert numbers == [3]
    assert f"\nhook call: way3 ({GETPGID})\n" in said
    assert "warning" not in said
    (mark,) = marks
    assert (mark["hook"], mark["alternative"], mark["programs"]) == ("call", "way3", [{"name": "way3", "at": GETPGID}])
    refused = mark["refused"]
    assert isinstance(refused, list)
    assert [each["program"] for each in refused] == ["way1", "way2"]


def test_marks_are_as_the_schema_says(build: Ecli) -> None:
    made(build, program("fentry/no_such_function", 1, "@alternative call"), program(GETPGID, 2, "@alternative call"))
    schema = build("schema", "tool.json")
    _numbers, _said, marks = reported(build)
    for mark in marks:
        jsonschema.validate({"@hook": mark}, json.loads(schema.stdout))


@pytest.mark.parametrize(
    ("section", "reason"),
    [
        ("tp/sched/no_such_event", "this kernel has no tracepoint sched:no_such_event"),
        ("raw_tp/no_such_event", "this kernel has no raw tracepoint no_such_event"),
        ("tp_btf/no_such_event", "this kernel has no such tracepoint"),
        ("fentry/no_such_function", "this kernel (has no such function in its BTF|takes no programs of type tracing .*)"),
        (
            "lsm/no_such_hook",
            "(this kernel has no such hook|this kernel takes no programs of type lsm|the security module bpf .*)",
        ),
        ("kprobe/no_such_function", r"this kernel has no (function no_such_function|kprobes \(CONFIG_KPROBES\))"),
        ("kprobe.multi/no_such_*", r"this kernel has no (functions no_such_\*|probes of many functions \(CONFIG_FPROBE\))"),
        ("ksyscall/no_such_call", r"this kernel has no (system call no_such_call|kprobes \(CONFIG_KPROBES\))"),
        ("uprobe/libc:no_such_function", "/.*libc.* has no function no_such_function"),
        ("uprobe//no/such/file:malloc", "there is no file '/no/such/file' there"),
        ("usdt/libc:no:such", "/.*libc.* has no USDT probe no:such"),
        ("xdp", "needs a network interface"),
    ],
)
def test_what_speaks_against_an_alternative(build: Ecli, section: str, reason: str) -> None:
    """It is known before anything is loaded: what is not loaded is not in the verifier's log either."""
    made(build, program(section, 1, "@alternative call"), program(GETPGID, 2, "@alternative call"))
    numbers, said, _marks = reported(build, "--verbose")
    assert numbers == [2]
    lines = [line for line in said.splitlines() if line.startswith("hook call: way1 ")]
    assert len(lines) == 1, said
    assert re.search(rf"^hook call: way1 \({re.escape(section)}\) is passed over: .*{reason}", lines[0]), lines
    assert "warning: hook" not in said


def test_programs_of_one_alternative_go_together(build: Ecli) -> None:
    made(
        build,
        program(GETPGID, 1, "@alternative call both"),
        program("tp/syscalls/no_such_call", 2, "@alternative call both"),
        program("raw_tp/sys_enter", 3, "@alternative call raw"),
    )
    numbers, said, (mark,) = reported(build, "--verbose")
    assert set(numbers) == {3}
    assert "hook call: way2 (tp/syscalls/no_such_call) is passed over: this kernel has no tracepoint" in said
    assert "\nhook call: raw: way3 (raw_tp/sys_enter)\n" in said
    assert mark["alternative"] == "raw"
    build("run", "tool.json", "--attach", "way1").fails("way2: ", "no_such_call")  # it brings what goes with it


def test_a_function_that_has_another_name_here(build: Ecli) -> None:
    made(build, program("tp/syscalls/no_such_call", 1, "@target syscalls:neither, syscalls:sys_enter_getpgid"))
    numbers, said, _marks = reported(build)
    assert numbers == [1]
    assert "\nhook way1: way1 (tp/syscalls:sys_enter_getpgid)\n" in said


def test_a_refusal_by_the_verifier_is_a_warning(build: Ecli) -> None:
    """Only loading shows it; what serves then is loaded anew, with the options that were set."""
    bad = "u64 *count = bpf_map_lookup_elem(&counts, &zero); *count += 1; "
    made(build, program(GETPGID, 1, "@alternative call", body=bad), program(GETPGID, 2, "@alternative call"))
    numbers, said, (mark,) = reported(build, "--ring-size", "64K")
    assert numbers == [2]
    assert (
        f"warning: hook call: way1 ({GETPGID}) is passed over: permission denied: R0 invalid mem access 'map_value_or_null'"
        in said
    )
    assert mark["alternative"] == "way2"


def test_refusals_by_the_verifier_alone(build: Ecli) -> None:
    bad = "u64 *count = bpf_map_lookup_elem(&counts, &zero); *count += 1; "
    made(build, *(program(GETPGID, number, "@alternative call", body=bad) for number in (1, 2)), program(GETPGID, 3, "Always."))
    said = build("run", "tool.json").fails("error: hook call: nothing of what could serve it is possible here\n")
    for number in (1, 2):
        assert f"  way{number} ({GETPGID}): permission denied: R0 invalid mem access" in said


def test_an_optional_program_that_the_verifier_refuses(build: Ecli) -> None:
    bad = "u64 *count = bpf_map_lookup_elem(&counts, &zero); *count += 1; "
    made(build, program(GETPGID, 1, "@optional", body=bad), program(GETPGID, 2, "Always."))
    numbers, said, _marks = reported(build)
    assert numbers == [2]
    assert "warning: hook way1: nothing serves it here, and the package does without\n" in said


def test_a_refusal_to_attach_is_a_warning(build: Ecli) -> None:
    made(build, program("uprobe/libc:0xfffffff000", 1, "@alternative call"), program(GETPGID, 2, "@alternative call"))
    numbers, said, _marks = reported(build)
    assert numbers == [2]
    assert "warning: hook call: way1 (uprobe/libc:0xfffffff000) is passed over: cannot attach to " in said


def test_the_user_chooses(build: Ecli) -> None:
    made(
        build,
        program(GETPGID, 1, "@alternative call"),
        program("?" + GETPGID, 2, "@alternative call"),
        program(GETPGID, 3, "@alternative call"),
    )
    assert reported(build)[0] == [1]
    numbers, said, _marks = reported(build, "--disable", "way1", "--verbose")
    assert numbers == [2]
    assert "hook call: way1 is passed over: --disable leaves it out" in said
    assert reported(build, "--attach", "way3")[0] == [3]
    assert reported(build, "--attach", "way2=syscalls:sys_enter_getpgid")[0] == [2]
    assert sorted(reported(build, "--attach", "way1", "--attach", "way3")[0]) == [1, 3]
    build("run", "tool.json", "--attach", "way3=syscalls:no_such").fails("way3: cannot attach to tracepoint syscalls:no_such")
    build("run", "tool.json", *(word for n in "123" for word in ("--disable", f"way{n}"))).fails("nothing is left to attach")


def test_a_hook_that_nothing_serves(build: Ecli) -> None:
    made(
        build,
        program("tp/sched/sched_process_exe", 1, "@alternative call"),
        program("uprobe/libc:getpgidd", 2, "@alternative call"),
        program(GETPGID, 3, "This one is always there."),
    )
    said = build("run", "tool.json").fails(
        "error: hook call: nothing of what could serve it is possible here\n",
        "\n  way1 (tp/sched/sched_process_exe): this kernel has no tracepoint sched:sched_process_exe; did you mean sched:",
        "\nhint: `ecli-py doctor` shows what this kernel takes; --disable way1 --disable way2 leaves it out\n",
    )
    assert re.search(
        r"^  way2 \(uprobe/libc:getpgidd\): .*libc.* has no function getpgidd; did you mean getpgid", said, re.MULTILINE
    )
    numbers, said, _marks = reported(build, "--disable", "way1", "--disable", "way2")
    assert numbers == [3]
    assert "\nhook call: left out\n" in said


def test_an_optional_hook_that_nothing_serves(build: Ecli) -> None:
    made(
        build,
        program("?tp/sched/no_such_event", 1, "@alternative call"),
        program("?uprobe/libc:no_such_function", 2, "@alternative call"),
        program("tp/sched/neither", 3, "@optional"),
        program(GETPGID, 4, "This one is always there."),
    )
    numbers, said, marks = reported(build)
    assert numbers == [4]
    assert "warning: hook call: way1 (tp/sched/no_such_event) is passed over: this kernel has no tracepoint" in said
    assert "warning: hook call: nothing serves it here, and the package does without\n" in said
    assert "warning: hook way3: nothing serves it here" in said
    assert "\nhook call: nothing\nhook way3: nothing\n" in said
    assert [mark["alternative"] for mark in marks] == [None, None]


def test_nothing_but_optional_hooks_that_nothing_serves(build: Ecli) -> None:
    made(build, program("tp/sched/no_such_event", 1, "@optional"))
    build("run", "tool.json").fails(
        "error: hook way1: nothing of what could serve it", "way1 (tp/sched/no_such_event): this kernel"
    )


def test_a_program_that_is_loaded_on_request_stays_so(build: Ecli) -> None:
    made(build, program("?tp/syscalls/no_such", 1, "@target syscalls:sys_enter_getpgid"), program(GETPGID, 2, "Always."))
    numbers, said, _marks = reported(build)
    assert numbers == [2]
    assert "hook" not in said
    assert sorted(reported(build, "--attach", "way1")[0]) == [1, 2]


def test_from_python(build: Ecli) -> None:
    made(build, program("tp/sched/no_such_event", 1, "@alternative call"), program(GETPGID, 2, "@alternative call"))
    with ecli_py.open(build.directory / "tool.json", {"only_pid": os.getpid()}) as tool:
        (served,) = tool.hooks
        assert (served.hook, served.alternative, served.programs) == ("call", "way2", {"way2": GETPGID})
        assert [each.program for each in served.refusals] == ["way1"]
        assert tool.optional_programs == frozenset()
        os.getpgid(0)
        assert next(tool.events())["value"] == 2
    made(build, program("?tp/sched/no_such_event", 1, "@alternative call"), program("?" + GETPGID, 2, "@alternative call"))
    with ecli_py.open(build.directory / "tool.json") as tool:
        assert tool.optional_programs == {"way2"}
    made(build, program("tp/sched/no_such_event", 1, "@alternative call"), program(GETPGID, 2, "@alternative call"))
    with pytest.raises(TargetError, match="hook call: nothing of what could serve it") as caught:
        ecli_py.open(build.directory / "tool.json", disable=["way2"])
    assert caught.value.hint.startswith("leave out --disable for what could serve")


def test_somebody_who_may_not_load_programs_is_told_so(build: Ecli, ordinary_user: Ecli) -> None:
    made(build, program("fentry/vfs_read", 1, "@alternative call"), program("raw_tp/sys_enter", 2, "@alternative call"))
    (ordinary_user.directory / "tool.json").write_bytes((build.directory / "tool.json").read_bytes())
    ordinary_user("run", "tool.json").fails("no permission to load", "run it as root (sudo)")


def test_a_kernel_without_btf(build: Ecli) -> None:
    made(build, program("tp_btf/sys_enter", 1, "@alternative call"), program(GETPGID, 2, "@alternative call"))
    hidden = Ecli(build.directory, prefix=hiding("/sys/kernel/btf"))
    numbers, said, _marks = reported(hidden, "--verbose")
    assert numbers == [2]
    assert "hook call: way1 (tp_btf/sys_enter) is passed over: this kernel has no BTF (CONFIG_DEBUG_INFO_BTF)\n" in said
    assert reported(build)[0][0] == 1


def test_without_debugfs(build: Ecli) -> None:
    made(build, program("tp/sched/no_such_event", 1, "@alternative call"), program(GETPGID, 2, "@alternative call"))
    hidden = Ecli(build.directory, prefix=hiding("/sys/kernel/debug"))
    assert reported(hidden)[0] == [2]


def test_removals_are_seen_on_each_kernel(build: Ecli, tmp_path: Path) -> None:
    outcome = build("build", CORPUS["removals"], "-o", "tool.json")
    assert outcome.status == 0, outcome.stderr
    with build.start("run", "tool.json", "--json") as running:
        (tmp_path / "unmistakable").touch()
        subprocess.run(["rm", "unmistakable", "not-there"], cwd=tmp_path, capture_output=True, check=False)
        wait_until(lambda: '"not-there"' in running.stdout, "both events")
        outcome = running.end()
    (mark,) = outcome.marks("@hook")
    kind = str(mark["alternative"]).upper()
    seen = {event["path"]: (event["ret"], event["seen_by"]) for event in outcome.events}
    assert seen["unmistakable"] == (0, kind)
    assert seen["not-there"][1] == kind
