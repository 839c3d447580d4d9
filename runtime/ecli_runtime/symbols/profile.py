"""Maps that count stack traces: whose they are, and what their functions are called."""

from __future__ import annotations

from ecli_runtime.decode.entries import find
from ecli_runtime.decode.python import make_decoder
from ecli_runtime.symbols.resolver import Resolver
from ecli_schemas.model import StackTrace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from ecli_runtime.stream import Source, StackPair
    from ecli_runtime.symbols.resolver import Frame

STACK_MEMBERS = ("kernel_stack", "user_stack")  # of events
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

    def frames(self, key: bytes, stacks: StackPair) -> tuple[list[Frame] | None, list[Frame] | None]:
        """Return the frames of the kernel and of the process, the innermost first; ``None``: they were lost."""
        kernel, user = stacks
        return (
            None if kernel is None else self._resolver.kernel(kernel),
            None if user is None else self._resolver.user(self.pid(key), user),
        )

    def members(self, key: bytes, stacks: StackPair) -> dict[str, list[str] | None]:
        """Return the names of the functions as members of an event."""
        pair = self.frames(key, stacks)
        return {
            name: None if frames is None else [function for function, _file in frames]
            for name, frames in zip(STACK_MEMBERS, pair, strict=True)
        }


def _reader(source: Source, names: Sequence[str]) -> Callable[[bytes], Any] | None:
    """Return the function that reads the first of some members that the key has."""
    for name in names:
        plan = find(source.plans[0], name)
        if plan is not None:
            return make_decoder(plan)
    return None
