"""One buffer of a run: its samples by type, and how many there were."""

from __future__ import annotations

from ecli_runtime.decode.choose import make_chooser
from ecli_runtime.stream import Samples

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ecli_runtime.read.event_stacks import EventStackReader
    from ecli_runtime.read.perfbuf import PerfBuffer
    from ecli_runtime.read.ringbuf import RingBuffer
    from ecli_runtime.stream import Source


class Reader:
    """A ring buffer or perf event array, and what its samples mean.

    Args:
        source: The map.
        buffer: Its consumer; stays the caller's.
        stacks: What looks up the stack traces of each type; ``None``: they have none.

    Attributes:
        received: Samples that held their type, for its owner to count.
        undecoded: Samples that did not.
        output_slow: Of what was lost, what was lost while output was waited for, for its owner to count.
    """

    def __init__(self, source: Source, buffer: RingBuffer | PerfBuffer, stacks: Sequence[EventStackReader] | None = None) -> None:
        self.source = source
        self._stacks = stacks  # of each type
        self.received = self.undecoded = 0
        self.output_slow = 0  # of what was lost, what was lost while output was waited for
        self.buffer = buffer
        self._choose = make_chooser(source.plans, source.tags) if source.plans else None
        self._sizes = [range(plan.min_size_bytes, plan.max_size_bytes + 1) for plan in source.plans]

    def samples(self) -> Iterator[Samples]:
        """Yield the samples that are there, and count those that are too short or too long for any type."""
        for run in self.buffer.runs():
            if self._choose is None:
                yield Samples(self.source, None, run)
                continue
            for index, part in self._choose(run):
                plan = self.source.plans[index]
                if run.length not in self._sizes[index]:
                    self.undecoded += part.live
                    continue
                whole = part.padded(plan.size_bytes)
                yield Samples(self.source, plan, whole, None if self._stacks is None else self._stacks[index].read(whole))
