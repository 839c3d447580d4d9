"""What targets are made of, and what is said of functions that a kernel has not."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from ecli_runtime.attach.binaries import _library, _mapped_by, functions
from ecli_runtime.attach.functions import hint_for_function
from ecli_runtime.attach.options import nearest, parse_pid, parse_targets
from ecli_runtime.attach.since import hint_for_old_kernel
from ecli_runtime.attach.target import listing, split_offset
from ecli_runtime.errors import TargetError


def test_targets_by_program() -> None:
    words = ["a=eth0:egress", "b=/usr/lib/libc.so.6:malloc@7", "c", "d=x=y"]
    assert parse_targets(words) == {"a": "eth0:egress", "b": "/usr/lib/libc.so.6:malloc@7", "c": "", "d": "x=y"}


@pytest.mark.parametrize("words", [["=eth0"], ["a="], [""], ["a=b", "a=c"]])
def test_words_that_are_no_targets(words: list[str]) -> None:
    with pytest.raises(TargetError, match="--attach: ") as caught:
        parse_targets(words)
    assert caught.value.hint


def test_process_ids() -> None:
    assert parse_pid("4711") == 4711
    for text in ("", "0", "-1", "self", "٣", "99999999999999999999"):
        with pytest.raises(TargetError, match="--pid: "):
            parse_pid(text)


def test_offsets() -> None:
    assert split_offset("do_exit") == ("do_exit", 0)
    assert split_offset("do_exit+0x10") == ("do_exit", 16)
    assert split_offset("do_exit+16") == ("do_exit", 16)
    with pytest.raises(ValueError, match="invalid literal"):
        split_offset("do_exit+")


def test_names_in_hints() -> None:
    assert nearest("on_exce", ["on_exec", "on_exit"], "programs") == "did you mean on_exec?"
    assert nearest("x", ["on_exec", "on_exit"], "programs") == "programs: on_exec, on_exit"
    assert nearest("x", [], "programs") == "programs: none"
    assert listing([str(number) for number in range(14)]).endswith("10, 11 and 2 more")


@pytest.mark.parametrize(
    ("name", "known", "hint"),
    [
        ("do_unlinkat", ["filename_unlinkat", "do_unlink"], "did you mean filename_unlinkat? (renamed in Linux 7.0)"),
        ("finish_task_switch", ["finish_task_switch.isra.0"], "the compiler made finish_task_switch.isra.0 of it"),
        ("finish_task_swich", ["finish_task_switch.isra.0", "x"], "did you mean finish_task_switch.isra.0?"),
        ("tcp_v4_conect", ["tcp_v4_connect", "tcp_v6_connect", "vfs_read"], "did you mean tcp_v4_connect or tcp_v6_connect?"),
        ("vfs_read", ["vfs_read"], "does not let it be probed"),
        ("nothing_like_that", ["vfs_read"], "it may be renamed, inlined, or of a module that is not loaded"),
    ],
)
def test_functions_that_a_kernel_has_not(name: str, known: list[str], hint: str) -> None:
    assert hint in hint_for_function(name, known)


def test_libraries() -> None:
    libc = _mapped_by(os.getpid(), "libc.so.6")
    if libc is None:
        pytest.skip("this Python does not use glibc")
    found = _library("libc")
    assert found is not None
    assert _library("libc.so.6") == found
    assert "malloc" in set(functions(found))
    assert _library("libc.so.999") is None


@pytest.mark.parametrize("data", [b"", b"\x7fELF", b"\x7fELF" + bytes(60), b"\x7fELF" + b"\xff" * 100])
def test_damaged_binaries_have_no_functions(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "binary").write_bytes(data)
    assert list(functions(str(tmp_path / "binary"))) == []


def test_what_a_process_has_mapped() -> None:
    assert _mapped_by(os.getpid(), "nothing") is None
    assert _mapped_by(os.getpid(), os.path.basename(os.path.realpath(sys.executable))) == os.path.realpath(sys.executable)


def test_what_a_kernel_may_be_too_old_for() -> None:
    assert hint_for_old_kernel("netfilter").startswith('SEC("netfilter") needs Linux 6.4')
    assert hint_for_old_kernel("fentry.s/vfs_read").startswith('SEC("fentry.s/vfs_read") needs Linux 5.5')
    assert hint_for_old_kernel("cgroup/sysctl").startswith('SEC("cgroup/sysctl") needs Linux 5.2')
    assert hint_for_old_kernel("kprobe/x").startswith('SEC("kprobe/x") needs a kernel that is built with CONFIG_BPF_EVENTS;')
    assert hint_for_old_kernel("xdp") == ""
