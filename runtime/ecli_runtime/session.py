"""One run of a package: open, set globals, load, attach, read events until told to stop, leave nothing behind."""

from __future__ import annotations

import os
import select
import time

from ecli_runtime.attach import attach
from ecli_runtime.btf import KIND_STRUCT
from ecli_runtime.decode.plan import event_type_id, make_event_plan, make_plan, make_plan_of_members
from ecli_runtime.decode.python import make_decoder
from ecli_runtime.errors import BtfError, DecodeError, OptionError
from ecli_runtime.globals import KCONFIG, find_globals, is_settable, pack_value
from ecli_runtime.libbpf.object import MAP_TYPE_PERF_EVENT_ARRAY, MAP_TYPE_RINGBUF, OpenObject
from ecli_runtime.read.perfbuf import PerfBuffer
from ecli_runtime.read.ringbuf import RingBuffer
from ecli_schemas.errors import PackageError
from ecli_schemas.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from types import TracebackType
    from typing import Any

    from typing_extensions import Self

    from ecli_runtime.decode.plan import Plan
    from ecli_runtime.globals import Global
    from ecli_runtime.libbpf.object import Link, LoadedMap, LoadedObject, LoadedProgram, OpenMap
    from ecli_schemas.model import EventType, Json, MapSpec, Option, Package, Sample, Tag

# Program types whose attach points libbpf looks up in tracefs: kprobe (2, old kernels) and tracepoint (5).
_TRACEFS_PROGRAM_TYPES = frozenset((2, 5))

# Being late is for buffers that are less full than this.
_MOSTLY_EMPTY = 0.25
_LOOK_AGAIN_MS = 100

DEFAULT_LATENCY_MS = 2.0

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


class Source(Record):
    """A map that events come from.

    Attributes:
        name: Name of the map.
        plans: One for each type of event; of a sampled map the plans of key and value. Empty: the type is not known, events
            carry the bytes in hexadecimal.
        sample: Set when it is a map that is read periodically.
        per_cpu: A reading has a list of values, one for each possible CPU.
        tags: Of each plan of events, what tells its samples from others of their size.
    """

    name: str
    plans: tuple[Plan, ...]
    sample: Sample | None = None
    per_cpu: bool = False
    tags: tuple[Tag | None, ...] = ()


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


class OpenSession:
    """A package whose object is open: its options can be asked for and set. Starting it hands it over to a :class:`Session`.

    Args:
        package: The package; what it says about its object is checked here.
        kernel_btf: File to take the kernel's BTF from instead of the running kernel's own.

    Raises:
        PackageError: The package names a map, program, variable or type that its object lacks.
        ObjectError: libbpf cannot open the object.
    """

    def __init__(self, package: Package, kernel_btf: str | None = None) -> None:
        self.package = package
        self._object = OpenObject.open(package.object_for(os.uname().machine), package.object_name, kernel_btf)
        try:
            self._globals = {each.name: each for each in find_globals(self._object.btf)}
            self._maps = _match_maps(package, self._object.maps)
            _check_programs(package, [program.name for program in self._object.programs])
            self.sources = tuple(self._make_sources())
            self._apply_defaults()
        except BaseException:
            self.close()
            raise

    def _make_sources(self) -> Iterator[Source]:
        btf = self._object.btf
        own = {export.map: (index, export.types) for index, export in enumerate(self.package.exports) if export.map is not None}
        shared = next(((i, export.types) for i, export in enumerate(self.package.exports) if export.map is None), (0, ()))
        for each in self._object.maps:
            spec = self._maps.get(each.name)
            if spec is not None and spec.sample is not None:
                plans = tuple(make_plan(btf, type_id) for type_id in (each.btf_key_type_id, each.btf_value_type_id) if type_id)
                yield Source(each.name, plans if len(plans) == 2 else (), spec.sample, each.per_cpu)
            elif each.type in (MAP_TYPE_RINGBUF, MAP_TYPE_PERF_EVENT_ARRAY):
                index, types = own.get(each.name, shared)
                plans = tuple(self._plan(event_type, index) for event_type in types)
                yield Source(each.name, plans, tags=tuple(event_type.tag for event_type in types))

    def _plan(self, event_type: EventType, export_index: int) -> Plan:
        btf = self._object.btf
        if event_type.members and event_type.members[0].btf_id is not None:
            return make_plan_of_members(btf, [(m.name, m.btf_id or 0, m.byte_offset or 0) for m in event_type.members])
        type_id = event_type_id(btf, event_type.name, event_type.btf_id)
        if type_id is None:
            path = "$.meta.export_types" if self.package.format is None else f"$.ecli.exports[{export_index}].types"
            known = ", ".join(btf.names(KIND_STRUCT)[:8]) or "none"
            raise PackageError(
                f"the object has no struct {event_type.name!r}", path, f"build the package again; structs in the object: {known}"
            )
        return make_event_plan(btf, type_id)

    def _apply_defaults(self) -> None:
        for option in self.package.options:
            if option.name not in self._globals:
                raise PackageError(f"option {option.name!r}: the object has no such variable", "$", "build the package again")
            if option.default is not None and is_settable(self._object.btf, self._globals[option.name].type_id):
                try:
                    self.set(option.name, option.default)
                except OptionError as error:
                    raise PackageError(f"default of {error}", "$", error.hint or "build the package again") from error

    def options(self) -> list[tuple[Option, int]]:
        """Return the options of the package that can be set, each with the id of its type in :attr:`btf`."""
        settable = (option for option in self.package.options if option.section != KCONFIG)
        found = ((option, self._globals[option.name].type_id) for option in settable)
        return [(option, type_id) for option, type_id in found if is_settable(self._object.btf, type_id)]

    @property
    def btf(self) -> Any:
        """The object's own BTF."""
        return self._object.btf

    def initial(self, name: str) -> Any:
        """Return the value that a variable has now: the C initialiser, the package's default, or what was set."""
        variable = self._globals[name]
        view = self._section_bytes(variable)
        return make_decoder(make_plan(self._object.btf, variable.type_id))(bytes(view))

    def set(self, name: str, value: Json) -> None:
        """Set a global variable before the programs are loaded.

        Raises:
            OptionError: There is no such variable, or the value does not fit its type.
        """
        if name not in self._globals:
            raise OptionError(f"there is no option {name!r}", f"options: {', '.join(sorted(self._globals)) or 'none'}")
        variable = self._globals[name]
        if variable.section == KCONFIG:
            raise OptionError(f"option {name} cannot be set: the kernel's configuration fills it")
        try:
            data = pack_value(self._object.btf, variable.type_id, value)
        except OptionError as error:
            raise OptionError(f"option {name}: {error}", error.hint) from error
        self._section_bytes(variable)[:] = data

    def _section_bytes(self, variable: Global) -> memoryview:
        """Return a variable's own bytes in the initial value of its section, writable."""
        size_bytes = self._object.btf.size_bytes(variable.type_id)
        if size_bytes != variable.size_bytes:
            message = f"variable {variable.name!r} has {variable.size_bytes} bytes in its section and {size_bytes} by its type"
            raise BtfError(message, "build the package again")
        for each in self._object.maps:
            if each.data_section == variable.section:
                whole = each.initial_value()
                if whole is None:
                    break
                if variable.byte_offset + variable.size_bytes > len(whole):
                    raise BtfError(
                        f"variable {variable.name!r} lies outside of section {variable.section}", "build the package again"
                    )
                return whole[variable.byte_offset : variable.byte_offset + variable.size_bytes]
        raise OptionError(f"variable {variable.name!r} in section {variable.section} cannot be set")

    def start(self, latency_ms: float = DEFAULT_LATENCY_MS) -> Session:
        """Load and attach. This object is used up, whether it succeeds or not.

        Args:
            latency_ms: How late an event may be shown while others keep coming; a lone one is shown at once. 0 saves no work.

        Raises:
            LibbpfError: Loading or attaching failed; nothing is left attached.
        """
        try:
            loaded = self._object.load()
        except BaseException:
            self.close()
            raise
        return Session(self.package, loaded, self.sources, list(self._globals.values()), latency_ms)

    def contradictions(self) -> list[str]:
        """Return where the object is not what the package says of its behaviour, as far as a quick look shows; in words.

        The programs are not followed, which `ecli-py inspect` does: this is asked for before each run.
        """
        claimed = self.package.behaviour
        if claimed is None:
            return []
        from ecli_runtime.behaviour import analyse_open, contradictions, undeclared_facts

        elf = self.package.object_for(os.uname().machine)
        found = analyse_open(self._object, elf, follow=False)
        found = found.replace(facts={**claimed.facts, **found.facts})
        return contradictions(claimed, found) if elf is self.package.object else undeclared_facts(claimed, found)

    def close(self) -> None:
        """Close the object; a second call does nothing."""
        self._object.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


class Session:
    """A package at work. Close it to detach and unload; use it as a context manager.

    Made by :meth:`OpenSession.start`; owns the loaded object, the links and the buffers.
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
        self._choose: Callable[[bytes], int] = lambda _sample: 0
        self._decoders = [(plan.type_name, make_decoder(plan)) for plan in source.plans] or [("", _raw_event)]
        if len(source.plans) > 1:
            from ecli_runtime.decode.choose import make_chooser

            self._choose = make_chooser(source.plans, source.tags)

    def drain(self) -> Iterator[Event | None]:
        """Yield the events that are there; ``None`` stands for a sample that did not hold its type."""
        for sample in self._buffer.drain():
            type_name, decode = self._decoders[self._choose(sample)]
            try:
                yield Event(decode(sample), self.source, type_name)
            except DecodeError:
                yield None

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


def _match_maps(package: Package, maps: list[OpenMap]) -> Mapping[str, MapSpec]:
    """Return what the package says of each map, by the name that libbpf gave it."""
    by_name = {each.name: each for each in maps}
    by_ident = {each.ident: each for each in maps if each.data_section}
    found = {}
    for index, spec in enumerate(package.maps):
        each = by_name.get(spec.name) or by_ident.get(spec.ident)
        if each is None:
            names = ", ".join(sorted(by_name)) or "none"
            path = f"$.meta.bpf_skel.maps[{index}].name"
            raise PackageError(f"the object has no map {spec.name!r}", path, f"maps in the object: {names}")
        found[each.name] = spec
    return found


def _check_programs(package: Package, names: list[str]) -> None:
    for index, spec in enumerate(package.programs):
        if spec.name not in names:
            path = f"$.meta.bpf_skel.progs[{index}].name"
            known = ", ".join(names) or "none"
            raise PackageError(f"the object has no program {spec.name!r}", path, f"programs in the object: {known}")
