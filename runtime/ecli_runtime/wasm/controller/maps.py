"""Operations on maps for a guest: sizes are the map's, memory is checked before the kernel sees anything."""

from __future__ import annotations

import ctypes

from ecli_runtime.errors import LibbpfError
from ecli_runtime.libbpf._ffi import lib
from ecli_runtime.wasm.errnos import EBADF, EINVAL, guest_errno

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Container

    from ecli_runtime.libbpf.object import LoadedMap
    from ecli_runtime.wasm.memory import GuestMemory

LOOKUP, UPDATE, DELETE, NEXT_KEY = 1, 2, 3, 4

# enum bpf_map_type, include/uapi/linux/bpf.h. Values of these are descriptors, of what a guest cannot have:
_HOLDS_DESCRIPTORS = frozenset((3, 4, 8, 15, 17, 18, 20))  # PROG, PERF_EVENT, CGROUP, SOCK, XSK, SOCKHASH, REUSEPORT_SOCK
_HOLDS_PROGRAMS = frozenset((14, 16, 25))  # DEVMAP, CPUMAP, DEVMAP_HASH: in the second four bytes, if there are
_HOLDS_MAPS = frozenset((12, 13))  # ARRAY_OF_MAPS, HASH_OF_MAPS


def operate(
    loaded_map: LoadedMap,
    command: int,
    key: int,
    value: int,
    next_key: int,
    flags: int,
    memory: GuestMemory,
    owned: Container[int],
) -> int:
    """Do one operation for a guest; return 0, or a guest's error number, negative.

    Args:
        loaded_map: The map.
        command: 1: look up, 2: update, 3: delete, 4: get the next key.
        key: Address of the key; 0 is the one before the first, for the next key.
        value: Address of the value: of a per-CPU map one for each possible CPU, each padded to 8 bytes.
        next_key: Address that the next key is written to.
        flags: ``BPF_F_…`` or ``BPF_ANY`` and so on.
        memory: The guest's memory.
        owned: Descriptors of the guest's own maps.

    Raises:
        FaultError: An address is none of the guest's.
    """
    key_size, value_size = loaded_map.key_size_bytes, loaded_map.lookup_size_bytes
    fd, flags = loaded_map.fd, flags & 0xFFFF_FFFF_FFFF_FFFF
    # Queues, stacks and bloom filters have no keys.
    key_bytes = memory.read(key, key_size) if key_size and not (command == NEXT_KEY and key == 0) else None
    if command == LOOKUP:
        memory.view(value, value_size)
        found = ctypes.create_string_buffer(max(value_size, 1))
        if not key_size and value_size:  # of a bloom filter it is what is looked for
            found.raw = memory.read(value, value_size)
        result: int = lib.bpf_map_lookup_elem_flags(fd, key_bytes, found, flags)
        if result == 0:
            memory.write(value, found.raw[:value_size])
    elif command == UPDATE:
        data = memory.read(value, value_size)
        if not _is_its_own(loaded_map.type, data, owned):
            return -EBADF
        try:
            result = lib.bpf_map_update_elem(fd, key_bytes, data, flags)
        except LibbpfError as error:
            result = -error.errno
    elif command == DELETE:
        result = lib.bpf_map_delete_elem_flags(fd, key_bytes, flags)
    elif command == NEXT_KEY:
        memory.view(next_key, key_size)
        found = ctypes.create_string_buffer(max(key_size, 1))
        result = lib.bpf_map_get_next_key(fd, key_bytes, found)
        if result == 0:
            memory.write(next_key, found.raw[:key_size])
    else:
        return -EINVAL
    return 0 if result == 0 else -guest_errno(-result)


def _is_its_own(map_type: int, value: bytes, owned: Container[int]) -> bool:
    """Tell whether a value refers to nothing that the guest does not have: a number in it may be a descriptor of ours."""
    if map_type in _HOLDS_DESCRIPTORS:
        return False
    if map_type in _HOLDS_MAPS:
        return int.from_bytes(value[:4], "little") in owned
    return not (map_type in _HOLDS_PROGRAMS and int.from_bytes(value[4:8], "little"))
