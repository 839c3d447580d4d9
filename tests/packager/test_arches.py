"""One package for several machines."""

from __future__ import annotations

import os
import subprocess
import sys
from io import BytesIO
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile

from ecli_runtime.opening import OpenSession
from ecli_schemas.errors import PackageError
from ecli_schemas.model import Package
from ecli_schemas.read import read_package
from tests.packager.test_build import HEAD, PROGRAM, SEND

PLAIN = HEAD + "struct event { int pid; };\nRING(events);" + PROGRAM % (SEND % ("struct event", "events"))
REGISTERS = """
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
SEC("kprobe/do_exit") int BPF_KPROBE(on_exit, long code) { return code == 42; }
char LICENSE[] SEC("license") = "GPL";
"""
BIG_ENDIAN = {"s390x"}


def build(directory: Path, text: str, *words: str) -> subprocess.CompletedProcess[str]:
    (directory / "tool.bpf.c").write_text(text)
    command = [sys.executable, "-m", "ecli_py", "build", "tool.bpf.c", *words]
    return subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)


def package(directory: Path, text: str, *words: str) -> Package:
    done = build(directory, text, *words)
    assert (done.stderr, done.returncode) == ("", 0)
    return read_package((directory / "tool.json").read_bytes())


def test_machines_of_one_byte_order_share_an_object(tmp_path: Path) -> None:
    built = package(tmp_path, PLAIN, "--arch", "x86_64", "--arch", "aarch64", "--arch", "riscv64", "--arch", "s390x")
    assert set(built.arches) == {"x86_64", "aarch64", "riscv64"}
    assert set(built.objects) == BIG_ENDIAN
    assert built.object_for("aarch64") == built.object_for("x86_64")
    assert built.object_for("s390x")[5] == 2  # ELFDATA2MSB
    with pytest.raises(PackageError, match="no object for mips, only for aarch64, riscv64, s390x, x86_64"):
        built.object_for("mips")


def test_an_object_that_reads_no_registers_is_for_every_machine(tmp_path: Path) -> None:
    built = package(tmp_path, PLAIN)
    assert (built.arches, built.objects) == ((), {})
    assert built.object_for("mips") == built.object


def test_an_object_that_reads_registers_is_for_its_machine(tmp_path: Path) -> None:
    built = package(tmp_path, REGISTERS)
    assert built.arches == (os.uname().machine,)


@pytest.mark.parametrize(
    ("section", "body", "bound"),
    [
        ("tp/sched/sched_process_exec", "return BPF_CORE_READ((struct task_struct *)bpf_get_current_task(), pid);", False),
        ("raw_tp/sys_enter", "return PT_REGS_PARM1_CORE((struct pt_regs *)ctx) == 1;", True),
        ("perf_event", "return ((struct bpf_perf_event_data *)ctx)->sample_period == 1;", False),
        ("perf_event", "return PT_REGS_IP(&((struct bpf_perf_event_data *)ctx)->regs) == 1;", True),
    ],
)
def test_registers_are_what_is_read_and_not_what_its_types_have(tmp_path: Path, section: str, body: str, bound: bool) -> None:
    includes = '#include "vmlinux.h"\n' + "".join(
        f"#include <bpf/bpf_{name}.h>\n" for name in ("helpers", "tracing", "core_read")
    )
    text = f'{includes}SEC("{section}") int run(void *ctx) {{ {body} }}\nchar LICENSE[] SEC("license") = "GPL";\n'
    assert package(tmp_path, text).arches == ((os.uname().machine,) if bound else ())


def test_registers_of_another_machine_need_its_types(tmp_path: Path) -> None:
    other = "aarch64" if os.uname().machine == "x86_64" else "x86_64"
    done = build(tmp_path, REGISTERS, "--arch", other)
    assert done.returncode == 1
    assert f"hint: vmlinux.h is of another architecture; name the BTF of a {other} kernel: --btf {other}=FILE" in done.stderr


def test_architectures_that_there_are_not(tmp_path: Path) -> None:
    done = build(tmp_path, PLAIN, "--arch", "vax")
    assert done.returncode == 1
    assert done.stderr == "error: architecture 'vax' is not supported\nhint: supported: x86_64, aarch64, riscv64, s390x\n"
    done = build(tmp_path, PLAIN, "--arch", "s390x" if sys.byteorder == "little" else "x86_64")
    assert "has another byte order than this machine" in done.stderr


def test_a_program_may_be_for_some_machines_only(tmp_path: Path) -> None:
    machine = os.uname().machine
    define = {"x86_64": "x86", "aarch64": "arm64"}[machine]
    elsewhere = (
        f'#ifndef __TARGET_ARCH_{define}\nSEC("tp/syscalls/sys_enter_open") int on_open(void *ctx) {{ return 0; }}\n#endif\n'
    )
    built = package(tmp_path, PLAIN + elsewhere, "--arch", "riscv64", "--arch", machine)
    assert [program.name for program in built.programs] == ["on_exec", "on_open"]
    OpenSession(built).close()
    with pytest.raises(PackageError, match="the object has no program 'on_open'"):
        OpenSession(built.replace(object=built.object_for(machine), objects={}, arches=(machine,)))


OLDER = HEAD + "__u64 calls;\n" + PROGRAM % "__sync_fetch_and_add(&calls, 1);"
NEWER = HEAD + "__u64 calls;\n" + PROGRAM % "if (__sync_fetch_and_add(&calls, 1)) return 1;"
_ATOMIC_64 = 0xDB  # BPF_STX | BPF_ATOMIC | BPF_DW
_FETCH = 1


@pytest.mark.parametrize(("text", "fetches"), [(OLDER, False), (NEWER, True)])
def test_kernels_before_5_12_are_asked_for_new_atomics_only_where_the_program_is(
    tmp_path: Path, text: str, fetches: bool
) -> None:
    section = ELFFile(BytesIO(package(tmp_path, text).object)).get_section_by_name("tp/sched/sched_process_exec")
    assert section
    code = section.data()
    found = {code[at + 4] & _FETCH for at in range(0, len(code), 8) if code[at] == _ATOMIC_64}
    assert found == {fetches}
