"""What a program says of samples that it could not place, in variables and maps that are named after the map of the samples.

For a map ``events`` that is ``events_lost``: a global integer or array of integers, or a map whose values are integers, per CPU
or not. Of several values the sum counts.
"""

from __future__ import annotations

import sys

from ecli_runtime.btf import Array, Int
from ecli_runtime.opening import LOST_SUFFIX

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from ecli_runtime.btf import Btf
    from ecli_runtime.globals import Global
    from ecli_runtime.libbpf.object import LoadedMap, LoadedObject


def find_counters(loaded: LoadedObject, variables: Iterable[Global], map_names: Iterable[str]) -> dict[str, Callable[[], int]]:
    """Return for each map whose program counts what reads that count; it raises :class:`LibbpfError` where the kernel refuses.

    Args:
        loaded: The object; what is returned may be called until it is closed.
        variables: Its global variables.
        map_names: The maps that samples come from.
    """
    found: dict[str, Callable[[], int]] = {}
    wanted = {name + LOST_SUFFIX: name for name in map_names}
    for each in loaded.maps:
        if each.name in wanted and each.value_size_bytes in (1, 2, 4, 8):
            found[wanted[each.name]] = _map_counter(each)
    sections = {each.data_section: each for each in loaded.maps if each.data_section}
    for variable in variables:
        integer = _integer(loaded.btf, variable.type_id)
        if variable.name in wanted and integer is not None and variable.section in sections:
            found[wanted[variable.name]] = _variable_counter(sections[variable.section], variable, integer)
    return found


def _integer(btf: Btf, type_id: int) -> Int | None:
    """Return the type of the integers that a variable is made of."""
    bare = btf.resolve(type_id)[1]
    while isinstance(bare, Array):
        bare = btf.resolve(bare.element)[1]
    return bare if isinstance(bare, Int) and bare.size_bytes <= 8 else None


def _map_counter(counts: LoadedMap) -> Callable[[], int]:
    # A value for a CPU is padded to 8 bytes.
    step = 8 if counts.per_cpu else counts.value_size_bytes
    return lambda: sum(sum(_numbers(value, step, counts.value_size_bytes)) for _key, value in counts.entries())


def _variable_counter(section: LoadedMap, variable: Global, integer: Int) -> Callable[[], int]:
    first, last, size = variable.byte_offset, variable.byte_offset + variable.size_bytes, integer.size_bytes
    return lambda: sum(sum(_numbers(data[first:last], size, size, integer.signed)) for _key, data in section.entries())


def _numbers(data: bytes, step: int, size: int, signed: bool = False) -> Sequence[int]:
    return [int.from_bytes(data[at : at + size], sys.byteorder, signed=signed) for at in range(0, len(data), step)]
