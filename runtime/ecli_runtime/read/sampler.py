"""Maps that are read periodically."""

from __future__ import annotations

import time

from ecli_runtime.libbpf.object import ARRAY_MAP_TYPES
from ecli_runtime.stream import Readings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ecli_runtime.decode.stacks import Stacks
    from ecli_runtime.libbpf.batch import EntryReader
    from ecli_runtime.libbpf.object import LoadedMap
    from ecli_runtime.stream import Source
    from ecli_runtime.variables import VariableReader
    from ecli_schemas.model import Sample


class Sampler:
    """Reads one map each interval.

    Args:
        source: The map, as consumers know it.
        sample: How often, and whether entries are removed when they are read. An array cannot be emptied: its counters are then
            read as what they have grown by.
        loaded_map: The map itself, or the data section of global variables; stays its object's.
        maps: All maps of the object, among them those of the stack traces that keys refer to.

    Attributes:
        received: Entries that were read, for its owner to count.
    """

    def __init__(self, source: Source, sample: Sample, loaded_map: LoadedMap, maps: Sequence[LoadedMap] = ()) -> None:
        self.source = source
        self._sample = sample
        self._reader: EntryReader | VariableReader
        if source.region is None:
            from ecli_runtime.libbpf.batch import EntryReader

            self._reader = EntryReader(loaded_map, sample.clear)
        else:
            from ecli_runtime.variables import VariableReader

            self._reader = VariableReader(loaded_map, source.region, source.plans[0].byteorder)
        self._growth = None
        if sample.clear and loaded_map.type in ARRAY_MAP_TYPES and source.plans:
            from ecli_runtime.decode.counters import Growth

            self._growth = Growth(source)
        self._stacks: Callable[[Sequence[tuple[bytes, bytes]]], Stacks] | None = None
        if source.stacks is not None:
            from ecli_runtime.read.stacks import StackReader
            from ecli_runtime.symbols.profile import ReadingStacks, StackNames

            reader, names = StackReader(source, maps, sample.clear), StackNames(source)
            self._stacks = lambda entries: ReadingStacks(names, reader.read(entries))
        self._next = time.monotonic() + sample.interval_ms / 1000
        self._was_read = False
        self.received = 0

    def due_ms(self) -> int:
        """Return milliseconds until the next reading, 0 when it is due."""
        return max(0, int((self._next - time.monotonic()) * 1000 + 0.999))

    @property
    def fresh(self) -> bool:
        """The last reading is so recent that another would only repeat it."""
        return self._next - time.monotonic() > 0.9 * self._sample.interval_ms / 1000 and self._was_read

    def read(self) -> Readings:
        """Read all entries, and remove them if the package says so.

        Raises:
            LibbpfError: The kernel refused to read the map.
        """
        self._next = time.monotonic() + self._sample.interval_ms / 1000
        self._was_read = True
        entries = self._reader.read()
        if self._growth is not None:
            entries = self._growth.since_last(entries)
        return Readings(self.source, entries, None if self._stacks is None else self._stacks(entries))
