"""File systems that attaching needs and that a minimal machine may not have mounted."""

from __future__ import annotations

import os

from ecli_runtime.errors import EcliError
from ecli_runtime.libbpf._ffi import libc

TRACEFS = "/sys/kernel/tracing"
DEBUGFS_TRACING = "/sys/kernel/debug/tracing"

CLONE_NEWNS = 0x0002_0000  # include/uapi/linux/sched.h
MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REC, MS_SLAVE = 0x2, 0x4, 0x8, 0x4000, 0x8_0000  # include/uapi/linux/mount.h


def need_tracefs() -> None:
    """Make sure that libbpf finds tracefs (it looks up the ids of tracepoints there).

    Where it is not mounted, this thread moves to a mount namespace of its own and mounts it there: nobody else sees the mount,
    and it ends with the process.

    Raises:
        EcliError: It is not mounted, and mounting it is not permitted.
    """
    if os.path.isdir(f"{TRACEFS}/events") or os.path.isdir(f"{DEBUGFS_TRACING}/events"):
        return
    try:
        libc.unshare(CLONE_NEWNS)
        libc.mount(None, b"/", None, MS_REC | MS_SLAVE, None)
        libc.mount(b"tracefs", TRACEFS.encode(), b"tracefs", MS_NOSUID | MS_NODEV | MS_NOEXEC, None)
    except OSError as error:
        raise EcliError(
            f"tracefs is not mounted, and mounting it failed ({error.strerror})", f"mount -t tracefs tracefs {TRACEFS}"
        ) from error
