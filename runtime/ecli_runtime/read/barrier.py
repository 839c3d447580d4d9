"""A full memory barrier, for memory that the kernel writes at the same time."""

from __future__ import annotations

import _thread
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def _no_fence() -> None:
    """Do nothing: x86 and s390x order loads after loads and stores after loads by themselves."""


def _make_fence() -> Callable[[], None]:
    """Return a barrier made of a lock: releasing it is a release, acquiring it an acquire operation."""
    lock = _thread.allocate_lock()  # what threading.Lock is
    lock.acquire()

    def barrier() -> None:
        lock.release()
        lock.acquire()

    return barrier


fence = _no_fence if os.uname().machine in ("x86_64", "s390x") else _make_fence()
