"""How large ring buffers and perf buffers are, where the user says it."""

from __future__ import annotations

import mmap

from ecli_runtime.errors import OptionError
from ecli_runtime.libbpf.object import MAP_TYPE_PERF_EVENT_ARRAY, MAP_TYPE_RINGBUF

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ecli_runtime.libbpf.object import OpenMap

LARGEST_SIZE_BYTES = 1 << 31  # max_entries of a map has 32 bits

_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


def parse_ring_sizes(texts: Iterable[str]) -> dict[str, int]:
    """Return what ``--ring-size`` says, ``SIZE`` or ``MAP=SIZE`` each: bytes by name of the map, empty text for all others.

    Raises:
        OptionError: It says no size.
    """
    sizes = {}
    for text in texts:
        name, equals, size = text.rpartition("=")
        if equals and not name:
            raise OptionError(f"--ring-size: expected MAP=SIZE, got {text!r}", "for example 1M, 256K or events=4M")
        sizes[name] = _parse_size(size)
    return sizes


def _parse_size(text: str) -> int:
    """Return bytes: a number with a binary unit, ``4K``, ``4KB`` and ``4KiB`` being the same."""
    number = text.upper().removesuffix("IB").removesuffix("B")
    unit = number[-1:] if number[-1:] in ("K", "M", "G") else ""
    number = number.removesuffix(unit)
    if number.isascii() and number.isdigit() and len(number) < 12 and int(number):
        return int(number) * _UNITS[unit]
    raise OptionError(f"--ring-size: expected a size in bytes, got {text!r}", "for example 1M, 256K or events=4M")


def size_text(size_bytes: int) -> str:
    """Return a size as short as ``--ring-size`` takes it: ``256K``."""
    for unit in ("G", "M", "K"):
        if size_bytes % _UNITS[unit] == 0:
            return f"{size_bytes // _UNITS[unit]}{unit}"
    return str(size_bytes)


def set_ring_sizes(maps: Sequence[OpenMap], sizes: Mapping[str, int], page_counts: dict[str, int]) -> list[str]:
    """Set sizes before an object is loaded; return in words where one is rounded up.

    Args:
        maps: All maps of the object.
        sizes: Bytes, by name of the map; of those that are not named by empty text. Of a perf event array for each CPU.
        page_counts: Gets the pages of perf event arrays by their names: the map itself does not have that size.

    Raises:
        OptionError: There is no such map, or a size is not possible.
    """
    buffers = {each.name: each for each in maps if each.type in (MAP_TYPE_RINGBUF, MAP_TYPE_PERF_EVENT_ARRAY)}
    for name in sizes:
        if not buffers or (name and name not in buffers):
            what = f" {name!r}" if name else ""
            known = f"there is {', '.join(buffers)}" if buffers else "its maps are read, not sent"
            raise OptionError(f"--ring-size: the package has no ring buffer or perf event array{what}", known)
    rounded = []
    for name, each in buffers.items():
        wanted = sizes.get(name, sizes.get(""))
        if wanted is None:
            continue
        if not 0 < wanted <= LARGEST_SIZE_BYTES:
            most = size_text(LARGEST_SIZE_BYTES)
            raise OptionError(f"--ring-size: map {name} cannot have {wanted} bytes", f"up to {most}, as far as memory goes")
        size_bytes = max(1 << (wanted - 1).bit_length(), mmap.PAGESIZE)
        if size_bytes != wanted:
            rounded.append(f"--ring-size: map {name} gets {size_text(size_bytes)}: sizes are powers of two, and whole pages")
        if each.type == MAP_TYPE_RINGBUF:
            each.set_max_entries(size_bytes)
        else:
            page_counts[name] = size_bytes // mmap.PAGESIZE
    return rounded
