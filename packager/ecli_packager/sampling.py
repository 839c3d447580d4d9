"""What is read periodically although nothing in the source says so: maps, and global variables with results."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from ecli_runtime.btf import Array, Btf, Composite, Int
from ecli_runtime.decode.plan import make_plan
from ecli_runtime.errors import BtfError
from ecli_runtime.globals import Global, find_globals
from ecli_runtime.libbpf.object import MAP_TYPE_PERF_EVENT_ARRAY, MAP_TYPE_RINGBUF, OpenObject
from ecli_runtime.opening import LOST_SUFFIX

if TYPE_CHECKING:
    from ecli_schemas.model import SampleKind

STACK_TRACE_MAP_TYPE = 7
# Maps whose entries mean something to a reader: hash, array, their per-CPU and LRU kinds (enum bpf_map_type).
_READABLE_MAP_TYPES = frozenset((1, 2, 5, 6, 9, 10))
_WRITABLE_SECTIONS = (".bss", ".data")
_HISTOGRAM_NAME = re.compile(r"(.*_)?(hist|histogram|slots)")
_KERNEL_TYPE = re.compile(r"bpf_(spin_lock|res_spin_lock|timer|wq|list_head|list_node|rb_root|rb_node|refcount)")


def sampled_maps(opened: OpenObject, emptied: Callable[[], frozenset[str]], has_results: bool) -> frozenset[str]:
    """Return the maps that are read periodically although nothing says so.

    Those whose value is a histogram, and those whose key refers to a map of stack traces (a profile); else, where no events come
    through any map, all whose entries mean something. Of those, entries that programs delete again are what is under way, not
    what came out: they are read only if they say by which stack, or if there is nothing else.

    Args:
        opened: The object.
        emptied: Returns the maps that programs delete entries of.
        has_results: There are global variables with results.
    """
    maps = [each for each in opened.maps if not each.data_section and each.type in _READABLE_MAP_TYPES]
    histograms = frozenset(each.name for each in maps if is_histogram(opened.btf, each.btf_value_type_id))
    if any(each.type == STACK_TRACE_MAP_TYPE for each in opened.maps):
        histograms |= frozenset(each.name for each in maps if stack_members(opened.btf, each.btf_key_type_id))
    if histograms or has_events(opened):
        return histograms
    shown = frozenset(each.name for each in maps if each.btf_key_type_id and each.btf_value_type_id)
    if len(shown) < 2 and not has_results:
        return shown
    by_stack = frozenset(each.name for each in maps if stack_members(opened.btf, each.btf_value_type_id))
    left = (shown - emptied()) | (shown & by_stack)
    return left if has_results else left or shown


def results(opened: OpenObject, written: Callable[[], frozenset[str]]) -> list[Global]:
    """Return the global variables that hold what comes out: those that programs write to, where neither events nor lines come.

    Args:
        opened: The object.
        written: Returns the variables that programs write to.
    """
    if has_events(opened) or any(each.is_iterator for each in opened.programs):
        return []
    counters = {each.name + LOST_SUFFIX for each in opened.maps}
    found = [each for each in find_globals(opened.btf) if each.section.startswith(_WRITABLE_SECTIONS)]
    found = [each for each in found if not each.name.startswith("__") and each.name not in counters]
    names = written() if found else frozenset()
    return [each for each in found if each.name in names and _is_readable(opened.btf, each.type_id)]


def has_events(opened: OpenObject) -> bool:
    """Tell whether events come through any map."""
    return any(each.type in (MAP_TYPE_RINGBUF, MAP_TYPE_PERF_EVENT_ARRAY) for each in opened.maps)


def kind_of_result(btf: Btf, variable: Global) -> SampleKind:
    """Return how a variable is shown: ``log2_hist`` where it is a histogram, or an array of such."""
    bare = btf.resolve(variable.type_id)[1]
    is_slots = isinstance(bare, Array) and _HISTOGRAM_NAME.fullmatch(variable.name) and _holds_integers(btf, bare)
    return "log2_hist" if is_slots or is_histogram(btf, element(btf, variable.type_id)) else "default_kv"


def is_histogram(btf: Btf, type_id: int) -> bool:
    """Tell whether a type is a struct with an array named ``slots``, the field's convention for a log2 histogram."""
    bare = btf.resolve(type_id)[1] if type_id else None
    return isinstance(bare, Composite) and any(member.name == "slots" for member in bare.members)


def element(btf: Btf, type_id: int) -> int:
    """Return the type of an array's elements; of anything else the type itself."""
    bare = btf.resolve(type_id)[1]
    return bare.element if isinstance(bare, Array) else type_id


def stack_members(btf: Btf, type_id: int) -> dict[str, str]:
    """Return which members of a key hold the ids of stack traces: ``kstack``, ``ustack`` → name of the member."""
    bare = btf.resolve(type_id)[1] if type_id else None
    found: dict[str, str] = {}
    for member in bare.members if isinstance(bare, Composite) else ():
        if "stack" in member.name and isinstance(btf.resolve(member.type_id)[1], Int):
            found["ustack" if member.name.startswith("u") else "kstack"] = member.name
    return found


def _holds_integers(btf: Btf, array: Array) -> bool:
    bare = btf.resolve(array.element)[1]
    return isinstance(bare, Int) and bare.size_bytes in (4, 8)


def _is_readable(btf: Btf, type_id: int) -> bool:
    """Tell whether a variable is data, not a lock or another object of the kernel's."""
    bare = btf.resolve(element(btf, type_id))[1]
    if isinstance(bare, Composite) and _KERNEL_TYPE.fullmatch(bare.name):
        return False
    try:
        return any(op.code not in ("struct", "array", "pointer") for op in make_plan(btf, type_id).ops)
    except BtfError:
        return False
