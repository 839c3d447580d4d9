"""Attaching programs: by what their section says, else by what the package says of them."""

from __future__ import annotations

import ctypes
import errno
import os

from ecli_runtime.errors import AttachError, describe_errno
from ecli_runtime.libbpf._ffi import PerfEventAttr, libc
from ecli_runtime.libbpf.object import PROG_TYPE_PERF_EVENT, PROG_TYPE_SCHED_CLS, PROG_TYPE_XDP

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ecli_runtime.libbpf.object import Link, LoadedProgram
    from ecli_schemas.model import Json

LOOPBACK_IFINDEX = 1  # upstream's default, and always there
SAMPLE_FREQUENCY_HZ = 99  # not 100: in step with nothing that runs every so many milliseconds

# perf_event_open(2) has no wrapper in the C library; numbers from the kernel's syscall tables.
_PERF_EVENT_OPEN = {"x86_64": 298, "aarch64": 241, "riscv64": 241, "s390x": 331}
_PERF_TYPE_SOFTWARE, _PERF_COUNT_SW_CPU_CLOCK = 1, 0  # include/uapi/linux/perf_event.h
_FLAG_FREQ = 1 << 10  # sample_freq is a frequency
_PERF_FLAG_FD_CLOEXEC = 8


def attach(program: LoadedProgram, said: Mapping[str, Json]) -> Iterator[Link]:
    """Attach a program and yield its links as they are made; the caller owns them, also when a later one fails.

    Args:
        program: The program.
        said: What the package says of it (``ProgramSpec.attach``).

    Raises:
        AttachError: It could not be attached.
    """
    if program.type == PROG_TYPE_XDP:
        yield program.attach_interface(_integer(said.get("ifindex"), LOOPBACK_IFINDEX))
    elif program.type == PROG_TYPE_SCHED_CLS:
        hook = said.get("tchook")
        yield program.attach_interface(_integer(hook.get("ifindex") if isinstance(hook, dict) else None, LOOPBACK_IFINDEX))
    elif program.type == PROG_TYPE_PERF_EVENT:
        for cpu in _online_cpus():
            yield program.attach_perf_event(_open_clock(program.name, cpu))
    else:
        yield program.attach()


def _integer(value: Json, default: int) -> int:
    return value if isinstance(value, int) else default


def _online_cpus() -> list[int]:
    """Return the CPUs that are online, from a list such as ``0-3,8``."""
    with open("/sys/devices/system/cpu/online") as file:
        ranges = [part.partition("-") for part in file.read().strip().split(",")]
    return [cpu for first, _, last in ranges for cpu in range(int(first), int(last or first) + 1)]


def _open_clock(name: str, cpu: int) -> int:
    """Return a descriptor of the CPU clock's perf event on one CPU."""
    attr = PerfEventAttr(
        type=_PERF_TYPE_SOFTWARE,
        size=ctypes.sizeof(PerfEventAttr),
        config=_PERF_COUNT_SW_CPU_CLOCK,
        sample_freq=SAMPLE_FREQUENCY_HZ,
        flags=_FLAG_FREQ,
    )
    try:
        number: int = libc.syscall(_PERF_EVENT_OPEN[os.uname().machine], attr, -1, cpu, -1, _PERF_FLAG_FD_CLOEXEC)
    except OSError as error:
        code = error.errno or 0
        message = f"{name}: cannot sample CPU {cpu}: {describe_errno(code)}"
        from ecli_runtime.permissions import hint_for_refusal

        hint = hint_for_refusal() if code in (errno.EPERM, errno.EACCES) else "this machine may have no such event"
        raise AttachError("perf_event_open", code, "", message, hint) from error
    return number
