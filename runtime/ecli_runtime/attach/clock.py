"""Programs of perf events: a clock or a counter that runs them every so often, on each CPU or in one process."""

from __future__ import annotations

import errno
import os

from ecli_runtime.errors import AttachError, LibbpfError
from ecli_runtime.libbpf._ffi import lib
from ecli_runtime.perf import (
    COUNT_SW_CPU_CLOCK,
    FLAG_FREQ,
    FLAG_INHERIT,
    FLAG_INHERIT_THREAD,
    TYPE_SOFTWARE,
    online_cpus,
    open_event,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ecli_runtime.attach import Attacher
    from ecli_runtime.attach.target import Request
    from ecli_runtime.libbpf.object import Link, LoadedProgram

SAMPLE_FREQUENCY_HZ = 99  # not 100: in step with nothing that runs every so many milliseconds

# enum perf_hw_id and perf_sw_ids, include/uapi/linux/perf_event.h, by perf's names
_EVENTS = {
    "hardware": (
        *("cpu-cycles", "instructions", "cache-references", "cache-misses", "branch-instructions", "branch-misses"),
        *("bus-cycles", "stalled-cycles-frontend", "stalled-cycles-backend", "ref-cycles"),
    ),
    "software": (
        *("cpu-clock", "task-clock", "page-faults", "context-switches", "cpu-migrations", "minor-faults", "major-faults"),
        *("alignment-faults", "emulation-faults"),
    ),
}
_TYPES = {"hardware": 0, "software": TYPE_SOFTWARE}
# Software events that are no clocks are rare and of equal weight: each counts.
_EACH_FROM = 2
_HINTS = {
    errno.ENOENT: "this machine has no such counter, as virtual machines often have not: software:cpu-clock is everywhere",
    errno.EOPNOTSUPP: "this machine's counter cannot interrupt: software:cpu-clock is everywhere",
    errno.EINVAL: "the frequency may be above that of /proc/sys/kernel/perf_event_max_sample_rate",
    errno.EMFILE: "raise the limit of open files: `ulimit -n`",
    errno.ESRCH: "the process has ended; `ps` lists those that there are",
}
_EXAMPLES = "for example 99Hz, software:page-faults, hardware:cpu-cycles@1000000 (each so many) or hardware:cpu-cycles@99Hz"


class _Event:
    """Which event, and how often it runs the program: so many times a second, or each so many events."""

    def __init__(self, kind: str, number: int, count: int, is_frequency: bool) -> None:
        self.kind, self.number, self.count, self.is_frequency = kind, number, count, is_frequency

    def open(self, pid: int, cpu: int) -> int:
        """Return a descriptor of it on one CPU (and pid -1), or in one thread (and CPU -1) and the threads that it makes."""
        flags = FLAG_FREQ if self.is_frequency else 0
        if pid < 0:
            return self._open(pid, cpu, flags)
        try:
            return self._open(pid, cpu, flags | FLAG_INHERIT | FLAG_INHERIT_THREAD)
        except LibbpfError as error:
            if error.errno != errno.EINVAL:
                raise
            return self._open(pid, cpu, flags | FLAG_INHERIT)  # an older kernel also counts processes that it makes

    def _open(self, pid: int, cpu: int, flags: int) -> int:
        return open_event(_TYPES[self.kind], self.number, cpu, pid, sample_freq=self.count, flags=flags)

    def __str__(self) -> str:
        return f"{self.kind}:{_EVENTS[self.kind][self.number]}"


def prepare(request: Request) -> Attacher:
    """Find the event of a program, and whom it counts."""
    event = _parse(request)
    pid = request.pid
    if pid is None:
        return lambda program, _loaded: _attach_everywhere(program, event)
    return lambda program, _loaded: _attach_to_process(program, event, pid)


def _parse(request: Request) -> _Event:
    if request.text is None:
        return _Event("software", COUNT_SW_CPU_CLOCK, SAMPLE_FREQUENCY_HZ, is_frequency=True)
    text = request.text
    if text.removesuffix("Hz").isdecimal():  # a frequency alone
        text = f"software:cpu-clock@{text}"
    what, at, often = text.partition("@")
    kind, _, name = what.partition(":")
    if kind not in _EVENTS or name not in _EVENTS[kind]:
        known = [f"{each}:{name}" for each, names in _EVENTS.items() for name in names]
        raise request.wrong("no perf event", f"events: {', '.join(known)}; {_EXAMPLES}")
    number = _EVENTS[kind].index(name)
    if not at:
        each = kind == "software" and number >= _EACH_FROM
        return _Event(kind, number, 1 if each else SAMPLE_FREQUENCY_HZ, is_frequency=not each)
    count = often.removesuffix("Hz")
    if not (count.isascii() and count.isdigit() and 0 < int(count[:19]) < 1 << 63):
        raise request.wrong(f"{often!r} is neither a frequency nor a number of events", _EXAMPLES)
    return _Event(kind, number, int(count), is_frequency=often.endswith("Hz"))


def _attach_everywhere(program: LoadedProgram, event: _Event) -> Iterator[Link]:
    for cpu in online_cpus():
        try:
            fd = event.open(-1, cpu)
        except LibbpfError as error:
            raise program.explain(f"{event} on CPU {cpu}", error, _HINTS) from error
        yield _attach(program, event, fd)


def _attach_to_process(program: LoadedProgram, event: _Event, pid: int) -> Iterator[Link]:
    """Attach to each thread that a process has; the events of those that it makes later are their copies."""
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except OSError:
        threads = []
    attached = False
    for thread in threads:
        try:
            fd = event.open(int(thread), -1)
        except LibbpfError as error:
            if error.errno == errno.ESRCH:
                continue  # it has ended meanwhile
            raise program.explain(f"{event} in process {pid}", error, _HINTS) from error
        attached = True
        yield _attach(program, event, fd)
    if not attached:
        raise program.explain(f"{event} in process {pid}", LibbpfError("perf_event_open", errno.ESRCH), _HINTS)


def _attach(program: LoadedProgram, event: _Event, fd: int) -> Link:
    """Attach to a perf event, whose descriptor the link owns from then on."""
    try:
        return program.link(str(event), lib.bpf_program__attach_perf_event, fd)
    except AttachError:
        os.close(fd)
        raise
