"""Whether the kernel calls LSM programs at all: where ``bpf`` is not among the active modules it takes them, and never does."""

from __future__ import annotations

import errno

from ecli_runtime.errors import AttachError, EcliError
from ecli_runtime.mounts import with_securityfs

_LIST = "/sys/kernel/security/lsm"


def check_called(name: str) -> None:
    """See that a program of LSM would be called. Where the list of modules cannot be had, nothing is said.

    Args:
        name: The program's name.

    Raises:
        AttachError: It would not.
    """
    modules = _active_modules()
    if modules and "bpf" not in modules:
        # "capability" is always the first, and not to be named.
        parameter = ",".join([module for module in modules if module != "capability"] + ["bpf"])
        message = f"{name}: this kernel would never call it: bpf is not among its security modules ({','.join(modules)})"
        hint = f"boot it with the parameter lsm={parameter}"
        raise AttachError("bpf_program__attach_lsm", errno.EOPNOTSUPP, "", message, hint)


def _active_modules() -> list[str]:
    """Return the active security modules in the order of the kernel; none where securityfs cannot be mounted or read."""
    found: list[str] = []

    def read() -> None:
        with open(_LIST, encoding="ascii", errors="replace") as file:
            found.extend(file.read().strip().split(","))

    try:
        with_securityfs(read)
    except (EcliError, OSError):
        return []
    return found
