"""The kernel's functions by address, as /proc/kallsyms lists them."""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right

from ecli_runtime.privileges import open_held

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

# An address farther than this behind a function is in something else, as data is: the largest functions have some 50 KiB.
_MAX_OFFSET = 1 << 16
_FUNCTIONS = b"tTwW"  # nm(1): symbols in the text section, and weak ones


def _functions(path: str) -> Iterator[tuple[int, bytes]]:
    """Yield address and name of each function that has an address."""
    try:
        with open_held(path) as file:
            for line in file:
                address, kind, name = line.split(None, 3)[:3]
                if kind in _FUNCTIONS and (number := int(address, 16)):
                    yield number, name
    except (OSError, ValueError):  # unreadable, or not in that form: there are no more
        return


class KernelSymbols:
    """Names of addresses in the kernel; some 4 MB for the 120,000 functions of a distribution's kernel.

    Args:
        path: A file in the form of ``/proc/kallsyms``. Without CAP_SYSLOG (or with ``kernel.kptr_restrict=2``) all addresses in
            that are 0, and nothing has a name; so too if it cannot be read.
    """

    def __init__(self, path: str = "/proc/kallsyms") -> None:
        addresses, name_offsets, names = array("Q"), array("I"), bytearray()
        for address, name in _functions(path):
            addresses.append(address)
            name_offsets.append(len(names))
            names += name + b"\n"
        # The kernel's own come in order; those of modules and BPF programs follow in any.
        order = sorted(range(len(addresses)), key=addresses.__getitem__)
        self._addresses = array("Q", (addresses[at] for at in order))
        self._name_offsets = array("I", (name_offsets[at] for at in order))
        self._names = bytes(names)

    def __len__(self) -> int:
        """Return the number of functions known."""
        return len(self._addresses)

    def text(self, address: int) -> str:
        """Return ``vfs_read+0x12``, without the offset if it is 0; empty if the address is in no function."""
        at = bisect_right(self._addresses, address) - 1
        if at < 0 or address - self._addresses[at] >= _MAX_OFFSET:
            return ""
        start = self._addresses[at]
        offset = self._name_offsets[bisect_left(self._addresses, start)]  # of aliases the first, as the kernel does
        name = self._names[offset : self._names.index(b"\n", offset)].decode("utf-8", "replace")
        return f"{name}+{address - start:#x}" if address > start else name


_kernel: KernelSymbols | None = None


def kernel_symbols() -> KernelSymbols:
    """Return the symbols of the running kernel, read at the first call; modules that are loaded later have no names."""
    global _kernel
    if _kernel is None:
        _kernel = KernelSymbols()
    return _kernel
