"""Attaching programs: by what their section says, else by what the package says of them."""

from __future__ import annotations

import errno

from ecli_runtime.errors import AttachError, LibbpfError, describe_errno
from ecli_runtime.libbpf.object import PROG_TYPE_PERF_EVENT, PROG_TYPE_SCHED_CLS, PROG_TYPE_XDP

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ecli_runtime.libbpf.object import Link, LoadedProgram
    from ecli_schemas.model import Json

LOOPBACK_IFINDEX = 1  # upstream's default, and always there
SAMPLE_FREQUENCY_HZ = 99  # not 100: in step with nothing that runs every so many milliseconds


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
        from ecli_runtime.perf import online_cpus

        for cpu in online_cpus():
            yield program.attach_perf_event(_open_clock(program.name, cpu))
    else:
        yield program.attach()


def _integer(value: Json, default: int) -> int:
    return value if isinstance(value, int) else default


def _open_clock(name: str, cpu: int) -> int:
    """Return a descriptor of the CPU clock's perf event on one CPU."""
    from ecli_runtime.perf import COUNT_SW_CPU_CLOCK, FLAG_FREQ, open_software_event

    try:
        return open_software_event(COUNT_SW_CPU_CLOCK, cpu, sample_freq=SAMPLE_FREQUENCY_HZ, flags=FLAG_FREQ)
    except LibbpfError as error:
        message = f"{name}: cannot sample CPU {cpu}: {describe_errno(error.errno)}"
        from ecli_runtime.permissions import hint_for_refusal

        is_refused = error.errno in (errno.EPERM, errno.EACCES)
        hint = hint_for_refusal() if is_refused else "this machine may have no such event"
        raise AttachError(error.function, error.errno, "", message, hint) from error
