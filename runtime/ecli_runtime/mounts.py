"""File systems that attaching needs and that a minimal machine may not have mounted."""

from __future__ import annotations

import os

from ecli_runtime.background import Background
from ecli_runtime.errors import EcliError
from ecli_runtime.libbpf._ffi import libc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

TRACEFS = "/sys/kernel/tracing"
DEBUGFS_TRACING = "/sys/kernel/debug/tracing"
CGROUP2 = "/sys/fs/cgroup"
SECURITYFS = "/sys/kernel/security"

CLONE_NEWNS = 0x0002_0000  # include/uapi/linux/sched.h
MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REC, MS_SLAVE = 0x2, 0x4, 0x8, 0x4000, 0x8_0000  # include/uapi/linux/mount.h


def has_tracefs() -> bool:
    """Tell whether tracefs is mounted where libbpf looks up the ids of tracepoints."""
    return os.path.isdir(f"{TRACEFS}/events") or os.path.isdir(f"{DEBUGFS_TRACING}/events")


def hint_for_tracefs() -> str:
    """Return how somebody who is not root gets to read tracefs, of which only root may see anything at first."""
    return (
        f"let a group read it: mount -o remount,mode=750,gid=GROUP {TRACEFS}; or run it with CAP_DAC_READ_SEARCH, or as root "
        '(sudo); programs of SEC("raw_tp/…"), SEC("tp_btf/…"), uprobes and USDT probes do without'
    )


def need_tracefs() -> None:
    """Make sure that tracefs is mounted. Where it is not, this thread moves to a mount namespace of its own and mounts it there.

    Nobody else sees the mount, not even other threads of this process, and it ends with the thread.

    Raises:
        EcliError: It is not mounted, and mounting it is not permitted; or it cannot be read.
    """
    if not has_tracefs():
        _check_readable()
        _mount_for_this_thread("tracefs", TRACEFS)


def _check_readable() -> None:
    try:
        os.stat(f"{TRACEFS}/events")
    except PermissionError as error:
        raise EcliError(f"tracefs cannot be read at {TRACEFS}: {error.strerror}", hint_for_tracefs()) from error
    except OSError:
        return


def _mount_for_this_thread(kind: str, directory: str) -> None:
    try:
        libc.unshare(CLONE_NEWNS)
        libc.mount(None, b"/", None, MS_REC | MS_SLAVE, None)
        libc.mount(kind.encode(), directory.encode(), kind.encode(), MS_NOSUID | MS_NODEV | MS_NOEXEC, None)
    except OSError as error:
        raise EcliError(
            f"{kind} is not mounted, and mounting it failed ({error.strerror})", f"mount -t {kind} {kind} {directory}"
        ) from error


def with_tracefs(action: Callable[[], None]) -> None:
    """Do something that needs tracefs, where it is not mounted in a thread made for that: this thread stays where it is.

    Args:
        action: What to do; called once, and what it raises is raised again.

    Raises:
        EcliError: It is not mounted, and mounting it is not permitted; or it cannot be read.
    """
    if has_tracefs():
        action()
        return
    _check_readable()

    def mount_and_act() -> None:
        need_tracefs()
        action()

    Background(mount_and_act).result()


def cgroup2_mounts() -> list[str]:
    """Return where control groups of version 2 are mounted and not hidden by another mount (proc(5), mountinfo)."""
    found = []
    with open("/proc/thread-self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            before, _, after = line.partition(" - ")
            device, _root, directory = before.split(" ")[2:5]
            directory = directory.replace("\\040", " ")
            if after.startswith("cgroup2 ") and _device(directory) == device:
                found.append(directory)
    return list(dict.fromkeys(found))


def _device(path: str) -> str:
    """Return the device of the file system that is to be seen at a path; empty text if nothing is."""
    try:
        number = os.stat(path).st_dev
    except OSError:
        return ""
    return f"{os.major(number)}:{os.minor(number)}"


def with_cgroup2(action: Callable[[], None]) -> None:
    """Do something that needs control groups of version 2, as :func:`with_tracefs` does for tracefs.

    Raises:
        EcliError: They are not mounted, and mounting them is not permitted.
    """
    _with_mount("cgroup2", CGROUP2, bool(cgroup2_mounts()), action)


def with_securityfs(action: Callable[[], None]) -> None:
    """Do something that needs securityfs, as :func:`with_tracefs` does for tracefs.

    Raises:
        EcliError: It is not mounted, and mounting it is not permitted.
    """
    _with_mount("securityfs", SECURITYFS, os.path.exists(f"{SECURITYFS}/lsm"), action)


def _with_mount(kind: str, directory: str, is_mounted: bool, action: Callable[[], None]) -> None:
    if is_mounted:
        action()
        return

    def mount_and_act() -> None:
        _mount_for_this_thread(kind, directory)
        action()

    Background(mount_and_act).result()
