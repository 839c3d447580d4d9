"""One run of a package that is loaded: attach, read events until told to stop, leave nothing behind."""

from __future__ import annotations

import os
import select
import time

from ecli_runtime.attach import attach
from ecli_runtime.decode.plan import make_plan
from ecli_runtime.decode.python import make_decoder
from ecli_runtime.errors import BtfError, DecodeError
from ecli_runtime.libbpf.object import MAP_TYPE_RINGBUF
from ecli_runtime.opening import DEFAULT_LATENCY_MS
from ecli_runtime.read.perfbuf import PerfBuffer
from ecli_runtime.read.ringbuf import RingBuffer
from ecli_schemas.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType
    from typing import Any

    from typing_extensions import Self

    from ecli_runtime.decode.plan import Plan
    from ecli_runtime.globals import Global
    from ecli_runtime.libbpf.object import Link, LoadedMap, LoadedObject, LoadedProgram
    from ecli_runtime.opening import Source
    from ecli_schemas.model import Package, Sample

# Program types whose attach points libbpf looks up in tracefs: kprobe (2, old kernels) and tracepoint (5).
_TRACEFS_PROGRAM_TYPES = frozenset((2, 5))

# Being late is for buffers that are less full than this.
_MOSTLY_EMPTY = 0.25
_LOOK_AGAIN_MS = 100

# A program that cannot place a sample in map M may count that in a global integer of this name.
LOST_SUFFIX = "_lost"


class Event(dict):  # type: ignore[type-arg]
    """A decoded event: member name → value. A reading of a map has the keys ``key`` and ``value``.

    Attributes:
        source: The map it came through.
        type_name: C type, or empty.
    """

    __slots__ = ("source", "type_name")

    def __init__(self, values: dict[str, Any], source: Source, type_name: str) -> None:
        super().__init__(values)
        self.source, self.type_name = source, type_name


class Stats(Record):
    """What a run has done so far.

    Attributes:
        events: Events delivered.
        lost: Samples that the kernel or the program could not deliver.
        undecoded: Samples that did not hold their type.
        occupancy: Greatest share of a ring buffer that was found filled, 0 to 1.
        seconds: Since the programs were attached.
    """

    events: int
    lost: int
    undecoded: int
    occupancy: float
    seconds: float


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
        latency_ms: float = DEFAULT_LATENCY_MS,
    ) -> None:
        self.package = package
        self.sources = sources
        self._object = loaded
        self._maps = {each.name: each for each in loaded.maps}
        self._variables = variables
        self._links: list[Link] = []
        self._readers: list[_Reader] = []
        self._samplers: list[_Sampler] = []
        self._poll = select.poll()
        self._stop_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._poll.register(self._stop_fd, select.POLLIN)
        self.stopping = False
        self._latency_s = latency_ms / 1000
        self._flowing = False
        self._closed = False
        self._started = time.monotonic()
        self._seconds: float | None = None
        self._events = self._undecoded = 0
        self._queued: Iterator[Event] = iter(())
        self._last_stats: Stats | None = None
        try:
            for source in sources:
                self._open_source(source)
            self._attach()
            self._started = time.monotonic()
        except BaseException:
            self.close()
            raise

    def _open_source(self, source: Source) -> None:
        loaded_map = self._maps[source.name]
        if source.sample is not None:
            self._samplers.append(_Sampler(source, source.sample, loaded_map))
            return
        buffer: RingBuffer | PerfBuffer
        if loaded_map.type == MAP_TYPE_RINGBUF:
            buffer = RingBuffer(loaded_map.fd, loaded_map.max_entries)
        else:
            buffer = PerfBuffer(loaded_map.fd, self.package.perf_buffer_page_count)
        self._readers.append(_Reader(source, buffer))
        self._poll.register(buffer.fd, select.POLLIN)

    def _attach(self) -> None:
        programs: dict[str, LoadedProgram] = {program.name: program for program in self._object.programs}
        # libbpf's skeletons do not attach what is not loaded either (bpf_object__attach_skeleton).
        wanted = [(programs[spec.name], spec.attach) for spec in self.package.programs if programs[spec.name].autoload]

        def attach_all() -> None:
            for program, said in wanted:
                for link in attach(program, said):
                    self._links.append(link)

        if any(program.type in _TRACEFS_PROGRAM_TYPES for program, _said in wanted):
            from ecli_runtime.mounts import with_tracefs

            with_tracefs(attach_all)
        else:
            attach_all()

    def events(self, timeout_ms: int = -1) -> Iterator[Event]:
        """Wait for events and yield those that are there; returns when they are used up, or after the time-out with none.

        Args:
            timeout_ms: Milliseconds to wait for the first; 0 does not wait. It may return with none sooner than that.

        Raises:
            LibbpfError: A buffer or a map could not be read.
            ValueError: The session is closed.
        """
        self._check_open()
        # Here and in _drain no `yield from`, which would end the inner iterator together with this one: what a consumer that
        # breaks off has left is there for the next, without waiting.
        for event in self._queued:
            timeout_ms = 0
            yield event
        if not self.stopping:
            self._wait(timeout_ms)
        before = self._events
        yield from self._drain()
        self._flowing = self._events > before and all(reader.filled < _MOSTLY_EMPTY for reader in self._readers)
        for sampler in self._samplers:
            if sampler.due_ms() == 0 and not self.stopping:
                yield from self._count(sampler.read())

    def _wait(self, timeout_ms: int) -> None:
        if self._flowing and timeout_ms != 0:
            # The kernel wakes a reader that has read everything at each event, and one that is a little behind at none. So while
            # events keep coming, being a little late saves most of the cost on both sides.
            time.sleep(self._latency_s)
        due_ms = min((sampler.due_ms() for sampler in self._samplers), default=-1)
        waits = [wait for wait in (timeout_ms, due_ms) if wait >= 0]
        # Not for ever: a wake-up may be missed where our last look and the kernel's commit cross.
        self._poll.poll(min([*waits, _LOOK_AGAIN_MS]))

    def _drain(self) -> Iterator[Event]:
        for event in self._queued:
            yield event
        self._queued = self._read()
        for event in self._queued:
            yield event

    def _read(self) -> Iterator[Event]:
        for reader in self._readers:
            for event in reader.drain():
                if event is None:
                    self._undecoded += 1
                else:
                    self._events += 1
                    yield event

    def _count(self, events: Iterator[Event]) -> Iterator[Event]:
        for event in events:
            self._events += 1
            yield event

    def stop(self) -> None:
        """Make :meth:`events` return at once. May be called from a signal handler or another thread, also after the end."""
        self.stopping = True
        if not self._closed:
            os.eventfd_write(self._stop_fd, 1)

    def finish(self) -> Iterator[Event]:
        """Detach, and return an iterator of what is still queued and a last reading of each sampled map.

        Raises:
            LibbpfError: A buffer or a map could not be read.
            ValueError: The session is closed.
        """
        self._check_open()
        self._detach()
        self.stopping = True
        return self._rest()

    def _rest(self) -> Iterator[Event]:
        while True:
            before = self._events + self._undecoded
            yield from self._drain()
            if before == self._events + self._undecoded:
                break
        for sampler in self._samplers:
            if not sampler.fresh:
                yield from self._count(sampler.read())

    def stats(self) -> Stats:
        """Return what the run has done so far; when it is closed, what it had done then."""
        if self._last_stats is not None:
            return self._last_stats
        lost = self._lost_by_program() + sum(reader.lost for reader in self._readers)
        occupancy = max((reader.occupancy for reader in self._readers), default=0.0)
        seconds = time.monotonic() - self._started if self._seconds is None else self._seconds
        return Stats(self._events, lost, self._undecoded, occupancy, seconds)

    def _lost_by_program(self) -> int:
        names = {source.name + LOST_SUFFIX for source in self.sources}
        return sum(self.read_global(each) for each in self._variables if each.name in names)

    def read_global(self, variable: Global) -> Any:
        """Return the value that a global variable has in the kernel now."""
        for each in self._object.maps:
            if each.data_section == variable.section:
                for _key, whole in each.entries():
                    data = whole[variable.byte_offset : variable.byte_offset + variable.size_bytes]
                    return make_decoder(make_plan(self._object.btf, variable.type_id))(data)
        raise BtfError(f"variable {variable.name!r} has no map")

    def _detach(self) -> None:
        if self._seconds is None:
            self._seconds = time.monotonic() - self._started
        while self._links:
            self._links.pop().close()

    def close(self) -> None:
        """Detach and unload everything; a second call does nothing."""
        if self._closed:
            return
        self._detach()
        self._closed = True  # before the descriptor goes, which a signal handler might write to
        try:
            self._last_stats = self.stats()
        finally:
            for reader in self._readers:
                reader.close()
            self._object.close()
            os.close(self._stop_fd)

    def _check_open(self) -> None:
        if self._closed:
            raise ValueError("the session is closed")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


class _Reader:
    """A ring buffer or perf event array, and what its samples mean."""

    def __init__(self, source: Source, buffer: RingBuffer | PerfBuffer) -> None:
        self.source = source
        self._buffer = buffer
        decoders = [(plan, make_decoder(plan)) for plan in source.plans]
        # Largest first: a perf sample is padded, so the largest type that fits is meant unless one fits exactly.
        self._decoders = sorted(decoders, key=lambda each: -each[0].size_bytes)
        self._by_size = {plan.size_bytes: (plan, decode) for plan, decode in reversed(self._decoders)}

    def drain(self) -> Iterator[Event | None]:
        """Yield the events that are there; ``None`` stands for a sample that did not hold its type."""
        for sample in self._buffer.drain():
            try:
                plan, decode = self._by_size.get(len(sample)) or self._largest_that_fits(len(sample))
                yield Event(decode(sample), self.source, plan.type_name if plan else "")
            except DecodeError:
                yield None

    def _largest_that_fits(self, size_bytes: int) -> tuple[Plan | None, Callable[[bytes], dict[str, Any]]]:
        for plan, decode in self._decoders:
            if plan.size_bytes <= size_bytes:
                return plan, decode
        return self._decoders[-1] if self._decoders else (None, _raw_event)

    @property
    def lost(self) -> int:
        return self._buffer.lost if isinstance(self._buffer, PerfBuffer) else 0

    @property
    def filled(self) -> float:
        return self._buffer.filled if isinstance(self._buffer, RingBuffer) else 0.0

    @property
    def occupancy(self) -> float:
        return self._buffer.occupancy if isinstance(self._buffer, RingBuffer) else 0.0

    def close(self) -> None:
        self._buffer.close()


class _Sampler:
    """A map that is read periodically."""

    def __init__(self, source: Source, sample: Sample, loaded_map: LoadedMap) -> None:
        self.source = source
        self._sample = sample
        self._map = loaded_map
        self._next = time.monotonic() + sample.interval_ms / 1000
        self._was_read = False
        self._decode_key: Callable[[bytes], Any] = _hexadecimal
        self._decode_value: Callable[[bytes], Any] = _hexadecimal
        if len(source.plans) == 2:
            self._decode_key, self._decode_value = map(make_decoder, source.plans)

    def due_ms(self) -> int:
        """Return milliseconds until the next reading, 0 when it is due."""
        return max(0, int((self._next - time.monotonic()) * 1000 + 0.999))

    @property
    def fresh(self) -> bool:
        """The last reading is so recent that another would only repeat it."""
        return self._next - time.monotonic() > 0.9 * self._sample.interval_ms / 1000 and self._was_read

    def read(self) -> Iterator[Event]:
        """Read all entries, and remove them if the package says so."""
        self._next = time.monotonic() + self._sample.interval_ms / 1000
        self._was_read = True
        entries = list(self._map.entries())
        for key, value in entries:
            if self._sample.clear:
                self._map.delete(key)
            yield Event({"key": self._decode_key(key), "value": self._value(value)}, self.source, "")

    def _value(self, value: bytes) -> Any:
        if not self._map.per_cpu:
            return self._decode_value(value)
        stride = (self._map.value_size_bytes + 7) & ~7
        return [self._decode_value(value[at : at + stride]) for at in range(0, len(value), stride)]


def _raw_event(sample: bytes) -> dict[str, Any]:
    return {"data": sample.hex()}


def _hexadecimal(data: bytes) -> str:
    return data.hex()
