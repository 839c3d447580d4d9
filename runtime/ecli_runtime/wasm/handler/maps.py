"""Maps of a loaded object, for a handler that names them: keys and values by their bytes, errors as numbers."""

from __future__ import annotations

import ctypes
import errno

from ecli_runtime.errors import LibbpfError
from ecli_runtime.libbpf._ffi import lib

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ecli_runtime.libbpf.object import LoadedMap


class MapAccess:
    """One map. What is returned may be a negative error number of Linux.

    Args:
        loaded: The map; its object's owner keeps it open.
    """

    def __init__(self, loaded: LoadedMap) -> None:
        self._map, self._key_size, self._value_size = loaded, loaded.key_size_bytes, loaded.lookup_size_bytes

    def lookup(self, key: bytes) -> bytes | int:
        """Return the value of a key; of a per-CPU map one value after the other, each padded to 8 bytes."""
        if len(key) != self._key_size:
            return -errno.EINVAL
        value = ctypes.create_string_buffer(self._value_size)
        result: int = lib.bpf_map_lookup_elem(self._map.fd, key, value)
        return value.raw if result == 0 else result

    def next_key(self, key: bytes | None) -> bytes | int:
        """Return the key after another, of ``None`` the first; ``-ENOENT``: there is none."""
        if key is not None and len(key) != self._key_size:
            return -errno.EINVAL
        found = ctypes.create_string_buffer(self._key_size)
        result: int = lib.bpf_map_get_next_key(self._map.fd, key, found)
        return found.raw if result == 0 else result

    def update(self, key: bytes, value: bytes, flags: int) -> int:
        """Store a value; return 0."""
        if len(key) != self._key_size or len(value) != self._value_size:
            return -errno.EINVAL
        try:
            lib.bpf_map_update_elem(self._map.fd, key, value, flags)
        except LibbpfError as error:
            return -error.errno
        return 0

    def delete(self, key: bytes) -> int:
        """Remove an entry; return 0."""
        if len(key) != self._key_size:
            return -errno.EINVAL
        result: int = lib.bpf_map_delete_elem(self._map.fd, key)
        return result
