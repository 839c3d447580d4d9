"""What this machine can do with packages: found out by looking and by trying, each gap with what to do about it."""

from __future__ import annotations

import errno
import gzip
import os
import re
import resource

from ecli_runtime.libbpf import log
from ecli_runtime.libbpf._ffi import lib
from ecli_runtime.mounts import hint_for_tracefs
from ecli_runtime.permissions import (
    CAPABILITIES,
    advice_for_missing,
    advice_for_refusal,
    held_capabilities,
    lockdown,
    missing,
    read_text,
)
from ecli_schemas.errors import EcliError
from ecli_schemas.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Literal, TypeAlias

    # ok: it is there. gap: some packages cannot run. stop: none can. unknown: it could not be found out.
    Verdict: TypeAlias = Literal["ok", "gap", "stop", "unknown"]


class Finding(Record):
    """One thing that was looked at.

    Attributes:
        topic: Heading that it belongs under: ``machine``, ``rights``, ``mounts``, ``programs``, ``maps``.
        name: What was looked at; stable, for machines.
        verdict: How it is.
        detail: What was found.
        hint: What to do about it; empty where nothing needs doing.
    """

    topic: str
    name: str
    verdict: Verdict
    detail: str
    hint: str = ""


_BTF = "/sys/kernel/btf/vmlinux"
_FTRACE_ENABLED = "/proc/sys/kernel/ftrace_enabled"
_MIN_RELEASE = (5, 8)  # ring buffers (457f44363a88)
_UNCHARGED_RELEASE = (5, 11)  # maps are charged to control groups, not to RLIMIT_MEMLOCK (d5299b67dd59)


def check_machine() -> Iterator[Finding]:
    """Look at everything, one finding after the other: trying program types takes a moment."""
    yield from _machine()
    yield from _rights()
    yield from _mounts()
    yield from _types("programs", _PROGRAM_TYPES, lib.libbpf_probe_bpf_prog_type)
    yield from _types("maps", _MAP_TYPES, lib.libbpf_probe_bpf_map_type)


# --- machine ---


def _machine() -> Iterator[Finding]:
    here = os.uname()
    release = _release(here.release)
    verdict: Verdict = "ok" if release >= _MIN_RELEASE else "gap"
    hint = "" if verdict == "ok" else "packages with ring buffers need Linux 5.8; those with perf event arrays run"
    yield Finding("machine", "kernel", verdict, f"Linux {here.release}, {here.machine}", hint)
    yield _libbpf()
    yield _kernel_btf()
    yield _jit()
    if read_text(_FTRACE_ENABLED) == "0":
        detail = "0: fentry, fexit, LSM and kprobe.multi programs cannot be attached"
        yield Finding("machine", "kernel.ftrace_enabled", "gap", detail, "sysctl kernel.ftrace_enabled=1")
    config = _kernel_config()
    for option, what in _OPTIONS.items():
        if config is None:
            yield Finding("machine", option, "unknown", "the kernel's configuration is not to be seen", "modprobe configs")
            break
        is_set = config.get(option, "n") in ("y", "m")
        hint = "" if is_set else f"{what} need a kernel that is built with {option}"
        yield Finding("machine", option, "ok" if is_set else "gap", "set" if is_set else "not set", hint)


# What some packages need and not every kernel has; all else that eBPF needs, distributions have.
_OPTIONS = {
    "CONFIG_KPROBES": "kprobe, kretprobe and ksyscall programs",
    "CONFIG_FPROBE": "kprobe.multi programs",
    "CONFIG_UPROBES": "uprobe and USDT programs",
    "CONFIG_BPF_EVENTS": "programs on tracepoints and probes",
    "CONFIG_DYNAMIC_FTRACE_WITH_DIRECT_CALLS": "fentry and fexit programs",
    "CONFIG_BPF_LSM": "LSM programs",
    "CONFIG_CGROUP_BPF": "programs of control groups",
    "CONFIG_NET_CLS_BPF": "tc programs on kernels before 6.6",
}


def _release(text: str) -> tuple[int, ...]:
    found = re.match(r"(\d+)\.(\d+)", text)
    return tuple(map(int, found.groups())) if found else ()


def _libbpf() -> Finding:
    try:
        return Finding("machine", "libbpf", "ok", f"{lib.version} ({lib.origin}: {lib.path})")
    except EcliError as error:
        return Finding("machine", "libbpf", "stop", str(error), error.hint)


def _kernel_btf() -> Finding:
    try:
        size_bytes = os.stat(_BTF).st_size
    except OSError:
        hint = "a kernel with CONFIG_DEBUG_INFO_BTF; or --kernel-btf FILE with the BTF of exactly this kernel"
        return Finding("machine", "kernel BTF", "gap", f"{_BTF} is missing: packages that read kernel types cannot run", hint)
    return Finding("machine", "kernel BTF", "ok", f"{size_bytes / 1e6:.1f} MB at {_BTF}")


def _jit() -> Finding:
    enabled = read_text("/proc/sys/net/core/bpf_jit_enable")
    if not enabled:
        return Finding("machine", "JIT", "unknown", "/proc/sys/net/core/bpf_jit_enable cannot be read")
    if enabled == "0":
        return Finding(
            "machine", "JIT", "gap", "off: programs are interpreted, which is slow", "sysctl net.core.bpf_jit_enable=1"
        )
    return Finding("machine", "JIT", "ok", "on")


def _kernel_config() -> dict[str, str] | None:
    text = None
    for path in ("/proc/config.gz", f"/boot/config-{os.uname().release}", f"/lib/modules/{os.uname().release}/config"):
        try:
            with gzip.open(path, "rt") if path.endswith(".gz") else open(path) as file:
                text = file.read()
        except OSError:
            continue
        return dict(re.findall(r"^(CONFIG_\w+)=(.*)$", text, re.MULTILINE))
    return None


# --- rights ---


def _rights() -> Iterator[Finding]:
    absent = missing(_WHAT_FOR)
    if not absent:
        yield Finding("rights", "capabilities", "ok", "all that programs need")
    else:
        verdict: Verdict = "stop" if "CAP_BPF" in absent else "gap"
        lost = "; ".join(f"{name}: {_WHAT_FOR[name]}" for name in absent)
        yield Finding("rights", "capabilities", verdict, f"without {lost}", advice_for_missing(absent))
    for name, lost in _WHAT_SOME_NEED.items():
        if not _has(name):
            yield Finding("rights", name, "gap", f"without it {lost}", advice_for_missing([name]))
    is_admin = _has("CAP_SYS_ADMIN")
    mode = lockdown()
    if not mode:
        hint = "mount -t securityfs securityfs /sys/kernel/security"
        yield Finding("rights", "lockdown", "unknown", "securityfs is not mounted", hint)
    else:
        strict = mode == "confidentiality"
        hint = "boot without lockdown=confidentiality: it forbids programs to read kernel memory" if strict else ""
        yield Finding("rights", "lockdown", "gap" if strict else "ok", mode, hint)
    modules = read_text("/sys/kernel/security/lsm")
    if modules:
        has_bpf = "bpf" in modules.split(",")
        hint = "" if has_bpf else f"LSM programs attach and never run; boot with lsm={modules},bpf"
        yield Finding("rights", "LSM list", "ok" if has_bpf else "gap", modules, hint)
    if _release(os.uname().release) < _UNCHARGED_RELEASE:
        soft, _hard = resource.getrlimit(resource.RLIMIT_MEMLOCK)
        is_free = soft == resource.RLIM_INFINITY or _has("CAP_SYS_RESOURCE")
        detail = "unlimited" if soft == resource.RLIM_INFINITY else f"{soft >> 10} KiB"
        hint = "" if is_free else "ulimit -l unlimited: kernels before 5.11 count maps as locked memory"
        yield Finding("rights", "locked memory", "ok" if is_free else "gap", detail, hint)
    for name, path, bad, text, remedy, hint in _SYSCTLS:
        value = read_text(path)
        if value:
            is_bad = value in bad and not is_admin and not _has(remedy)
            yield Finding("rights", name, "gap" if is_bad else "ok", f"{value}{text if is_bad else ''}", hint if is_bad else "")
    yield _kernel_symbols()


def _kernel_symbols() -> Finding:
    """Tell whether addresses of the kernel have names, which two sysctls and CAP_SYSLOG decide (``kallsyms_show_value``)."""
    name, value = "kernel.kptr_restrict", read_text("/proc/sys/kernel/kptr_restrict")
    try:
        with open("/proc/kallsyms", "rb") as file:
            is_shown = any(int(line.split()[0], 16) for line, _ in zip(file, range(1000), strict=False))
    except (OSError, ValueError):
        return Finding("rights", name, "unknown", "there is no /proc/kallsyms to be read", "")
    if is_shown:
        return Finding("rights", name, "ok", value)
    remedy = "sysctl kernel.kptr_restrict=0 kernel.perf_event_paranoid=1"
    if value == "2":
        remedy = "sysctl kernel.kptr_restrict=1, and CAP_SYSLOG"
    elif not _has("CAP_SYSLOG"):
        remedy = f"CAP_SYSLOG, or {remedy}"
    return Finding(
        "rights", name, "gap", f"{value}: no addresses of kernel symbols, so stacks and addresses have no names", remedy
    )


# What each capability is for; without CAP_BPF nothing runs.
_WHAT_FOR = {
    "CAP_BPF": "all programs and maps",
    "CAP_PERFMON": "probes, tracepoints, perf events and whatever reads kernel memory",
    "CAP_NET_ADMIN": "programs of interfaces, sockets and control groups",
}
# Programs of few kinds take more.
_WHAT_SOME_NEED = {
    "CAP_SYS_ADMIN": 'no uprobes and no USDT probes, but for SEC("uprobe.multi"), and no --stats and --max-overhead',
    "CAP_NET_RAW": "no socket filters",
}
# What matters only to those who are not root. (name, file, values that refuse, what they mean, what lifts that, what to do)
_SYSCTLS = (
    (
        "kernel.perf_event_paranoid",
        "/proc/sys/kernel/perf_event_paranoid",
        "1234",
        ": no perf events of the kernel, probes included",
        "CAP_PERFMON",
        "CAP_PERFMON",
    ),
    (
        "kernel.unprivileged_bpf_disabled",
        "/proc/sys/kernel/unprivileged_bpf_disabled",
        "12",
        ": nothing may be loaded without CAP_BPF",
        "CAP_BPF",
        "CAP_BPF",
    ),
)


def _has(capability: str) -> bool:
    return bool(held_capabilities() >> CAPABILITIES[capability] & 1)


# --- mounts ---


def _mounts() -> Iterator[Finding]:
    mounted = {line.split()[2]: line.split()[1] for line in read_text("/proc/self/mounts").splitlines()}
    for kind, what, otherwise in (
        ("tracefs", "/sys/kernel/tracing", "a run that needs it mounts it for itself alone"),
        ("bpf", "/sys/fs/bpf", "only pins and tokens need it"),
        ("cgroup2", "/sys/fs/cgroup", "programs of control groups need it"),
    ):
        place = mounted.get(kind)
        detail, hint = f"at {place}", ""
        if place and kind == "tracefs" and not os.access(f"{place}/events", os.X_OK):
            detail, hint = f"at {place}, and cannot be read: tracepoints need it", hint_for_tracefs()
        elif not place:
            detail = f"not mounted; {otherwise}"
            can_do_without = kind == "bpf" or (kind == "tracefs" and _has("CAP_SYS_ADMIN"))
            hint = "" if can_do_without else f"mount -t {kind} {kind} {what}"
        yield Finding("mounts", kind, "gap" if hint else "ok", detail, hint)


# --- types of programs and maps ---

# enum bpf_prog_type and enum bpf_map_type of include/uapi/linux/bpf.h: what libbpf knows to try, with what it is for.
_PROGRAM_TYPES = {
    5: "tracepoint",
    17: "raw tracepoint",
    2: "kprobe, uprobe, USDT",
    7: "perf event",
    26: "fentry, fexit",
    29: "LSM",
    6: "XDP",
    3: "tc, TCX",
    32: "netfilter",
    8: "cgroup packets",
    9: "cgroup sockets",
    18: "cgroup addresses",
    25: "cgroup socket options",
    23: "cgroup sysctl",
    15: "cgroup devices",
    13: "sockops",
    14: "socket map, streams",
    16: "socket map, messages",
    30: "socket lookup",
    1: "socket filter",
    22: "flow dissector",
    27: "struct_ops",
    31: "syscall",
}
_MAP_TYPES = {
    1: "hash",
    2: "array",
    5: "per-CPU hash",
    6: "per-CPU array",
    9: "LRU hash",
    11: "LPM trie",
    7: "stack trace",
    4: "perf event array",
    27: "ring buffer",
    31: "user ring buffer",
    12: "array of maps",
    22: "queue",
    30: "bloom filter",
    29: "task storage",
    24: "socket storage",
    32: "cgroup storage",
    33: "arena",
}


def _types(topic: str, types: dict[int, str], probe: object) -> Iterator[Finding]:
    for number, name in types.items():
        result: int = probe(number, None)  # type: ignore[operator]
        log.take()
        if result == 1:
            yield Finding(topic, name, "ok", "loads" if topic == "programs" else "can be made")
        elif result == 0:
            refusal = advice_for_refusal([number] if topic == "programs" else [])
            yield Finding(topic, name, "gap", "refused", f"a newer kernel, or one that is built with it; else {refusal}")
        else:
            hint = advice_for_refusal([number] if topic == "programs" else []) if -result == errno.EPERM else ""
            yield Finding(topic, name, "unknown", os.strerror(-result), hint)
