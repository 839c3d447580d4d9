"""What a run gives before anything is decoded: samples, as runs of them, and readings of maps."""

from __future__ import annotations

from ecli_schemas.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TypeAlias

    from ecli_runtime.decode.plan import Plan
    from ecli_runtime.read.run import Run
    from ecli_schemas.model import Sample, Tag

    Chunk: TypeAlias = "Samples | Readings"


class Source(Record):
    """A map that events come from.

    Attributes:
        name: Name of the map.
        plans: One for each type of event; of a sampled map the plans of key and value. Empty: the type is not known, events
            carry the bytes in hexadecimal.
        sample: Set when it is a map that is read periodically.
        per_cpu: A reading has a list of values, one for each possible CPU.
        value_size_bytes: Of a sampled map.
        tags: Of each plan of events, what tells its samples from others of their size.
    """

    name: str
    plans: tuple[Plan, ...]
    sample: Sample | None = None
    per_cpu: bool = False
    value_size_bytes: int = 0
    tags: tuple[Tag | None, ...] = ()


class Samples:
    """A run of samples of one type. ``plan`` is ``None`` where nothing is known of it; else each sample has its size or more."""

    __slots__ = ("plan", "run", "source")

    def __init__(self, source: Source, plan: Plan | None, run: Run) -> None:
        self.source, self.plan, self.run = source, plan, run


class Readings:
    """Keys and values that a sampled map held at one time. A per-CPU value is one after the other, each padded to 8 bytes."""

    __slots__ = ("entries", "source")

    def __init__(self, source: Source, entries: Sequence[tuple[bytes, bytes]]) -> None:
        self.source, self.entries = source, entries
