"""Giving up what only loading and attaching take: capabilities, and the chance to get any back (capabilities(7)).

Capabilities belong to threads. They are given up by the thread that attached, before it makes others, which inherit what it has.
What stays works by descriptors: the kernel asks who opened them, not who reads them.
"""

from __future__ import annotations

import ctypes
import errno
import os
import sys

from ecli_runtime.libbpf._ffi import CapData, CapHeader, lib, libc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import BinaryIO

# Bits of include/uapi/linux/capability.h.
CAP_DAC_READ_SEARCH, CAP_NET_ADMIN, CAP_SYS_ADMIN, CAP_BPF = 2, 12, 21, 39
# What it takes to name the functions of other users' processes: to see their maps and root directories, to open map_files, and to
# search that directory and read what is there: CAP_SYS_PTRACE, CAP_CHECKPOINT_RESTORE (Linux 5.9), CAP_DAC_READ_SEARCH.
TO_READ_PROCESSES = (19, 40, CAP_DAC_READ_SEARCH)
_VERSION_3 = 0x20080522  # _LINUX_CAPABILITY_VERSION_3: two words of each set
_SET_NO_NEW_PRIVS = 38  # PR_SET_NO_NEW_PRIVS, include/uapi/linux/prctl.h
_KALLSYMS = "/proc/kallsyms"

_held: dict[str, int] = {}


def give_up(keep: Iterable[int]) -> None:
    """Give up all capabilities of this thread but some, and let no program that it starts get any.

    Two are kept also where trying shows that nothing works without: CAP_BPF, and CAP_DAC_READ_SEARCH.

    Args:
        keep: Bits of those that are still needed.

    Raises:
        OSError: The kernel refused.
    """
    _hold(_KALLSYMS)
    places = [place for place in _own_places() if _is_readable(place)]
    libc.prctl(_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    header = CapHeader(version=_VERSION_3)
    held = (CapData * 2)()
    libc.capget(ctypes.byref(header), held)
    permitted = held[0].permitted | held[1].permitted << 32
    kept = sum(1 << bit for bit in set(keep)) & permitted
    _set(header, kept, permitted)
    if not _may_ask():
        kept |= (1 << CAP_BPF) & permitted or (1 << CAP_SYS_ADMIN) & permitted
    if not all(map(_is_readable, places)):
        kept |= (1 << CAP_DAC_READ_SEARCH) & permitted
    _set(header, kept, kept)


def _set(header: CapHeader, effective: int, permitted: int) -> None:
    low, high = 0xFFFFFFFF, 32
    words = (CapData * 2)(
        CapData(effective & low, permitted & low, 0),
        CapData(effective >> high, permitted >> high, 0),
    )
    libc.capset(ctypes.byref(header), words)  # what is no longer permitted is no longer ambient either


def _may_ask() -> bool:
    """Tell whether bpf(2) answers, also about what is open.

    Before Linux 5.19 (c8644cd0efe7) it asks for CAP_BPF first of all, if ``kernel.unprivileged_bpf_disabled`` is set.
    """
    key = ctypes.create_string_buffer(1)
    return bool(lib.bpf_map_get_next_key(-1, None, key) != -errno.EPERM)


def _own_places() -> set[str]:
    """Return where modules come from that are imported later. The first is where the script is, or the working directory."""
    return {os.path.dirname(__file__), os.path.dirname(os.__file__), *sys.path[1:]}


def _is_readable(directory: str) -> bool:
    """Tell whether a directory can be listed and its files opened: one in somebody's home may not, by root without rights."""
    try:
        os.close(os.open(f"{directory}/.", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
    except OSError:
        return False
    return True


def _hold(path: str) -> None:
    """Open a file while it is permitted to see all of it (``kallsyms_open`` asks for CAP_SYSLOG, not reading)."""
    if path not in _held:
        try:
            _held[path] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return


def open_held(path: str) -> BinaryIO:
    """Open a file, or read one again from its beginning that was opened before the capabilities were given up.

    Raises:
        OSError: It cannot be opened.
    """
    fd = _held.get(path)
    if fd is None:
        return open(path, "rb")
    os.lseek(fd, 0, os.SEEK_SET)
    return open(fd, "rb", closefd=False)
