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
    """Return a descriptor of a software event on one CPU, of all processes; the caller owns it.

    Args:
        config: ``COUNT_SW_…``.
        cpu: CPU that is online.
        settings: Further members of ``struct perf_event_attr``.

    Raises:
        LibbpfError: The kernel refused.
    """
    attr = PerfEventAttr(type=TYPE_SOFTWARE, size=ctypes.sizeof(PerfEventAttr), config=config, **settings)
    try:
        fd: int = libc.syscall(_PERF_EVENT_OPEN[os.uname().machine], attr, -1, cpu, -1, _PERF_FLAG_FD_CLOEXEC)
    except OSError as error:
        raise LibbpfError("perf_event_open", error.errno or 0) from error
    return fd
