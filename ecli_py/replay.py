"""A recording, as an iterator of events: :class:`~ecli_py.tool.Tool` without a kernel."""

from __future__ import annotations

import sys
from contextlib import ExitStack

from ecli_runtime.decode.events import EventDecoder
from ecli_runtime.recording import Loss, MapLoss, Recording
from ecli_runtime.stream import Stats
from ecli_schemas.errors import EcliError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator
    from types import TracebackType

    from typing_extensions import Self

    from ecli_runtime.decode.events import Event
    from ecli_runtime.recording import RecordedRun


class Replay:
    """An open recording.

    Args:
        path: The recording; ``-`` is standard input.
        warn: Called with what is wrong with the recording; if ``None``, a Python warning is issued.
        raw: Values are given as they are, whatever they mean.

    Raises:
        EcliError: It cannot be read, or is no recording.
    """

    def __init__(self, path: str | os.PathLike[str], warn: Callable[[str], object] | None = None, raw: bool = False) -> None:
        self._path = path
        try:
            # Not buffered, so that the events of a pipe are shown as they come.
            self._file = open(sys.stdin.fileno() if path == "-" else path, "rb", buffering=0, closefd=path != "-")  # noqa: SIM115
        except OSError as error:
            raise self._failure(error) from error
        with ExitStack() as stack:
            stack.callback(self.close)
            try:
                self._recording = Recording(self._file, str(path), warn or _issue_warning, raw)
            except OSError as error:
                raise self._failure(error) from error
            stack.pop_all()  # it stays open
        self._past: list[Stats] = []
        self._run: RecordedRun | None = None
        self._shown = 0
        self._events = self._all_events()

    def _failure(self, error: OSError) -> EcliError:
        return EcliError(f"cannot read {self._path}: {error.strerror}", "check the path, and whether you may read it")

    @property
    def run(self) -> RecordedRun | None:
        """The run that the last event is from: its package, machine, options and times; ``None`` before the first event."""
        return self._run

    @property
    def stats(self) -> Stats:
        """Events that were yielded, and what was received and lost in the runs so far."""
        runs = [*self._past, self._run.stats] if self._run is not None else self._past
        received, lost, undecoded = (sum(getattr(run, name) for run in runs) for name in ("received", "lost", "undecoded"))
        occupancy = max((run.occupancy for run in runs), default=0.0)
        return Stats(self._shown, received, lost, undecoded, occupancy, sum(run.seconds for run in runs))

    def runs(self) -> Iterator[RecordedRun]:
        """Yield the runs, for consumers that render their chunks; each must be used up before the next is asked for.

        Raises:
            EcliError: The recording cannot be read.
        """
        try:
            for run in self._recording.runs():
                self._run = run
                yield run
                self._past.append(run.stats)
                self._run = None
        except OSError as error:
            raise self._failure(error) from error

    def events(self, count: int | None = None) -> Iterator[Event]:
        """Yield the events of all runs, in order, as :meth:`Tool.events() <ecli_py.tool.Tool.events>` did.

        Args:
            count: Events after which to end; ``None`` for no limit.

        A loop that is left can be taken up again.

        Raises:
            EcliError: The recording cannot be read.
        """
        left = count
        while left is None or left > 0:
            event = next(self._events, None)
            if event is None:
                return
            self._shown += 1
            left = None if left is None else left - 1
            yield event

    def _all_events(self) -> Iterator[Event]:
        for run in self.runs():
            decoder = EventDecoder()
            for chunk in run.chunks():
                if not isinstance(chunk, (Loss, MapLoss)):
                    yield from decoder.events(chunk)

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def _issue_warning(text: str) -> None:
    import warnings

    warnings.warn(text, stacklevel=1)
