"""What is said of EPERM, by who asks and where."""

from __future__ import annotations

import pytest

from ecli_runtime import permissions
from ecli_runtime.errors import LibbpfError
from ecli_runtime.permissions import explain_refusal

ROOT = {"/proc/thread-self/status": "Name: x\nCapEff:\t000001ffffffffff\n", "/proc/self/uid_map": "0 0 4294967295"}
ORDINARY = {"/proc/thread-self/status": "CapEff:\t0000000000000000\n"}
PROGRAM = "libbpf: prog 'guard': BPF program load failed: -EPERM\nlibbpf: prog 'guard': failed to load: -EPERM\n"
MAP = "libbpf: map 'events': failed to create: -EPERM\n"


@pytest.mark.parametrize(
    ("files", "log", "message", "hint"),
    [
        (
            ORDINARY,
            PROGRAM,
            "guard: no permission to load a program of lsm/x",
            "run it as root (sudo), or with CAP_BPF and CAP_PERFMON",
        ),
        (ORDINARY, MAP, "no permission to load eBPF programs", "run it as root (sudo), or with CAP_BPF and CAP_PERFMON"),
        (
            ROOT,
            PROGRAM,
            "guard: this kernel permits nobody to load a program of lsm/x",
            "/sys/kernel/security/lsm lists the modules",
        ),
        (
            {**ROOT, "/sys/kernel/security/lsm": "lockdown,bpf", "/sys/kernel/security/lockdown": "none [integrity]"},
            PROGRAM,
            "guard: this kernel permits nobody",
            "refuses (security modules here: lockdown,bpf; lockdown: integrity)",
        ),
        ({**ROOT, "/proc/self/uid_map": "0 1000 1"}, PROGRAM, "guard: this kernel permits nobody", "user namespace"),
        (ROOT, MAP, "no permission to create map events", "ulimit -l"),
        (ROOT, "", "no permission to load eBPF programs", "security module"),
    ],
)
def test_who_or_what_is_to_blame(
    monkeypatch: pytest.MonkeyPatch, files: dict[str, str], log: str, message: str, hint: str
) -> None:
    monkeypatch.setattr(permissions, "read_text", lambda path: files.get(path, ""))
    error = explain_refusal(LibbpfError("bpf_object__load", 1, log), {"guard": ("lsm/x", 29)}, {"events": 27})
    assert str(error).startswith(message)
    assert hint in error.hint
