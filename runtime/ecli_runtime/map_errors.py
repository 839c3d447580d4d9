"""Why a map was not created. Imported only when that has happened."""

from __future__ import annotations

import errno

from ecli_runtime.behaviour import map_behaviour

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ecli_runtime.libbpf.object import OpenMap

# enum bpf_map_type, include/uapi/linux/bpf.h → first Linux that has it; what is older than 4.19 is left out.
SINCE = {
    **dict.fromkeys((19, 20), "4.19"),  # cgroup storage, sockets for reuseport
    **dict.fromkeys((21, 22, 23), "4.20"),  # per-CPU cgroup storage, queue, stack
    24: "5.2",  # storage of sockets
    25: "5.4",  # devices by hash
    26: "5.6",  # struct_ops
    27: "5.8",  # ring buffer
    28: "5.10",  # storage of inodes
    29: "5.11",  # storage of tasks
    30: "5.16",  # Bloom filter
    31: "6.1",  # user ring buffer
    32: "6.2",  # storage of cgroups
    33: "6.9",  # arena
    34: "6.19",  # instruction array
}
_RINGBUF, _ARENA, _STRUCT_OPS = 27, 33, 26
_F_MMAPABLE = 1 << 10  # BPF_F_MMAPABLE
_MB = 1e6


def hint_for_map(each: OpenMap, number: int) -> str:
    """Return what to try where the kernel did not create a map.

    Args:
        each: The map.
        number: Error number.
    """
    if number in (errno.ENOMEM, errno.E2BIG, errno.ENOSPC, errno.EOVERFLOW):
        return f"{_memory(each)}: lower its max_entries, or the memory limit of the control group is what refuses (memory.max)"
    if number == errno.EINVAL:
        since = SINCE.get(each.type)
        if since and not _is_known(each.type):
            return f"maps of type {each.type_name} need Linux {since}; `ecli-py doctor` shows which types this kernel has"
        if not _is_known(each.type):
            return "this kernel has no maps of that type; `ecli-py doctor` shows which it has"
        return _limits(each)
    return "`--verbose` shows libbpf's whole log; `ecli-py doctor` shows which types of maps this kernel has"


def _memory(each: OpenMap) -> str:
    from ecli_runtime.libbpf._ffi import lib

    known = map_behaviour(each)
    if known.memory_bytes is None:
        return "it is too large"
    size_bytes = known.memory_bytes + known.memory_per_cpu_bytes * lib.libbpf_num_possible_cpus()
    return f"it would take about {size_bytes / _MB:,.1f} MB for {each.max_entries:,} entries"


def _is_known(kind: int) -> bool:
    from ecli_runtime.libbpf import log
    from ecli_runtime.libbpf._ffi import lib

    known: int = lib.libbpf_probe_bpf_map_type(kind, None)
    log.take()
    return known == 1


def _limits(each: OpenMap) -> str:
    """Return what the kernel may have against the sizes of a map of a type that it has (``map_alloc_check`` of each type)."""
    if each.type == _RINGBUF:
        return f"the size of a ring buffer is a power of two, of whole pages; this is {each.max_entries}"
    if not each.max_entries and each.type != _ARENA:
        return "it has no max_entries: say how many, `__uint(max_entries, 1024);`"
    sizes = f"key {each.key_size_bytes} bytes, value {each.value_size_bytes} bytes, {each.max_entries} entries"
    return f"its sizes or flags ({sizes}) are none that the kernel takes for this type; `--verbose` shows libbpf's whole log"
