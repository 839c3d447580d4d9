"""Sizes of maps whose authors leave them to user space, as libbpf-tools do: a package has none. Imported only for such maps."""

from __future__ import annotations

from ecli_runtime.libbpf._ffi import lib
from ecli_runtime.libbpf.object import MAP_TYPE_STACK_TRACE, SIZED_MAP_TYPES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ecli_runtime.libbpf.object import OpenMap

_ENTRIES = 10_240  # what most tools of libbpf-tools have
_STACK_DEPTH = 127  # PERF_MAX_STACK_DEPTH, include/uapi/linux/perf_event.h: the most that kernels take unless told otherwise


def assumed_sizes(each: OpenMap) -> tuple[int, int]:
    """Return how many entries a map is created with, and the bytes of each value: what its author says, or else an assumption.

    Arrays are left as they are: what their indices mean, and so how many there are, is only known to the author.
    """
    entries = _ENTRIES if not each.max_entries and each.type in SIZED_MAP_TYPES else each.max_entries
    is_unsized_stack = each.type == MAP_TYPE_STACK_TRACE and not each.value_size_bytes
    return entries, 8 * _STACK_DEPTH if is_unsized_stack else each.value_size_bytes


def assume_sizes(each: OpenMap) -> None:
    """Give a map the sizes that its author has not said, before it is created; what ``each`` tells of itself stays as it was."""
    entries, value_size_bytes = assumed_sizes(each)
    if entries != each.max_entries:
        lib.bpf_map__set_max_entries(each.handle, entries)
    if value_size_bytes != each.value_size_bytes:
        lib.bpf_map__set_value_size(each.handle, min(value_size_bytes, 8 * _max_stack_depth()))


def _max_stack_depth() -> int:
    """Return how many frames of a stack the kernel takes at most: a map for more of them is refused (``stack_map_alloc``)."""
    try:
        with open("/proc/sys/kernel/perf_event_max_stack", "rb") as file:
            return int(file.read())
    except (OSError, ValueError):
        return _STACK_DEPTH
