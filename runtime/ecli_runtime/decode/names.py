"""Names of numbers: errors, signals, users, groups, system calls."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

# Numbers from 1, include/uapi/asm-generic/signal.h: those of x86, arm64, riscv and s390. Real-time signals have no names in the
# kernel, and other ones in each C library.
_SIGNALS = (
    "HUP INT QUIT ILL TRAP ABRT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM STKFLT"
    " CHLD CONT STOP TSTP TTIN TTOU URG XCPU XFSZ VTALRM PROF WINCH IO PWR SYS"
)
# include/linux/errno.h: they never reach programs, but programs in the kernel see them.
_KERNEL_ERRORS = {
    512: "ERESTARTSYS",
    513: "ERESTARTNOINTR",
    514: "ERESTARTNOHAND",
    515: "ENOIOCTLCMD",
    516: "ERESTART_RESTARTBLOCK",
    517: "EPROBE_DEFER",
    518: "EOPENSTALE",
    519: "ENOPARAM",
    521: "EBADHANDLE",
    522: "ENOTSYNC",
    523: "EBADCOOKIE",
    524: "ENOTSUPP",
    525: "ETOOSMALL",
    526: "ESERVERFAULT",
    527: "EBADTYPE",
    528: "EJUKEBOX",
    529: "EIOCBQUEUED",
    530: "ERECALLCONFLICT",
}
# Of several names of a number, the kernel's.
_ERRORS = {11: "EAGAIN", 35: "EDEADLK", 95: "EOPNOTSUPP", **_KERNEL_ERRORS}
_SYSCALLS = os.path.join(os.path.dirname(__file__), "_syscalls")


def names_of(meaning: str, arch: str = "") -> Mapping[int, str]:
    """Return the names that the numbers of a meaning have; nothing for a meaning that names none.

    Users and groups are those of this machine's files, without directory services. Numbers of errors are Linux's only where this
    is Linux.

    Args:
        meaning: ``errno``, ``signal``, ``uid``, ``gid`` or ``syscall``.
        arch: The machine that the events are from, as ``uname -m`` has it; system calls differ.
    """
    if meaning == "errno":
        return _errors() if sys.platform == "linux" else {}
    if meaning == "signal":
        return {number: f"SIG{name}" for number, name in enumerate(_SIGNALS.split(), 1)}
    if meaning in ("uid", "gid"):
        return _ids("/etc/passwd" if meaning == "uid" else "/etc/group")
    return _syscalls(arch) if meaning == "syscall" else {}


def _errors() -> dict[int, str]:
    from errno import errorcode

    names = {**errorcode, **_ERRORS}
    return {**names, **{-number: name for number, name in names.items()}}  # functions of the kernel return negative ones


def _ids(path: str) -> dict[int, str]:
    """Read the third field of each line (passwd(5), group(5)); the first name of an id counts."""
    found: dict[int, str] = {}
    for line in _lines(path):
        fields = line.split(":")
        if len(fields) > 3 and fields[0] and fields[2].isdecimal():
            found.setdefault(int(fields[2]), fields[0])
    return found


def _syscalls(arch: str) -> dict[int, str]:
    """Read the table that ``tools/build-syscalls`` has made; without one there are only numbers."""
    if not arch.isidentifier():  # it may come from a recording
        return {}
    rows = [line.split() for line in _lines(os.path.join(_SYSCALLS, arch))]
    return {int(number): name for number, name in rows}


def _lines(path: str) -> list[str]:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read().splitlines()
    except OSError:
        return []
