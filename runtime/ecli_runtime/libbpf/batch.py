"""All entries of a map at a time: in batches where the kernel has them, key by key elsewhere."""

from __future__ import annotations

import ctypes
import errno
from itertools import chain, islice
from struct import Struct

from ecli_runtime.errors import LibbpfError
from ecli_runtime.libbpf._ffi import lib
from ecli_runtime.libbpf.object import ARRAY_MAP_TYPES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any, TypeAlias

    from ecli_runtime.libbpf.object import LoadedMap

    Entry: TypeAlias = tuple[bytes, bytes]

# A batch is at most so many bytes at first; a bucket of a hash that does not fit makes it larger.
_BATCH_SIZE_BYTES = 1 << 20
# Where the kernel says that it cannot: it has no such command, or not for this type of map (ENOTSUPP, which is the kernel's own).
_UNSUPPORTED = frozenset((-errno.EINVAL, -errno.EOPNOTSUPP, -errno.EPERM, -524))


class _NoBatchesError(Exception):
    """The kernel has no batches for this map."""


class EntryReader:
    """Reads a map again and again. Buffers are kept between readings.

    Batches exist since Linux 5.6, for arrays and hashes (cb4d03ab499d), for per-CPU arrays since 5.13 (f008d732ab18); other maps,
    and older kernels, are walked key by key, at some ten times the cost.

    Args:
        loaded_map: The map; stays its object's.
        clear: Entries are removed as they are read. What is added meanwhile is in this reading or in the next: a batch is read
            and removed under the lock of its bucket. Arrays cannot be emptied, and are left as they are.

    Attributes:
        batched: Batches are used, as far as is known.
    """

    def __init__(self, loaded_map: LoadedMap, clear: bool = False) -> None:
        self._map = loaded_map
        self._clear = clear and loaded_map.type not in ARRAY_MAP_TYPES
        self._key_size, self._value_size = loaded_map.key_size_bytes, loaded_map.lookup_size_bytes
        self.batched = self._key_size > 0 and self._value_size > 0
        # Where a batch ended is a bucket (u32) in a hash, a key elsewhere.
        self._places = [ctypes.create_string_buffer(max(self._key_size, 4)) for _ in range(2)]
        self._capacity = 0
        self._keys: Any = None
        self._values: Any = None

    def read(self) -> list[Entry]:
        """Return the entries as (key, value); a per-CPU value is one after the other, each padded to 8 bytes.

        Not a snapshot: what is added or removed meanwhile may be in it or not.

        Raises:
            LibbpfError: The kernel refused to read it.
        """
        found: list[Entry] = []
        if self.batched:
            try:
                for entries in self._batches():
                    found += entries
                return found
            except _NoBatchesError:
                self.batched = False
                if not self._clear:  # what was only read is read again; what has been removed is nowhere else
                    found.clear()
        found += self._walk()
        return found

    def _walk(self) -> Iterable[Entry]:
        # Where the key that a walk has come to is removed, it begins anew: that must come to an end.
        found = dict(islice(self._map.entries(), 4 * self._map.max_entries))
        if not self._clear:
            return found.items()
        taken = ((key, self._map.take(key)) for key in found)
        return ((key, value) for key, value in taken if value is not None)

    def _reserve(self, capacity: int) -> None:
        self._capacity = capacity
        self._keys = ctypes.create_string_buffer(capacity * self._key_size)
        self._values = ctypes.create_string_buffer(capacity * self._value_size)

    def _batches(self) -> Iterator[list[Entry]]:
        if not self._capacity:
            fit = _BATCH_SIZE_BYTES // (self._key_size + self._value_size)
            self._reserve(max(min(self._map.max_entries, fit), 1))
        name = "bpf_map_lookup_and_delete_batch" if self._clear else "bpf_map_lookup_batch"
        function = getattr(lib, name)
        before, after = None, self._places[0]
        following = self._places[1]
        while True:
            count = ctypes.c_uint32(self._capacity)
            result = function(self._map.fd, before, after, self._keys, self._values, ctypes.byref(count), None)
            if result == -errno.ENOSPC:
                if self._capacity > self._map.max_entries:  # that is as many as a bucket can have
                    raise _NoBatchesError
                # One more than the map has: for a moment a new entry stands beside the one that it replaces.
                self._reserve(min(self._capacity * 2, self._map.max_entries + 1))
                continue
            if result == -errno.EINTR or (result in _UNSUPPORTED and before is None):
                raise _NoBatchesError  # or entries vanish while others are looked for
            if result not in (0, -errno.ENOENT):
                raise LibbpfError(name, -result)
            if count.value:
                yield self._entries(min(count.value, self._capacity))
            if result:
                return
            before, after, following = after, following, after

    def _entries(self, count: int) -> list[Entry]:
        """Copy the entries of a batch out of the buffers."""
        keys = ctypes.string_at(self._keys, count * self._key_size)  # copied: the next batch overwrites them
        values = ctypes.string_at(self._values, count * self._value_size)
        return list(zip(_split(keys, self._key_size), _split(values, self._value_size), strict=True))


def _split(data: bytes, size_bytes: int) -> Iterator[bytes]:
    return chain.from_iterable(Struct(f"{size_bytes}s").iter_unpack(data))
