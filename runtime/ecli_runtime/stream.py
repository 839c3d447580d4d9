"""What a run gives before anything is decoded: samples, as runs of them, readings of maps, and lines of text."""

from __future__ import annotations

from ecli_runtime.decode.meaning import STACK_MEANINGS, with_meanings
from ecli_runtime.decode.plan import Plan, make_event_plan, make_plan, make_plan_of_members
from ecli_runtime.errors import BtfError
from ecli_schemas.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Literal, TypeAlias

    from ecli_runtime.btf import Btf
    from ecli_runtime.decode.stacks import Stacks
    from ecli_runtime.read.run import Run
    from ecli_schemas.model import Sample, StackTrace, Tag

    Chunk: TypeAlias = "Samples | Readings | TextLines"


class TypeRef(Record):
    """A type in an object's BTF: all that it takes to make its plan again.

    Attributes:
        type_id: Its id; 0 for a type that a package describes by its members.
        members: Those: name, type id and byte offset of each.
        meanings: Path of a member → what it stands for, by the author's word.
    """

    type_id: int
    members: tuple[tuple[str, int, int], ...] = ()
    meanings: Mapping[str, str] = {}


class Region(Record):
    """The part of a data section that a source is read from.

    Attributes:
        section: Its name: ``.bss``.
        byte_offset: Where it begins.
        count: Elements of an array; 0: it is none.
        size_bytes: Of an element, or of the whole.
    """

    section: str
    byte_offset: int
    count: int
    size_bytes: int


class Source(Record):
    """A map that events come from, or an iterator.

    Attributes:
        name: Name of the map or the program.
        plans: One for each type of event; of a sampled map the plans of key and value. Empty: the type is not known, events
            carry the bytes in hexadecimal.
        sample: Set when it is a map that is read periodically.
        per_cpu: A reading has a list of values, one for each possible CPU.
        value_size_bytes: Of a sampled map.
        tags: Of each plan of events, what tells its samples from others of their size.
        types: What the plans are made of, in their order.
        lines: It is an iterator, which writes lines of text.
        stacks: Set when the keys of a sampled map refer to stack traces: by which members.
        stack_kinds: Of events: which kinds of members are taken for stack traces, of
            :data:`~ecli_runtime.decode.meaning.STACK_KINDS`; nothing if none is there.
        region: Set when it is no map of the author's, but global variables of his: where they are.
    """

    name: str
    plans: tuple[Plan, ...]
    sample: Sample | None = None
    per_cpu: bool = False
    value_size_bytes: int = 0
    tags: tuple[Tag | None, ...] = ()
    types: tuple[TypeRef, ...] = ()
    lines: bool = False
    stacks: StackTrace | None = None
    stack_kinds: tuple[str, ...] = ()
    region: Region | None = None

    @property
    def keyless(self) -> bool:
        """Its entries are values alone."""
        return self.sample is not None and bool(self.plans) and not self.plans[0].size_bytes


def make_source(
    btf: Btf,
    name: str,
    types: tuple[TypeRef, ...],
    sample: Sample | None = None,
    per_cpu: bool = False,
    value_size_bytes: int = 0,
    tags: tuple[Tag | None, ...] = (),
    raw: bool = False,
    stacks: StackTrace | None = None,
    stack_kinds: tuple[str, ...] = (),
    region: Region | None = None,
) -> Source:
    """Return a source with the plans of its types; of a sampled map these are key and value.

    Args:
        btf: The object's types.
        name: Name of the map.
        types: The types of its events.
        sample: Set when the map is read periodically.
        per_cpu: It has a value for each CPU.
        value_size_bytes: Of a sampled map.
        tags: What tells samples of one size apart.
        raw: Values are shown as they are, whatever they mean.
        stacks: Set when its keys refer to stack traces.
        stack_kinds: As in :class:`Source`; of no account where values are shown as they are.
        region: Set when it is global variables.

    Raises:
        BtfError: There is no plan of a type, or values of a sampled map are longer than can be shown.
    """
    if raw or sample is not None:
        stack_kinds = ()

    def plan(ref: TypeRef) -> Plan:
        if not ref.type_id and not ref.members:  # the key of what has none
            return Plan("", 0, btf.byteorder, ())
        if ref.members:
            bare = make_plan_of_members(btf, list(ref.members))
        else:
            bare = make_plan(btf, ref.type_id) if sample is not None else make_event_plan(btf, ref.type_id)
        return bare if raw else with_meanings(bare, ref.meanings, stack_kinds)

    plans = tuple(map(plan, types))
    if sample is not None and plans and value_size_bytes > plans[-1].max_size_bytes:
        raise BtfError(f"values of map {name!r} are too long to be shown: {value_size_bytes} bytes")
    if not any(op.meaning in STACK_MEANINGS for each in plans for op in each.ops):
        stack_kinds = ()
    return Source(name, plans, sample, per_cpu, value_size_bytes, tags, types, False, stacks, stack_kinds, region)


class Samples:
    """A run of samples of one type.

    Args:
        source: The map.
        plan: ``None`` where nothing is known of the type; else each sample has its size or more.
        run: The samples.
        stacks: What the stacks are called that the samples refer to or hold; ``None``: they have none.
    """

    __slots__ = ("plan", "run", "source", "stacks")

    def __init__(self, source: Source, plan: Plan | None, run: Run, stacks: Stacks | None = None) -> None:
        self.source, self.plan, self.run, self.stacks = source, plan, run, stacks


class Readings:
    """Keys and values that a sampled map held at one time. A per-CPU value is one after the other, each padded to 8 bytes.

    Args:
        source: The map.
        entries: Keys and values.
        stacks: What the stacks are called that each key refers to; ``None``: nothing is known of them.
    """

    __slots__ = ("entries", "source", "stacks")

    def __init__(self, source: Source, entries: Sequence[tuple[bytes, bytes]], stacks: Stacks | None = None) -> None:
        self.source, self.entries, self.stacks = source, entries, stacks


class TextLines:
    """Lines of text that an iterator or an event handler wrote, without their ends.

    Args:
        source: What stands for it, with its name.
        lines: The lines.
        role: What it is: a ``program`` or a ``handler``.
    """

    __slots__ = ("lines", "role", "source")

    def __init__(self, source: Source, lines: Sequence[str], role: Literal["program", "handler"] = "program") -> None:
        self.source, self.lines, self.role = source, lines, role


def event_count(chunk: Chunk) -> int:
    """Return how many events a chunk has."""
    if isinstance(chunk, Samples):
        return chunk.run.live
    return len(chunk.entries if isinstance(chunk, Readings) else chunk.lines)


# Why samples are missing: what marks and messages say.
RING_BUFFER_FULL, PERF_BUFFER_FULL, NOT_SENT = "ring buffer full", "perf buffer full", "could not be sent"
OUTPUT_SLOW = "output too slow"  # the buffer was full while standard output was waited for
NOT_DECODED = "not decoded"
HANDLER_TRAPPED, HANDLER_FULL, HANDLER_INVALID = "handler trapped", "handler emitted too much", "handler emitted no valid event"
REASONS = (RING_BUFFER_FULL, PERF_BUFFER_FULL, NOT_SENT, NOT_DECODED, OUTPUT_SLOW)  # recordings have the index
HANDLER_REASONS = (HANDLER_TRAPPED, HANDLER_FULL, HANDLER_INVALID)


class MapStats(Record):
    """What a run has had from one map so far.

    Attributes:
        name: Name of the map.
        received: As in :class:`Stats`.
        lost: As in :class:`Stats`.
        undecoded: As in :class:`Stats`.
        filtered: Of what was received: what a filter left out. That is no loss.
        reasons: Of what was lost and not decoded, each reason with its count; none is 0.
        occupancy: Greatest share of the ring buffer that was found filled, 0 to 1; of a perf buffer that of the fullest CPU.
        size_bytes: Of the ring buffer; of a perf buffer that of one CPU; 0 for a map that is read.
    """

    name: str
    received: int
    lost: int
    undecoded: int
    filtered: int
    reasons: tuple[tuple[str, int], ...]
    occupancy: float
    size_bytes: int

    @property
    def was_full(self) -> bool:
        """Whether something is known to have found the buffer full."""
        return any(why in (RING_BUFFER_FULL, PERF_BUFFER_FULL, OUTPUT_SLOW) for why, _count in self.reasons)


class Stats(Record):
    """What a run has done so far.

    Attributes:
        events: Events that were shown, or yielded.
        received: Samples that held their type, and entries of maps that were read: what a filter left out too.
        lost: Samples that the kernel or the program could not deliver.
        undecoded: Samples that did not hold their type.
        occupancy: Greatest share of a ring buffer that was found filled, 0 to 1.
        seconds: Since the programs were attached.
        filtered: Of what was received: what a filter left out. That is no loss.
        maps: The same for each map; none for a recording that does not tell them apart.
    """

    events: int
    received: int
    lost: int
    undecoded: int
    occupancy: float
    seconds: float
    filtered: int = 0
    maps: tuple[MapStats, ...] = ()
