"""Stack traces as they are taken out of the kernel: whose they are, and what their functions are called."""

from __future__ import annotations

from ecli_runtime.decode.entries import find
from ecli_runtime.decode.python import make_decoder
from ecli_runtime.symbols.resolver import Resolver
from ecli_schemas.model import StackTrace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import Any, TypeAlias

    from ecli_runtime.decode.stacks import Frame
    from ecli_runtime.stream import Source

    Addresses: TypeAlias = tuple[int, ...] | None  # the innermost first; None: the stack was lost
    StackPair: TypeAlias = tuple[Addresses, Addresses]  # of the kernel and of a process

_NAMES_OF_COMM = ("comm", "name", "task")
_NAMES_OF_PID = ("pid", "tgid")


class StackNames:
    """What the stacks of a map's entries are called.

    Args:
        source: The map; its keys refer to stacks.
    """

    def __init__(self, source: Source) -> None:
        said = source.stacks or StackTrace()
        self._resolver = Resolver()
        self._pid = _reader(source, (said.pid, *_NAMES_OF_PID))
        self._comm = _reader(source, (said.comm, *_NAMES_OF_COMM))

    def pid(self, key: bytes) -> int:
        """Return the process of an entry, 0 if its key does not say it."""
        number = self._pid(key) if self._pid is not None else 0
        return number if isinstance(number, int) else 0

    def comm(self, key: bytes) -> str:
        """Return what the process of an entry is called."""
        said = self._comm(key) if self._comm is not None else ""
        pid = self.pid(key)
        return (said if isinstance(said, str) else "") or self._resolver.processes.comm(pid) or (f"pid {pid}" if pid else "all")

    def meet(self, stacks: Mapping[bytes, StackPair]) -> None:
        """Look at the processes of a reading: they may have ended when the stacks are shown."""
        for pid in {self.pid(key) for key, (_kernel, user) in stacks.items() if user}:
            self._resolver.processes.meet(pid)

    def frames(self, member: int, key: bytes, addresses: Addresses) -> list[Frame] | None:
        """Return the frames of a stack, the kernel's (0) or the process's (1); ``None``: it was lost."""
        if addresses is None:
            return None
        return self._resolver.user(self.pid(key), addresses) if member else self._resolver.kernel(addresses)


class ReadingStacks:
    """What the stacks of one reading are called, as :class:`~ecli_runtime.decode.stacks.Stacks`; processes are looked at now.

    Args:
        names: Of the map.
        pairs: The stacks of each key.
    """

    def __init__(self, names: StackNames, pairs: Mapping[bytes, StackPair]) -> None:
        self._names, self._pairs = names, pairs
        names.meet(pairs)

    def keys(self) -> Iterable[tuple[int, bytes]]:
        """Return what the stacks are known by."""
        return ((member, key) for key in self._pairs for member in (0, 1))

    def frames(self, member: int, key: bytes) -> list[Frame] | None:
        """Return the frames of a stack, the innermost first; ``None``: it was lost."""
        return self._names.frames(member, key, self._pairs.get(key, ((), ()))[member])

    def comm(self, key: bytes) -> str:
        """Return what the process of an entry is called."""
        return self._names.comm(key)


def _reader(source: Source, names: Sequence[str]) -> Callable[[bytes], Any] | None:
    """Return the function that reads the first of some members that the key has."""
    for name in names:
        plan = find(source.plans[0], name)
        if plan is not None:
            return make_decoder(plan)
    return None
