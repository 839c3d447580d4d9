"""What a run costs: how often its programs run and for how long, as the kernel measures it, and what this process uses."""

from __future__ import annotations

import ctypes
import errno
import os
import time
from ctypes import c_char, c_uint8, c_uint32, c_uint64

from ecli_runtime.errors import LibbpfError, UnsupportedFeatureError
from ecli_runtime.libbpf._ffi import lib
from ecli_schemas.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

_STATS_RUN_TIME = 0  # BPF_STATS_RUN_TIME of enum bpf_stats_type, include/uapi/linux/bpf.h


class ProgramInfo(ctypes.Structure):
    """``struct bpf_prog_info`` (include/uapi/linux/bpf.h) up to what Linux 5.12 added; an older kernel leaves that zero."""

    _fields_ = (
        ("type", c_uint32),
        ("id", c_uint32),
        ("tag", c_uint8 * 8),
        ("jited_prog_len", c_uint32),
        ("xlated_prog_len", c_uint32),
        ("jited_prog_insns", c_uint64),
        ("xlated_prog_insns", c_uint64),
        ("load_time", c_uint64),
        ("created_by_uid", c_uint32),
        ("nr_map_ids", c_uint32),
        ("map_ids", c_uint64),
        ("name", c_char * 16),
        ("ifindex", c_uint32),
        ("gpl_compatible", c_uint32),
        ("netns_dev", c_uint64),
        ("netns_ino", c_uint64),
        ("nr_jited_ksyms", c_uint32),
        ("nr_jited_func_lens", c_uint32),
        ("jited_ksyms", c_uint64),
        ("jited_func_lens", c_uint64),
        ("btf_id", c_uint32),
        ("func_info_rec_size", c_uint32),
        ("func_info", c_uint64),
        ("nr_func_info", c_uint32),
        ("nr_line_info", c_uint32),
        ("line_info", c_uint64),
        ("jited_line_info", c_uint64),
        ("nr_jited_line_info", c_uint32),
        ("line_info_rec_size", c_uint32),
        ("jited_line_info_rec_size", c_uint32),
        ("nr_prog_tags", c_uint32),
        ("prog_tags", c_uint64),
        ("run_time_ns", c_uint64),
        ("run_cnt", c_uint64),
        ("recursion_misses", c_uint64),
    )


class ProgramUsage(Record):
    """What the kernel has measured of a program.

    Attributes:
        name: Name of the program.
        runs: How often it ran.
        time_ns: How long that took in all.
        missed: How often it did not run, because it, or another one, was at work already where that is not possible.
    """

    name: str
    runs: int
    time_ns: int
    missed: int


class Usage(Record):
    """What a run has cost in some time.

    Attributes:
        seconds: How long that time was.
        programs: What its programs used.
        cpu_s: CPU time of this process, all of its threads.
        memory_bytes: The most memory that this process has had at a time (``VmHWM``), since it began.
    """

    seconds: float
    programs: tuple[ProgramUsage, ...]
    cpu_s: float
    memory_bytes: int

    @property
    def share(self) -> float:
        """What programs and process together used of one CPU: 0.01 is 1 %, on two CPUs it can be 2."""
        used_s = self.cpu_s + sum(each.time_ns for each in self.programs) / 1e9
        return used_s / self.seconds if self.seconds > 0 else 0.0

    def since(self, before: Usage) -> Usage:
        """Return what was used after another look."""
        known = {each.name: each for each in before.programs}
        nothing = ProgramUsage("", 0, 0, 0)
        programs = tuple(
            ProgramUsage(each.name, each.runs - old.runs, each.time_ns - old.time_ns, each.missed - old.missed)
            for each in self.programs
            for old in (known.get(each.name, nothing),)
        )
        return Usage(self.seconds - before.seconds, programs, self.cpu_s - before.cpu_s, self.memory_bytes)


class Meter:
    """Makes the kernel measure programs until it is closed, or this process ends: all of them, at two looks at a clock a run.

    Raises:
        UnsupportedFeatureError: The kernel cannot measure for the time that a descriptor is open.
        LibbpfError: The kernel refused.
    """

    def __init__(self) -> None:
        try:
            self._fd = lib.bpf_enable_stats(_STATS_RUN_TIME)
        except LibbpfError as error:
            if error.errno == errno.EINVAL:  # d46edd671a14
                raise UnsupportedFeatureError("measuring programs", "Linux 5.8", os.uname().release) from error
            from ecli_runtime.permissions import hint_for_missing, hint_for_refusal, missing

            absent = missing(["CAP_SYS_ADMIN"])
            hint = hint_for_missing(absent) if absent else hint_for_refusal()
            raise LibbpfError(error.function, error.errno, error.log, "cannot measure programs", hint) from error
        self.restart()

    def restart(self) -> None:
        """Count time and the use of this process from now on."""
        self._began, self._cpu_began_s = time.monotonic(), time.process_time()

    def usage(self, programs: Mapping[str, int]) -> Usage:
        """Return what was used so far.

        Args:
            programs: Descriptors of the programs by their names.

        Raises:
            LibbpfError: The kernel does not tell.
        """
        measured = program_usage(programs)
        now, cpu_s = time.monotonic(), time.process_time()
        return Usage(now - self._began, measured, cpu_s - self._cpu_began_s, peak_memory_bytes())

    def close(self) -> None:
        """Measure no longer; a second call does nothing."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def kernel_measures() -> bool:
    """Tell whether the kernel measures all programs because the administrator wants it to (``kernel.bpf_stats_enabled``)."""
    from ecli_runtime.permissions import read_text

    return read_text("/proc/sys/kernel/bpf_stats_enabled") == "1"


def program_usage(programs: Mapping[str, int]) -> tuple[ProgramUsage, ...]:
    """Return what the kernel has measured of programs; arguments and errors as :meth:`Meter.usage`."""
    return tuple(_measured(name, fd) for name, fd in programs.items())


def _measured(name: str, fd: int) -> ProgramUsage:
    info, size = ProgramInfo(), c_uint32(ctypes.sizeof(ProgramInfo))
    lib.bpf_obj_get_info_by_fd(fd, ctypes.byref(info), ctypes.byref(size))
    return ProgramUsage(name, info.run_cnt, info.run_time_ns, info.recursion_misses)


def peak_memory_bytes() -> int:
    """Return the most memory that this process has had at a time."""
    # Not getrusage(2), whose maximum a child takes over from its parent.
    with open("/proc/self/status") as file:
        return next((int(line.split()[1]) << 10 for line in file if line.startswith("VmHWM:")), 0)
