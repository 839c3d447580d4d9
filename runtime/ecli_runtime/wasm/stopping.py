"""Asking a module to end, from another thread or a signal handler, while it computes, polls or sleeps."""

from __future__ import annotations

import os
import select
import time

from ecli_runtime.wasm.limits import interrupt

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any


class KilledError(Exception):
    """Ends a guest that did not end by itself."""


class Stop:
    """What ends a module: first it is asked to, which its polls and one sleep tell it; then it is killed.

    Args:
        engine: ``wasmtime.Engine`` of the module, for which nobody ticks.

    Attributes:
        asked: It was asked to end.
        killed: It has to end now.
    """

    def __init__(self, engine: Any) -> None:
        self._engine = engine
        self.asked = self.killed = False
        self._told = False
        self._asked_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._killed_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._closed = False

    def ask(self) -> None:
        """Ask it to end. A second call does nothing."""
        self.asked = True
        if not self._closed:
            os.eventfd_write(self._asked_fd, 1)

    def kill(self) -> None:
        """End it: what runs traps, what waits wakes up. A second call does nothing."""
        self.asked = self.killed = True
        if not self._closed:
            os.eventfd_write(self._asked_fd, 1)
            os.eventfd_write(self._killed_fd, 1)
            interrupt(self._engine)

    def check(self) -> None:
        """Raise :class:`KilledError` if it has to end."""
        if self.killed:
            raise KilledError

    def wait(self, fds: Sequence[int], timeout_ms: float, events: int = select.POLLIN) -> bool:
        """Wait until one of the descriptors is ready, it is asked to end, or the time is over.

        Args:
            fds: Descriptors.
            timeout_ms: Milliseconds; negative: for ever.
            events: ``POLL…`` bits that they are waited for.

        Returns:
            Whether one of them is ready.

        Raises:
            KilledError: It has to end.
        """
        self.check()
        ready = self._poll(self._asked_fd, fds, timeout_ms, events)
        self.check()
        return ready

    def sleep(self, seconds: float, fds: Sequence[int] = (), events: int = select.POLLIN) -> bool:
        """Sleep, or until a descriptor is ready. Being asked to end cuts one sleep short, those after it only being killed.

        Args:
            seconds: How long; negative: for ever.
            fds: As :meth:`wait`.
            events: As :meth:`wait`.

        Returns:
            Whether a descriptor is ready.

        Raises:
            KilledError: It has to end.
        """
        self.check()
        deadline = time.monotonic() + seconds
        ready = False
        if not self._told:
            ready = self._poll(self._asked_fd, fds, seconds * 1000, events)
            self._told = self.asked
        else:
            ready = self._poll(self._killed_fd, fds, -1 if seconds < 0 else max(deadline - time.monotonic(), 0) * 1000, events)
        self.check()
        return ready

    def wait_for_end(self, done_fd: int, grace_s: float | None) -> bool:
        """Wait until a module has ended, or has had its time to end after it was asked to; return whether it has ended.

        Args:
            done_fd: Descriptor that can be read when it has ended.
            grace_s: Seconds that it has; ``None``: any.
        """
        poll = select.poll()
        poll.register(done_fd, select.POLLIN)
        if grace_s is None:
            return bool(poll.poll())
        return self._poll(self._asked_fd, [done_fd], -1, select.POLLIN) or bool(poll.poll(grace_s * 1000))

    def _poll(self, wake_fd: int, fds: Sequence[int], timeout_ms: float, events: int) -> bool:
        poll = select.poll()
        poll.register(wake_fd, select.POLLIN)
        for fd in fds:
            poll.register(fd, events)
        # Rounded up: a guest that asks for less than a millisecond would spin.
        found = poll.poll(None if timeout_ms < 0 else -(-timeout_ms // 1) if timeout_ms < 1 << 30 else 1 << 30)
        return any(fd != wake_fd for fd, _events in found)

    def close(self) -> None:
        """Close its descriptors, when the module has ended; a second call does nothing."""
        if not self._closed:
            self._closed = True
            os.close(self._asked_fd)
            os.close(self._killed_fd)
