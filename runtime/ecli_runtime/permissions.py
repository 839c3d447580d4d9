"""Why the kernel refuses, with EPERM, to load or attach: who asks has not the right, or nobody has it here.

Imported only when that has happened, or by `ecli-py doctor`, which says the same before.
"""

from __future__ import annotations

import re

from ecli_runtime.errors import LibbpfError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

MEMORY_HINT = "kernels before 5.11 count maps as locked memory: raise its limit with `ulimit -l unlimited`"

# Bits of include/uapi/linux/capability.h.
CAPABILITIES = {
    "CAP_DAC_READ_SEARCH": 2,
    "CAP_NET_ADMIN": 12,
    "CAP_NET_RAW": 13,
    "CAP_SYS_ADMIN": 21,
    "CAP_SYS_RESOURCE": 24,
    "CAP_SYSLOG": 34,
    "CAP_PERFMON": 38,
    "CAP_BPF": 39,
}
# enum bpf_prog_type → what it takes besides CAP_BPF: is_net_admin_prog_type and is_perfmon_prog_type in kernel/bpf/syscall.c for
# loading, and what attaching checks: links of network and user namespaces, control groups, packet sockets.
_NEEDS = {
    **dict.fromkeys((2, 5, 7, 17, 24, 26, 27, 29), ("CAP_PERFMON",)),  # probes, tracepoints, perf events, BTF, struct_ops, LSM
    **dict.fromkeys((3, 4, 6, 10, 11, 12, 13, 14, 16, 19, 22, 32), ("CAP_NET_ADMIN",)),  # packets, sockops, sockets, netfilter
    **dict.fromkeys((8, 9, 15, 18, 23, 25, 30), ("CAP_NET_ADMIN",)),  # control groups, sk_lookup
    28: ("CAP_NET_ADMIN", "CAP_PERFMON"),  # freplace
    1: ("CAP_NET_RAW",),  # the packet socket that a filter is put on
}
# enum bpf_map_type: of devices, of sockets, of XDP sockets (map_create in kernel/bpf/syscall.c).
_NETWORK_MAPS = frozenset((14, 15, 17, 18, 25))
_SECURITY = "/sys/kernel/security/"


def needed_for(types: Iterable[int]) -> list[str]:
    """Return the capabilities that programs of some types need, CAP_BPF first."""
    return list(dict.fromkeys(["CAP_BPF", *(name for kind in types for name in _NEEDS.get(kind, ()))]))


def missing(names: Iterable[str]) -> list[str]:
    """Return which of some capabilities this process has not. CAP_SYS_ADMIN stands for CAP_BPF and CAP_PERFMON, as to bpf(2)."""
    held = held_capabilities()
    admin = held >> CAPABILITIES["CAP_SYS_ADMIN"] & 1
    return [name for name in names if not held >> CAPABILITIES[name] & 1 and not (admin and name in ("CAP_BPF", "CAP_PERFMON"))]


def held_capabilities() -> int:
    """Return the capabilities in force for this thread, a bit each."""
    found = re.search(r"^CapEff:\s*([0-9a-f]+)$", read_text("/proc/thread-self/status"), re.MULTILINE)
    return int(found[1], 16) if found else 0


def lockdown() -> str:
    """Return the mode of lockdown, ``none``, ``integrity`` or ``confidentiality``; empty text where that is not to be seen."""
    found = re.search(r"\[(\w+)\]", read_text(_SECURITY + "lockdown"))
    return found[1] if found else ""


def advice_for_missing(absent: Iterable[str]) -> str:
    """Return what to do about capabilities that are not there."""
    return f"run it as root (sudo), or with {' and '.join(absent)}"


def hint_for_missing(absent: Iterable[str]) -> str:
    """Return the same for an error, with where to find more."""
    return f"{advice_for_missing(absent)}; `ecli-py doctor` shows what there is"


def is_in_user_namespace() -> bool:
    """Tell whether this is not the first user namespace: root is then nobody to the kernel, but for what a BPF token grants."""
    return read_text("/proc/self/uid_map").split() != ["0", "0", "4294967295"]


def advice_for_refusal(types: Iterable[int] = ()) -> str:
    """Return what to try when the kernel refuses with EPERM: to become root, or what refuses even root.

    Args:
        types: Types of the programs concerned, ``enum bpf_prog_type``.
    """
    absent = missing(needed_for(types))
    if absent:
        return advice_for_missing(absent)
    if is_in_user_namespace():
        return (
            "root of a user namespace (a container) may not do this: run it outside, in a privileged container, or with "
            "--token PATH of a bpffs that delegates it"
        )
    modules, mode = read_text(_SECURITY + "lsm"), lockdown()
    found = [f"security modules here: {modules}"] if modules else []
    if mode not in ("", "none"):
        found.append(f"lockdown: {mode}")
    told = f" ({'; '.join(found)})" if found else f"; {_SECURITY}lsm lists the modules where securityfs is mounted"
    return f"it is not the lack of privileges: a security module or a lockdown of this kernel refuses{told}"


def hint_for_refusal(types: Iterable[int] = ()) -> str:
    """Return the same for an error, with where to find more."""
    return f"{advice_for_refusal(types)}; `ecli-py doctor` shows what there is"


def explain_refusal(error: LibbpfError, programs: Mapping[str, tuple[str, int]], maps: Mapping[str, int]) -> LibbpfError:
    """Return the error that the kernel refused with EPERM to load an object.

    Args:
        error: What libbpf said.
        programs: Program that is to be loaded → its section and its type.
        maps: Map → its type.
    """
    needed = needed_for(kind for _section, kind in programs.values())
    if any(kind in _NETWORK_MAPS for kind in maps.values()):
        needed = list(dict.fromkeys([*needed, "CAP_NET_ADMIN"]))
    absent = missing(needed)
    failed_map = re.search(r"map '([^']*)': failed to create", error.log)
    failed_program = re.search(r"prog '([^']*)': (?:BPF program load failed|failed to load)", error.log)
    message = "no permission to load eBPF programs"
    if failed_program:
        section, kind = programs.get(failed_program[1], ("?", 0))
        if not absent:
            message, hint = (
                f"{failed_program[1]}: this kernel permits nobody to load a program of {section}",
                hint_for_refusal([kind]),
            )
        else:
            message, hint = f"{failed_program[1]}: no permission to load a program of {section}", hint_for_missing(absent)
    elif failed_map and "CAP_BPF" not in absent:
        message = f"no permission to create map {failed_map[1]}"
        hint = hint_for_missing(absent) if maps.get(failed_map[1]) in _NETWORK_MAPS and absent else MEMORY_HINT
    elif absent:
        hint = hint_for_missing(absent)
    else:
        hint = hint_for_refusal(kind for _section, kind in programs.values())
    return LibbpfError(error.function, error.errno, error.log, message, hint)


def read_text(path: str) -> str:
    """Return what a file of the kernel says, without blanks around it; nothing where it cannot be read."""
    try:
        with open(path) as file:
            return file.read().strip()
    except OSError:
        return ""
