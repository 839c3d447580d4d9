"""Perf events: descriptors of ``perf_event_open(2)``, which has no wrapper in the C library."""

from __future__ import annotations

import ctypes
import os

from ecli_runtime.errors import LibbpfError
from ecli_runtime.libbpf._ffi import PerfEventAttr, libc

# include/uapi/linux/perf_event.h
TYPE_SOFTWARE = 1
COUNT_SW_CPU_CLOCK, COUNT_SW_BPF_OUTPUT = 0, 10
SAMPLE_RAW = 1 << 10  # PERF_SAMPLE_RAW
FORMAT_LOST = 1 << 4  # PERF_FORMAT_LOST, since Linux 6.0 (119a784c8127)
FLAG_INHERIT = 1 << 1  # what a thread makes is counted, too,
FLAG_INHERIT_THREAD = 1 << 35  # but no processes; since Linux 5.13
FLAG_FREQ = 1 << 10  # sample_freq is a frequency
_PERF_FLAG_FD_CLOEXEC = 8

# The kernel's syscall tables.
_PERF_EVENT_OPEN = {"x86_64": 298, "aarch64": 241, "riscv64": 241, "s390x": 331}


def online_cpus() -> list[int]:
    """Return the CPUs that are online, from a list such as ``0-3,8``."""
    with open("/sys/devices/system/cpu/online") as file:
        ranges = [part.partition("-") for part in file.read().strip().split(",")]
    return [cpu for first, _, last in ranges for cpu in range(int(first), int(last or first) + 1)]


def open_software_event(config: int, cpu: int, **settings: int) -> int:
    """Return a descriptor of a software event on one CPU, of all processes; see :func:`open_event`."""
    return open_event(TYPE_SOFTWARE, config, cpu, **settings)


def open_event(kind: int, config: int, cpu: int, pid: int = -1, **settings: int) -> int:
    """Return a descriptor of an event; the caller owns it.

    Args:
        kind: ``PERF_TYPE_…``.
        config: Which event of that type.
        cpu: CPU that is online; -1: any, for one thread.
        pid: Thread; -1: all of the CPU.
        settings: Further members of ``struct perf_event_attr``.

    Raises:
        LibbpfError: The kernel refused.
    """
    attr = PerfEventAttr(type=kind, size=ctypes.sizeof(PerfEventAttr), config=config, **settings)
    try:
        fd: int = libc.syscall(_PERF_EVENT_OPEN[os.uname().machine], attr, pid, cpu, -1, _PERF_FLAG_FD_CLOEXEC)
    except OSError as error:
        raise LibbpfError("perf_event_open", error.errno or 0) from error
    return fd
