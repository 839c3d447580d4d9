"""What the blocks of a recording hold: the description of a run, samples, readings, stacks, and how the run ended."""

from __future__ import annotations

from ecli_runtime.btf import Btf
from ecli_runtime.decode.meaning import STACK_KINDS
from ecli_runtime.decode.stacks import stack_members
from ecli_runtime.read.run import HEADER_SIZE_BYTES, Run
from ecli_runtime.recording_format import (
    DOCUMENT_SIZE,
    MAX_STACK_ENTRIES,
    NO_TYPE,
    Unreadable,
    field,
    harmless,
    number,
    stack_digest,
    text,
    unpack,
)
from ecli_runtime.stream import NOT_DECODED, REASONS, MapStats, Readings, Samples, TypeRef, make_source
from ecli_schemas.json_reader import loads
from ecli_schemas.model import Sample, StackTrace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from typing import Any

    from ecli_runtime.decode.stacks import Frame, StackMember
    from ecli_runtime.stream import Source

# Bounds for what the description of a run makes a reader keep.
_MAX_DOCUMENT_SIZE_BYTES = 1 << 20
_MAX_TYPES = 1024
_MAX_OPS = 1 << 16

_MAX_COUNT = 1 << 64

# Names of functions that are shown at once: any number of events may have the same long stack.
MAX_NAMES_SIZE = 1 << 28
_FRAME_SIZE = 8  # what stands around a name

STACK_TRACE_MEMBERS = ("pid", "comm", "kstack", "ustack")  # of the model, which is upstream's and has more


class RecordedStacks:
    """What the stacks of some chunks are called, by what a recording says of it."""

    def __init__(self) -> None:
        self._frames: dict[tuple[int, bytes], Sequence[Frame] | None] = {}
        self._comms: dict[bytes, str] = {}
        self._sizes: dict[tuple[int, bytes], int] = {}

    def keys(self) -> Iterable[tuple[int, bytes]]:
        """Return what the stacks are known by, as a recording has it."""
        return self._frames.keys()

    def frames(self, member: int, key: bytes) -> Sequence[Frame] | None:
        """Return the frames of a stack, the innermost first; ``None``: it was lost, or the recording has it not."""
        return self._frames.get((member, stack_digest(key)))

    def size(self, member: int, key: bytes) -> int:
        """Return about how many characters the names of a stack are."""
        known_by = member, stack_digest(key)
        if known_by not in self._sizes:
            frames = self._frames.get(known_by) or ()
            self._sizes[known_by] = sum(len(function) + len(file) + _FRAME_SIZE for function, file in frames)
        return self._sizes[known_by]

    def comm(self, key: bytes) -> str:
        """Return what the process of an entry is called; empty: its key says it."""
        return self._comms.get(stack_digest(key), "")

    def joined(self, other: RecordedStacks) -> RecordedStacks:
        """Return these and others, of which those count where both know one: an id may have been used again."""
        found = self
        if any(other._frames[key] != self._frames[key] for key in other._frames.keys() & self._frames.keys()):
            found = RecordedStacks()  # what was read before keeps its own
            found._frames.update(self._frames)
            found._comms.update(self._comms)
        found._frames.update(other._frames)
        found._comms.update(other._comms)
        found._sizes.clear()
        return found

    @classmethod
    def read(cls, data: bytes) -> RecordedStacks:
        """Return what an item says.

        Raises:
            Unreadable: It makes no sense.
        """
        document = _json(data)
        frames: list[Frame] = []
        for each in field(document, "frames", list):
            if type(each) is not list or [type(name) for name in each] != [str, str]:
                raise Unreadable("has frames that make no sense")
            frames.append((harmless(each[0]), harmless(each[1])))
        found = cls()
        for each in field(document, "stacks", list):
            if type(each) is not list or [type(part) for part in each] not in ([int, str, list], [int, str, type(None)]):
                raise Unreadable("has stacks that make no sense")
            member, key, indexes = each
            if indexes is not None and not all(type(index) is int and 0 <= index < len(frames) for index in indexes):
                raise Unreadable("has stacks of frames that there are not")
            found._frames[member, _bytes(key)] = None if indexes is None else [frames[index] for index in indexes]
        for key, comm in field(document, "comms", dict).items():
            if type(comm) is not str:
                raise Unreadable("has processes that make no sense")
            found._comms[_bytes(key)] = harmless(comm)
        return found


def _bytes(key: str) -> bytes:
    try:
        return bytes.fromhex(key)
    except ValueError as error:
        raise Unreadable("has stacks that nothing refers to") from error


def read_samples(source: Source, type_index: int, run: Run, is_foreign: bool, stacks: RecordedStacks) -> Iterator[Samples]:
    """Yield samples: all at once, unless their stacks take too much room for that.

    Args:
        source: The map that they are of.
        type_index: Their type, or ``NO_TYPE``.
        run: The samples as they were recorded.
        is_foreign: Their byte order is not this machine's.
        stacks: What their stacks are called, if they have any.

    Raises:
        Unreadable: They make no sense.
    """
    if type_index != NO_TYPE and type_index >= len(source.plans):
        raise Unreadable("has samples of a type that there is not")
    plan = None if type_index == NO_TYPE else source.plans[type_index]
    fits = run.length <= run.stride - HEADER_SIZE_BYTES and not run.stride % 8
    if plan is not None:
        fits = fits and plan.size_bytes <= run.length <= plan.max_size_bytes
    if source.sample is not None or not run.count or not fits:
        raise Unreadable("has samples whose sizes make no sense")
    run = _swap_lengths(run) if is_foreign else run
    members = stack_members(plan) if plan is not None and source.stack_kinds else ()
    if not members:
        yield Samples(source, plan, run)
        return
    for part in _divided(run, members, stacks):
        yield Samples(source, plan, part, stacks)


def _divided(run: Run, members: Sequence[StackMember], stacks: RecordedStacks) -> Iterator[Run]:
    payloads: list[bytes] = []
    size, is_whole = 0, True
    for payload in run.payloads():
        its_size = sum(stacks.size(number, member.key(payload)) for number, member in enumerate(members))
        if its_size > MAX_NAMES_SIZE:
            raise Unreadable("has stacks that are too large to be shown")
        if payloads and size + its_size > MAX_NAMES_SIZE:
            yield Run.of(payloads)
            payloads, size, is_whole = [], 0, False
        payloads.append(payload)
        size += its_size
    if payloads:
        yield run if is_whole else Run.of(payloads)


def read_readings(source: Source, data: bytes, count: int, key_size: int, value_size: int, stacks: RecordedStacks) -> Readings:
    """Return a reading, or a part of one; errors as :func:`read_samples`."""
    if source.sample is None or (count and not (data and _fit(source, key_size, value_size))):
        raise Unreadable("has readings whose sizes make no sense")
    size = key_size + value_size
    starts = range(0, len(data), size) if data else ()
    if source.stacks is not None and count > MAX_STACK_ENTRIES:
        raise Unreadable("has too many entries with stacks in one piece")
    entries = [(data[at : at + key_size], data[at + key_size : at + size]) for at in starts]
    readings = Readings(source, entries, None if source.stacks is None else stacks)
    if names_size(readings) > MAX_NAMES_SIZE:
        raise Unreadable("has stacks that are too large to be shown")
    return readings


def names_size(readings: Readings) -> int:
    """Return about how many characters the names of a recorded reading's stacks are."""
    stacks = readings.stacks
    if not isinstance(stacks, RecordedStacks):
        return 0
    return sum(stacks.size(member, key) for key, _value in readings.entries for member in (0, 1))


def _fit(source: Source, key_size: int, value_size: int) -> bool:
    """Tell whether keys and values of a sampled map have the sizes that its types need."""
    stride = (source.value_size_bytes + 7) & ~7 if source.per_cpu else value_size
    sizes = zip(source.plans, (key_size, stride), strict=False)
    return all(plan.size_bytes <= size <= plan.max_size_bytes for plan, size in sizes) and not (
        source.per_cpu and value_size % stride
    )


def _swap_lengths(run: Run) -> Run:
    """Return a run of a machine of the other byte order: the length word of each record as this machine has it."""
    data = bytearray(run.data)
    for index in range(4):
        data[index :: run.stride] = run.data[3 - index :: run.stride]
    return Run(bytes(data), run.count, run.stride, run.length, run.mixed)


def _json(data: bytes) -> Any:
    try:
        return loads(data.decode(), dict, float)
    except (ValueError, RecursionError) as error:
        raise Unreadable("its description is no JSON") from error


def read_document(body: bytes) -> tuple[dict[str, Any], Btf]:
    """Return what the first block of a run says of it, and the types.

    Raises:
        Unreadable: It makes no sense.
        BtfError: The types make none.
    """
    (size,) = unpack(DOCUMENT_SIZE, body, 0)
    if size > _MAX_DOCUMENT_SIZE_BYTES:
        raise Unreadable("its description is too large")
    end = DOCUMENT_SIZE.size + size
    document = _json(body[DOCUMENT_SIZE.size : end])
    if not isinstance(document, dict):
        raise Unreadable("its description is no JSON object")
    return document, Btf(body[end:])


def read_sources(document: dict[str, Any], btf: Btf, raw: bool) -> tuple[Source, ...]:
    """Return the maps that a run's events come from; errors as :func:`read_document`."""
    sources: list[Source] = []
    type_count = op_count = 0
    for each in field(document, "sources", list):
        refs = tuple(_read_type(ref) for ref in field(each, "types", list))
        type_count += max(len(refs), 1)
        if type_count > _MAX_TYPES:
            raise Unreadable("it has too many types of events")
        value_size_bytes = number(each, "value_size_bytes")
        sample = None
        if each.get("sample") is not None:
            of = field(each, "sample", dict)
            kind: Any = text(of, "kind")
            sample = Sample(number(of, "interval_ms"), kind, text(of, "unit"), field(of, "clear", bool))
            if len(refs) not in (0, 2) or not value_size_bytes:
                raise Unreadable("it has a sampled map that makes no sense")
        source = make_source(
            btf,
            text(each, "name"),
            refs,
            sample,
            field(each, "per_cpu", bool),
            value_size_bytes,
            raw=raw,
            stacks=_read_stack_trace(each) if sample is not None and refs else None,
            stack_kinds=_read_stack_kinds(each),
        )
        op_count += sum(len(plan.ops) for plan in source.plans)
        if op_count > _MAX_OPS:
            raise Unreadable("its types have too many members")
        if any(not op.name.isprintable() for plan in source.plans for op in plan.ops):
            raise Unreadable("its types have members whose names are no identifiers")
        sources.append(source)
    return tuple(sources)


def _read_type(ref: object) -> TypeRef:
    members = [(text(each, "name"), number(each, "type_id"), number(each, "byte_offset")) for each in field(ref, "members", list)]
    meanings = field(ref, "meanings", dict) if isinstance(ref, dict) and "meanings" in ref else {}
    if not all(isinstance(word, str) for word in meanings.values()):
        raise Unreadable("it has meanings that are no words")
    return TypeRef(number(ref, "type_id"), tuple(members), meanings)


def _read_stack_trace(source: dict[str, Any]) -> StackTrace | None:
    """Return by which members a map counts stack traces; ``None``: it does not, or the recording is older than that."""
    if source.get("stack_trace") is None:
        return None
    said = field(source, "stack_trace", dict)
    return StackTrace().replace(**{name: text(said, name) for name in STACK_TRACE_MEMBERS})


def _read_stack_kinds(source: dict[str, Any]) -> tuple[str, ...]:
    said = field(source, "stack_kinds", list) if "stack_kinds" in source else []
    return tuple(kind for kind in STACK_KINDS if kind in said)


def read_map_stats(data: bytes, sources: Sequence[Source]) -> tuple[MapStats, ...]:
    """Return what each map had had at the end of a run; errors as :func:`read_document`."""
    document = _json(data)
    maps = field(document, "maps", list)
    if len(maps) != len(sources):
        raise Unreadable("has numbers of maps that there are not")
    return tuple(_read_map_stats(each, source) for each, source in zip(maps, sources, strict=True) if each is not None)


def _read_map_stats(said: object, source: Source) -> MapStats:
    counts = field(said, "reasons", dict)
    if not all(why in REASONS and type(count) is int and 0 < count < _MAX_COUNT for why, count in counts.items()):
        raise Unreadable("has reasons of loss that make no sense")
    occupancy = field(said, "occupancy", float)
    if not 0 <= occupancy <= 1:
        raise Unreadable("has a buffer that was fuller than full")
    received, size_bytes = number(said, "received", _MAX_COUNT), number(said, "size_bytes", _MAX_COUNT)
    return map_stats(source.name, received, counts, occupancy, size_bytes)


def map_stats(name: str, received: int, counts: Mapping[str, int], occupancy: float = 0.0, size_bytes: int = 0) -> MapStats:
    """Return what a map has had, by the reasons of what is missing."""
    lost = sum(count for why, count in counts.items() if why != NOT_DECODED)
    reasons = tuple(counts.items())
    return MapStats(name, received, lost, counts.get(NOT_DECODED, 0), 0, reasons, occupancy, size_bytes)
