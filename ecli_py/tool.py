"""The Python API: a package at work, as an iterator of events."""

from __future__ import annotations

import time
from itertools import islice

from ecli_py.source import load_package
from ecli_runtime.opening import OpenSession

TYPE_CHECKING = False
if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Mapping
    from types import TracebackType

    from typing_extensions import Self

    from ecli_runtime.globals import Value
    from ecli_runtime.opening import Source
    from ecli_runtime.session import Event, Session, Stats

# How long one wait lasts at most: a bound on how late a deadline is noticed.
_WAIT_MS = 1000


class Tool:
    """A package that is loaded and attached. Closing it detaches and unloads it.

    Args:
        session: The session behind it, owned by this object from now on.
    """

    def __init__(self, session: Session) -> None:
        self._session = session

    @property
    def sources(self) -> tuple[Source, ...]:
        """The maps that events come from, with the types of their events."""
        return self._session.sources

    @property
    def stats(self) -> Stats:
        """Events, lost samples and seconds so far."""
        return self._session.stats()

    def events(self, duration_s: float | None = None, count: int | None = None) -> Iterator[Event]:
        """Yield events as they come: dictionaries of member names to values, each with the ``source`` it came through.

        Args:
            duration_s: Seconds after which to end; ``None`` for no limit.
            count: Events after which to end; ``None`` for no limit.

        The iterator ends by itself at a limit or after :meth:`stop`, and then detaches the programs; what was queued until
        then is still yielded.

        Raises:
            LibbpfError: A buffer or a map could not be read.
        """
        for batch in self.batches(duration_s, count):
            yield from batch

    def batches(self, duration_s: float | None = None, count: int | None = None) -> Iterator[Iterator[Event]]:
        """Yield events in the batches in which they were there, for a consumer that flushes after each.

        Each batch must be used up before the next is asked for. Arguments and errors as :meth:`events`.
        """
        session = self._session
        deadline = None if duration_s is None else time.monotonic() + duration_s
        left = _Countdown(count)
        while not session.stopping and not left.done:
            wait_ms = _WAIT_MS
            if deadline is not None:
                remaining = deadline - time.monotonic()
                if remaining <= 0:
                    break
                wait_ms = min(wait_ms, int(remaining * 1000) + 1)
            yield left.take(session.events(wait_ms))
        yield left.take(session.finish())

    def stop(self) -> None:
        """End :meth:`events` soon; may be called from a signal handler or another thread."""
        self._session.stop()

    def close(self) -> None:
        """Detach and unload; a second call does nothing."""
        self._session.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


class _Countdown:
    def __init__(self, count: int | None) -> None:
        self._left = count

    @property
    def done(self) -> bool:
        return self._left is not None and self._left <= 0

    def take(self, events: Iterator[Event]) -> Iterator[Event]:
        if self._left is None:
            yield from events
        else:
            for event in islice(events, self._left):  # which never takes one more to find out that it is one too many
                self._left -= 1
                yield event


def open_tool(package: str | os.PathLike[str], options: Mapping[str, Value], kernel_btf: str | None, latency_ms: float) -> Tool:
    """Open a package, set its options, load and attach it; see :func:`ecli_py.open`."""
    with OpenSession(load_package(package), kernel_btf) as opened:
        for name, value in options.items():
            opened.set(name, value)
        return Tool(opened.load().start(latency_ms))
