"""One run of a package that is loaded: attach, read events until told to stop, leave nothing behind."""

from __future__ import annotations

import os
import select
import time

from ecli_runtime.errors import TargetError
from ecli_runtime.libbpf.object import MAP_TYPE_RINGBUF
from ecli_runtime.mounts import with_tracefs
from ecli_runtime.opening import DEFAULT_LATENCY_MS, LOST_SUFFIX
from ecli_runtime.privileges import TO_READ_PROCESSES, give_up
from ecli_runtime.read.reader import Reader
from ecli_runtime.read.ringbuf import RingBuffer
from ecli_runtime.read.sampler import Sampler
from ecli_runtime.stream import (
    NOT_DECODED,
    NOT_SENT,
    OUTPUT_SLOW,
    PERF_BUFFER_FULL,
    RING_BUFFER_FULL,
    MapStats,
    Readings,
    Stats,
    TextLines,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from types import TracebackType

    from typing_extensions import Self

    from ecli_runtime.attach import Attached
    from ecli_runtime.attach import Plan as AttachPlan
    from ecli_runtime.attach.alternatives import Served
    from ecli_runtime.globals import Global
    from ecli_runtime.libbpf.object import LoadedMap, LoadedObject
    from ecli_runtime.live import LiveGlobals
    from ecli_runtime.read.event_stacks import EventStackReader
    from ecli_runtime.read.perfbuf import PerfBuffer
    from ecli_runtime.stream import Chunk, Source
    from ecli_runtime.symbols.resolver import Resolver
    from ecli_schemas.model import Package

# Being late is for buffers that are less full than this.
_MOSTLY_EMPTY = 0.25
_LOOK_AGAIN_MS = 100
_UNFINISHED_LOOKS = 100


class Session:
    """A package at work. Close it to detach and unload; use it as a context manager.

    Made by :meth:`~ecli_runtime.opening.LoadingSession.start`; owns the loaded object, the links and the buffers.
    """

    def __init__(
        self,
        package: Package,
        loaded: LoadedObject,
        sources: tuple[Source, ...],
        variables: list[Global],
        hooks: AttachPlan,
        latency_ms: float = DEFAULT_LATENCY_MS,
        page_counts: Mapping[str, int] | None = None,
    ) -> None:
        self.package = package
        self.sources = sources
        self._object = loaded
        self._maps = {each.name: each for each in loaded.maps}
        self._variables = variables
        self._hooks = hooks
        self._page_counts = page_counts or {}  # of perf buffers, where the user says it
        self._links: list[Attached] = []
        self._links_of: dict[str, list[Attached]] = {}  # the same, by name of the program
        self._lines: Iterator[TextLines] = iter(())  # what iterators write and nobody has asked for yet
        self._readers: list[Reader] = []
        self._samplers: list[Sampler] = []
        self._poll = select.poll()
        self._stop_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._poll.register(self._stop_fd, select.POLLIN)
        self._handlers: dict[int, Callable[[], None]] = {}  # of what others wait for, by descriptor
        self.stopping = False
        self._paused: frozenset[str] | None = None  # what was detached for it
        self._latency_s = latency_ms / 1000
        self._flowing = False
        self._looked = 0.0
        self._closed = False
        self._pinned = False
        self._started = time.monotonic()
        self._seconds: float | None = None
        self.delivered = 0
        self.filtered: dict[str, int] = {}  # by name of the map
        self._received = 0
        self._counters: dict[str, Callable[[], int]] | None = None  # of the program, by name of the map
        self._last_stats: Stats | None = None
        self._resolver: Resolver | None = None
        self._live: LiveGlobals | None = None
        try:
            for source in sources:
                self._open_source(source)
            self._attach()
            self._lines = self._read_iterators()
            self._started = time.monotonic()
        except BaseException:
            self.close()
            raise

    def _open_source(self, source: Source) -> None:
        name = source.name
        if source.region is not None:
            section = source.region.section
            name = next(each.name for each in self._object.maps if each.data_section == section)
        loaded_map = self._maps[name]
        if source.sample is not None:
            self._samplers.append(Sampler(source, source.sample, loaded_map, self._object.maps))
            return
        buffer: RingBuffer | PerfBuffer
        if loaded_map.type == MAP_TYPE_RINGBUF:
            buffer = RingBuffer(loaded_map.fd, loaded_map.max_entries)
        else:
            from ecli_runtime.read.perfbuf import PerfBuffer

            page_count = self._page_counts.get(source.name, self.package.perf_buffer_page_count)
            buffer = PerfBuffer(loaded_map.fd, loaded_map.max_entries, page_count)
        self._readers.append(Reader(source, buffer, self._stack_readers(source)))
        for fd in buffer.fds:
            self._poll.register(fd, select.POLLIN)

    def _stack_readers(self, source: Source) -> list[EventStackReader] | None:
        """Return what looks up the stack traces of each type of events; ``None``: they have none."""
        if not source.stack_kinds:
            return None
        from ecli_runtime.decode.symbols import kernel_symbols
        from ecli_runtime.read.event_stacks import EventStackReader
        from ecli_runtime.symbols.resolver import Resolver

        kernel_symbols()  # which takes some tenths of a second: events would be lost meanwhile
        self._resolver = self._resolver or Resolver()
        return [EventStackReader(plan, self._object.maps, self._resolver) for plan in source.plans]

    def _attach(self, only: frozenset[str] | None = None) -> None:
        def attach_all() -> None:
            for name, link in self._hooks.attach(self._object, only):
                self._links.append(link)
                self._links_of.setdefault(name, []).append(link)

        if self._hooks.needs_tracefs:
            with_tracefs(attach_all)
        else:
            attach_all()

    def pin(self, directory: str) -> None:
        """Pin all links and maps in a directory of a BPF file system: the programs stay attached when this is closed.

        Raises:
            EcliError: Something cannot be pinned; then nothing is.
        """
        from ecli_runtime.pins import pin_all

        named = ((name, link) for name, links in self._links_of.items() for link in links)
        pin_all(directory, named, self._object.maps)
        self._pinned = True

    def give_up_privileges(self, pausable: bool = False) -> None:
        """Give up the capabilities that nothing needs any more, on this thread and those that it makes from now on.

        Those that detaching takes are kept, and, where stack traces are to be shown, those that reading other processes takes.

        Args:
            pausable: Keep those that :meth:`resume` takes, too.

        Raises:
            OSError: The kernel refused.
        """
        keep = {bit for link in self._links for bit in link.closing_takes}
        if any(source.stacks is not None or _has_user_stacks(source) for source in self.sources):
            keep.update(TO_READ_PROCESSES)
        if pausable and not self._pinned:
            from ecli_runtime.attach.again import rights_to_attach

            keep |= rights_to_attach(self._object, self._pausable(), self._hooks.needs_tracefs)
        give_up(keep)

    def _read_iterators(self) -> Iterator[TextLines]:
        if self._hooks.has_iterators:
            from ecli_runtime.attach.iterators import IteratorLink

            for link in self._links:
                if isinstance(link, IteratorLink):
                    yield from link.lines()
        if self._hooks.finite:
            self.stopping = True

    def read(self, timeout_ms: int = -1) -> Iterator[Chunk]:
        """Wait for samples and yield those that are there; returns when they are used up, or after the time-out with none.

        What iterators write comes first. If nothing else is to come, :attr:`stopping` is true after that.

        Args:
            timeout_ms: Milliseconds to wait for the first; 0 does not wait. It may return with none sooner than that.

        What is yielded is taken out of the kernel: a consumer that breaks off keeps what it has got, and finds the rest here.

        Raises:
            LibbpfError: A buffer or a map could not be read.
            ValueError: The session is closed.
        """
        self._check_open()
        for lines in self._lines:
            self._received += len(lines.lines)
            yield lines
            if self.stopping:
                break
        if not self.stopping:
            self._wait(timeout_ms)
        before = self._received
        self._looked = time.monotonic()
        yield from self._drain()
        self._flowing = self._received > before and all(reader.buffer.filled < _MOSTLY_EMPTY for reader in self._readers)
        for sampler in self._samplers:
            if sampler.due_ms() == 0 and not self.stopping and not self.paused:
                yield self._sampled(sampler)

    def _wait(self, timeout_ms: int) -> None:
        if self._flowing and timeout_ms != 0:
            # The kernel wakes a reader that has read everything at each event, and one that is a little behind at none. So while
            # events keep coming, being a little late saves most of the cost on both sides. What was done with those of the last
            # look counts: they would be later by that, too.
            time.sleep(max(self._looked + self._latency_s - time.monotonic(), 0))
        due_ms = -1 if self.paused else min((sampler.due_ms() for sampler in self._samplers), default=-1)
        waits = [wait for wait in (timeout_ms, due_ms) if wait >= 0]
        # Not for ever: a wake-up may be missed where our last look and the kernel's commit cross.
        ready = self._poll.poll(min([*waits, _LOOK_AGAIN_MS]))
        if self._handlers:
            for fd, _events in ready:
                if fd in self._handlers:
                    self._handlers[fd]()

    def watch(self, fd: int, handler: Callable[[], None]) -> None:
        """Have :meth:`read` call something when a descriptor is readable, before it looks at the buffers; it must not wait.

        Args:
            fd: The descriptor, the caller's; it stays open until the session is closed.
            handler: What is called. It may pause, resume and stop the session; what it raises ends :meth:`read`.
        """
        self._handlers[fd] = handler
        self._poll.register(fd, select.POLLIN)

    def _drain(self) -> Iterator[Chunk]:
        for reader in self._readers:
            for samples in reader.samples():
                live = samples.run.live
                self._received += live
                reader.received += live
                yield samples

    def _sampled(self, sampler: Sampler) -> Readings:
        readings = sampler.read()
        self._received += len(readings.entries)
        sampler.received += len(readings.entries)
        return readings

    def stop(self) -> None:
        """Make :meth:`events` return at once. May be called from a signal handler or another thread, also after the end."""
        self.stopping = True
        if not self._closed:
            os.eventfd_write(self._stop_fd, 1)

    def finish(self) -> Iterator[Chunk]:
        """Detach, and return an iterator of what is still queued and a last reading of each sampled map.

        Raises:
            LibbpfError: A buffer or a map could not be read.
            ValueError: The session is closed.
        """
        self._check_open()
        self.detach()
        self.stopping = True
        return self._rest()

    def _rest(self) -> Iterator[Chunk]:
        patience = _UNFINISHED_LOOKS
        while True:
            before = self._received + self._undecoded
            yield from self._drain()
            if self._pinned:  # more may come for ever
                break
            if before == self._received + self._undecoded:
                # A program that was detached while it ran may hold up what others have sent, until it has sent its own.
                if not patience or not any(reader.buffer.filled for reader in self._readers):
                    break
                patience -= 1
                time.sleep(0.001)
        for sampler in self._samplers:
            if not sampler.fresh:
                yield self._sampled(sampler)

    @property
    def _undecoded(self) -> int:
        return sum(reader.undecoded for reader in self._readers)

    def stats(self) -> Stats:
        """Return what the run has done so far; when it is closed, what it had done then."""
        if self._last_stats is not None:
            return self._last_stats
        maps = (*map(self._stats_of, self._readers), *map(self._stats_of_sampled, self._samplers))
        lost = sum(each.lost for each in maps)
        occupancy = max((each.occupancy for each in maps), default=0.0)
        seconds = time.monotonic() - self._started if self._seconds is None else self._seconds
        filtered = sum(self.filtered.values())
        return Stats(self.delivered, self._received, lost, self._undecoded, occupancy, seconds, filtered, maps)

    def _stats_of(self, reader: Reader) -> MapStats:
        name, buffer = reader.source.name, reader.buffer
        full, not_sent = self._lost_of(reader)
        slow = min(reader.output_slow, full)
        why = RING_BUFFER_FULL if isinstance(buffer, RingBuffer) else PERF_BUFFER_FULL
        reasons = [(why, full - slow), (OUTPUT_SLOW, slow), (NOT_SENT, not_sent)]
        lost = sum(count for _why, count in reasons)
        reasons.append((NOT_DECODED, reader.undecoded))
        return MapStats(
            name,
            reader.received,
            lost,
            reader.undecoded,
            self.filtered.get(name, 0),
            tuple((why, count) for why, count in reasons if count),
            buffer.occupancy,
            buffer.size_bytes,
        )

    def _lost_of(self, reader: Reader) -> tuple[int, int]:
        """Return how many samples found a buffer full, and how many more could not be sent."""
        if self._counters is None:
            from ecli_runtime.counters import find_counters

            self._counters = find_counters(self._object, self._variables, [each.source.name for each in self._readers])
        counter = self._counters.get(reader.source.name)
        by_program = max(counter(), 0) if counter else 0  # before the kernel's count, which is not to be less
        by_kernel = reader.buffer.lost
        if isinstance(reader.buffer, RingBuffer):
            return by_program, 0
        # The program is told of each sample that the kernel counts, too: bpf_perf_event_output returns -ENOSPC.
        return by_kernel, max(by_program - by_kernel, 0)

    def buffers_full(self) -> dict[str, int]:
        """Return how many samples of each map have found its buffer full so far.

        Raises:
            LibbpfError: The kernel does not tell.
        """
        return {reader.source.name: self._lost_of(reader)[0] for reader in self._readers}

    def blame_output(self, before: Mapping[str, int]) -> None:
        """Attribute what was lost since another look to an output that was waited for; errors as :meth:`buffers_full`."""
        for reader in self._readers:
            reader.output_slow += max(self._lost_of(reader)[0] - before[reader.source.name], 0)

    def _stats_of_sampled(self, sampler: Sampler) -> MapStats:
        name = sampler.source.name
        return MapStats(name, sampler.received, 0, 0, self.filtered.get(name, 0), (), 0.0, 0)

    @property
    def maps(self) -> Mapping[str, LoadedMap]:
        """The maps of the object, by their names; they are the session's."""
        return self._maps

    def program_fds(self) -> dict[str, int]:
        """Return the descriptors of the programs that were attached, by their names; they are the session's."""
        return {each.name: each.fd for each in self._object.programs if each.name in self._links_of}

    @property
    def hooks(self) -> tuple[Served, ...]:
        """Which alternative serves each hook of the package that has some."""
        return self._hooks.hooks

    @property
    def optional_programs(self) -> frozenset[str]:
        """Names of the programs that are attached and that the package does without."""
        return frozenset(name for name in self._hooks.optional if self._links_of.get(name))

    def detach_program(self, name: str) -> None:
        """Detach one program; the others go on."""
        links = self._links_of.get(name, [])
        while links:
            links.pop().close()

    @property
    def paused(self) -> bool:
        """Whether the programs are detached until :meth:`resume`."""
        return self._paused is not None

    def pause(self) -> None:
        """Detach all programs until :meth:`resume`: nothing runs, nothing is sent, nothing is lost, and no map is read.

        Programs, maps and what is in them stay in the kernel, and what is queued is still delivered. Iterators and programs that
        were run once are done and stay as they are. Does nothing when it is paused already.

        Raises:
            TargetError: Something could not be attached again; nothing is detached then.
            LibbpfError: Something could not be detached.
            ValueError: The session is closed.
        """
        self._check_open()
        if self.paused:
            return
        if self._pinned:
            raise TargetError("cannot pause: what is pinned stays attached", "`ecli-py unpin` removes pins")
        from ecli_runtime.attach.again import check_repeatable

        names = self._pausable()
        check_repeatable(self._object, names)
        self._paused = names
        self._detach_all(names)

    def _pausable(self) -> frozenset[str]:
        iterators = {each.name for each in self._object.programs if each.is_iterator}
        return frozenset(name for name, links in self._links_of.items() if links and name not in iterators)

    def resume(self) -> None:
        """Attach again what :meth:`pause` has detached, where it was; does nothing when nothing is paused.

        Raises:
            AttachError: Something could not be attached again; all of it stays detached, and paused.
            ValueError: The session is closed.
        """
        self._check_open()
        if self._paused is None:
            return
        try:
            self._attach(self._paused)
        except BaseException:
            self._detach_all(self._paused)
            raise
        self._paused = None

    def _detach_all(self, names: frozenset[str]) -> None:
        try:
            for name in names:
                self.detach_program(name)
        finally:
            if any(self._links_of.get(name) for name in names):  # one could not be detached: the others all the same
                self._detach_all(names)
        kept = {id(link) for links in self._links_of.values() for link in links}
        self._links = [link for link in self._links if id(link) in kept]

    def variables(self) -> LiveGlobals:
        """Return the global variables of the programs, to read and to set while they run; valid until the session is closed."""
        self._check_open()
        if self._live is None:
            from ecli_runtime.live import LiveGlobals

            counters = {each.source.name + LOST_SUFFIX for each in self._readers}
            self._live = LiveGlobals(self._object, self._variables, counters)
        return self._live

    def detach(self) -> None:
        """Detach all programs; a second call does nothing."""
        if self._seconds is None:
            self._seconds = time.monotonic() - self._started
        try:
            while self._links:
                self._links.pop().close()
        finally:
            if self._links:  # one could not be detached: the others all the same
                self.detach()

    def close(self) -> None:
        """Detach and unload everything; a second call does nothing."""
        if self._closed:
            return
        try:
            self.detach()
            self._last_stats = self.stats()
        finally:
            self._closed = True  # before the descriptor goes, which a signal handler might write to
            for reader in self._readers:
                reader.buffer.close()
            if self._resolver is not None:
                self._resolver.close()
            self._object.close()
            os.close(self._stop_fd)

    def _check_open(self) -> None:
        if self._closed:
            raise ValueError("the session is closed")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def _has_user_stacks(source: Source) -> bool:
    """Tell whether events may have stack traces of processes."""
    if not source.stack_kinds:
        return False
    from ecli_runtime.decode.stacks import stack_members

    return any(member.may_be_user for plan in source.plans for member in stack_members(plan))
