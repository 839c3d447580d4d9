"""What of eBPF lives in the kernel, asked of the kernel itself: not through libbpf, which is what is being tested."""

from __future__ import annotations

import ctypes
import os
import platform
import re
from pathlib import Path

from tests.cli import wait_until

# __NR_bpf; include/uapi/asm-generic/unistd.h for the machines that share it
BPF_SYSCALL = {"x86_64": 321, "s390x": 351}.get(platform.machine(), 280)
# BPF_{PROG,MAP,BTF,LINK}_GET_NEXT_ID of enum bpf_cmd, include/uapi/linux/bpf.h
_GET_NEXT_ID = {"prog": 11, "map": 12, "btf": 23, "link": 31}

_syscall = ctypes.CDLL(None, use_errno=True).syscall


def living(kind: str) -> set[int]:
    """Return the ids of all programs (``prog``), maps, types (``btf``) or links in the kernel."""
    found: set[int] = set()
    attributes = (ctypes.c_uint32 * 3)()  # union bpf_attr: start_id, next_id, open_flags
    while _syscall(BPF_SYSCALL, _GET_NEXT_ID[kind], attributes, ctypes.sizeof(attributes)) == 0:
        found.add(attributes[1])
        attributes[0] = attributes[1]
    return found


def held_by(pid: int) -> dict[str, set[int]]:
    """Return the ids of the programs, maps, types and links that a process has descriptors of."""
    found: dict[str, set[int]] = {kind: set() for kind in _GET_NEXT_ID}
    for info in Path(f"/proc/{pid}/fdinfo").iterdir():
        try:
            text = info.read_text()
        except FileNotFoundError:
            continue  # closed meanwhile
        for kind, ids in found.items():
            ids.update(map(int, re.findall(rf"^{kind}_id:\t(\d+)$", text, re.MULTILINE)))  # a link names its program too
    return found


def wait_gone(held: dict[str, set[int]]) -> None:
    """Wait until nothing of what was held lives any more: the kernel frees it after a grace period."""
    for kind, ids in held.items():
        wait_until(lambda kind=kind, ids=ids: not living(kind) & ids, f"freeing {kind} {ids}")  # type: ignore[misc]


def mount_table() -> str:
    """Return the mount table of this process."""
    return Path("/proc/self/mountinfo").read_text()


def mount_namespace() -> str:
    """Return the mount namespace of this thread."""
    return os.readlink("/proc/thread-self/ns/mnt")
