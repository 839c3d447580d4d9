"""Verifier's logs of kernels that are not here, and objects whose line information is damaged."""

from __future__ import annotations

import random

import pytest

from ecli_runtime import permissions
from ecli_runtime.elf import check_header
from ecli_runtime.errors import EcliError, LibbpfError
from ecli_runtime.helpers import helper_since
from ecli_runtime.line_info import SourceLines
from ecli_runtime.verifier import explain_refusal
from ecli_schemas.read import read_package
from tests.conftest import DATA
from tests.damage import damage

OLD = """\
; int run(void *ctx)
0: (b7) r1 = 0
1: (63) *(u32 *)(r10 -4) = r1
last_idx 1 first_idx 0
regs=2 stack=0 before 0: (b7) r1 = 0
; value = bpf_map_lookup_elem(&counts, &key);
2: (85) call bpf_map_lookup_elem#1
 R0_w=map_value_or_null(id=1,off=0,ks=4,vs=8,imm=0) R10=fp0 fp-8=mmmm????
; *value += 1;
3: (79) r1 = *(u64 *)(r0 +0)
R0 invalid mem access 'map_value_or_null'
processed 4 insns (limit 1000000) max_states_per_insn 0 total_states 0 peak_states 0 mark_read 0
"""
JUMP = """\
0: (bf) r6 = r1
1: (15) if r6 == 0x0 goto pc+2
 R1=ctx(id=0,off=0,imm=0) R6_w=inv(id=7) R10=fp0

from 1 to 4: R1=ctx(id=0,off=0,imm=0) R6_w=inv0 R10=fp0
; return *p;
4: (61) r0 = *(u32 *)(r6 +0)
R6 invalid mem access 'inv'
processed 5 insns (limit 1000000) max_states_per_insn 0 total_states 0 peak_states 0 mark_read 0
"""


def explained(log: str, errno: int = 13) -> EcliError | None:
    return explain_refusal(LibbpfError("bpf_object__load", errno), "run", log, None)


def test_an_old_kernel_names_no_file() -> None:
    error = explained(OLD)
    assert error is not None
    assert str(error).splitlines() == [
        "run: permission denied: R0 invalid mem access 'map_value_or_null' (10 lines omitted; --verbose shows all)",
        "  *value += 1;",
        "  instruction 3: r1 = *(u64 *)(r0 +0); R0=map_value_or_null(id=1,off=0,ks=4,vs=8,imm=0)",
    ]
    assert error.hint.startswith("bpf_map_lookup_elem returns NULL")


def test_states_are_those_of_the_way_that_was_taken() -> None:
    error = explained(JUMP)
    assert error is not None
    assert str(error).endswith("; R6=inv0")


@pytest.mark.parametrize(
    ("log", "reason", "hint"),
    [
        ("back-edge from insn 4 to 2\nprocessed 0 insns\n", "invalid argument: back-edge from insn 4 to 2", "loop needs an end"),
        ("0: (85) call unknown#211\ninvalid func unknown#211\n", "invalid func unknown#211", "bpf_cgrp_storage_delete: this"),
        ("0: (85) call unknown#158\ninvalid func unknown#158\n", "invalid func unknown#158", "needs Linux 5.11"),
        ("number of funcs in func_info doesn't match number of subprogs\n", "number of funcs", "bpf_loop"),
        ("combined stack size of 2 calls is 544. Too large\n", "combined stack size", "512 bytes"),
        ("1: (79) r1 = *(u64 *)(r10 -600)\ninvalid stack off=-600 size=8\n", "invalid stack off=-600", "512 bytes"),
        ("1: (79) r1 = *(u64 *)(r10 -8)\ninvalid read from stack off -8+0 size 8\n", "invalid read from stack", "initialise"),
        ("3: (bf) r1 = r2\nR2 !read_ok\n", "R2 !read_ok", "no value"),
        ("3: (95) exit\nsomething new of a kernel to come\n", "something new of a kernel to come", "`--verbose`"),
    ],
)
def test_reasons_and_hints(log: str, reason: str, hint: str) -> None:
    error = explained(log, 22)
    assert error is not None
    assert reason in str(error)
    assert hint in error.hint


@pytest.mark.parametrize("log", ["", "processed 0 insns (limit 1000000)\n", "\n\n", "0: (b7) r0 = 0\nprocessed 1 insns\n"])
def test_a_log_without_a_reason(log: str) -> None:
    assert explained(log) is None


def test_helpers_and_kernels() -> None:
    assert [helper_since(number) for number in (1, 110, 130, 158, 174, 211, 212, 0)] == [
        *("5.3", "5.3", "5.8", "5.11", "5.15", "6.2", "", ""),
    ]


def test_damaged_line_information_is_an_error_or_nothing() -> None:
    package = read_package((DATA / "upstream-minimal.json").read_bytes())
    found = 0
    for seed in range(300):
        try:
            data = damage(package.object, random.Random(seed))
            check_header(data)
            lines = SourceLines(data).of_program("tp/sched/sched_process_exec", "on_exec")
        except EcliError:
            continue
        if lines is not None:
            for number in range(-1, 200):
                found += lines.at(number) is not None
    assert found


def test_an_object_without_line_information() -> None:
    package = read_package((DATA / "upstream-minimal.json").read_bytes())
    lines = SourceLines(package.object)
    assert lines.of_program("no/such/section", "run") is None


def test_what_lockdown_forbids(monkeypatch: pytest.MonkeyPatch) -> None:
    log = "4: (85) call bpf_probe_read_kernel#113\nprogram of this type cannot use helper bpf_probe_read_kernel#113\n"
    hints = {"none [integrity] confidentiality": "for programs of other types", "[confidentiality]": "lockdown of this kernel"}
    for mode, hint in hints.items():
        monkeypatch.setattr(permissions, "read_text", lambda path, mode=mode: mode if path.endswith("lockdown") else "")
        error = explained(log, 22)
        assert error is not None
        assert hint in error.hint
