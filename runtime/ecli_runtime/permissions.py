"""Why the kernel refuses, with EPERM, to load or attach: who asks has not the right, or nobody has it here.

Imported only when that has happened.
"""

from __future__ import annotations

from ecli_runtime.errors import LibbpfError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT_HINT = "run it as root (sudo), or with CAP_BPF and CAP_PERFMON (and CAP_NET_ADMIN for networking programs)"
MEMORY_HINT = "kernels before 5.11 count maps as locked memory: raise its limit with `ulimit -l unlimited`"

_CAP_SYS_ADMIN = 21  # include/uapi/linux/capability.h; stands for all capabilities that bpf(2) asks for
_SECURITY = "/sys/kernel/security/"


def hint_for_refusal() -> str:
    """Return what to try when the kernel refuses with EPERM: to become root, or what refuses even root."""
    if not _may_all():
        return ROOT_HINT
    if _read("/proc/self/uid_map").split() != ["0", "0", "4294967295"]:
        return "root of a user namespace (a container) may not do this: run it outside, or in a privileged container"
    import re

    modules, lockdown = _read(_SECURITY + "lsm"), re.search(r"\[(\w+)\]", _read(_SECURITY + "lockdown"))
    found = [f"security modules here: {modules}"] if modules else []
    if lockdown and lockdown[1] != "none":
        found.append(f"lockdown: {lockdown[1]}")
    told = f" ({'; '.join(found)})" if found else f"; {_SECURITY}lsm lists the modules where securityfs is mounted"
    return f"it is not the lack of privileges: a security module or a lockdown of this kernel refuses{told}"


def explain_refusal(error: LibbpfError, sections: Mapping[str, str]) -> LibbpfError:
    """Return the error that the kernel refused with EPERM to load an object.

    Args:
        error: What libbpf said.
        sections: Program → its section.
    """
    import re

    program = re.search(r"prog '([^']*)': (?:BPF program load failed|failed to load)", error.log)
    if not _may_all():
        message, hint = "no permission to load eBPF programs", ROOT_HINT
    elif program:
        section = sections.get(program[1], "?")
        message, hint = f"{program[1]}: this kernel permits nobody to load a program of {section}", hint_for_refusal()
    else:
        failed = re.search(r"map '([^']*)': failed to create", error.log)
        message = f"no permission to create map {failed[1]}" if failed else "no permission to load eBPF programs"
        hint = MEMORY_HINT if failed else hint_for_refusal()
    return LibbpfError(error.function, error.errno, error.log, message, hint)


def _may_all() -> bool:
    import re

    found = re.search(r"^CapEff:\s*([0-9a-f]+)$", _read("/proc/self/status"), re.MULTILINE)
    return found is not None and bool(int(found[1], 16) >> _CAP_SYS_ADMIN & 1)


def _read(path: str) -> str:
    try:
        with open(path) as file:
            return file.read().strip()
    except OSError:
        return ""
