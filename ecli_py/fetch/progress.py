"""How far a download is, on a terminal, if it takes long enough to be looked at."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import TracebackType

    from rich.progress import Progress
    from typing_extensions import Self

_SHOWN_AFTER_S = 0.5


class Bar:
    """A bar on stderr, which goes away at the end; nothing where that is no terminal.

    Args:
        name: What comes.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._since = time.monotonic()
        self._progress: Progress | None = None
        self._is_terminal = sys.stderr.isatty()

    def show(self, done: int, total: int | None) -> None:
        """Show how many bytes are here, and of how many, if that is known."""
        if not self._is_terminal or (self._progress is None and time.monotonic() - self._since < _SHOWN_AFTER_S):
            return
        if self._progress is None:
            from rich.console import Console
            from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

            columns = (DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
            name = TextColumn("{task.description}", markup=False)
            self._progress = Progress(name, BarColumn(), *columns, console=Console(stderr=True), transient=True)
            self._progress.add_task(self._name.rpartition("/")[2][:40], total=total)
            self._progress.start()
        self._progress.update(self._progress.task_ids[0], completed=done, total=total)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._progress is not None:
            self._progress.stop()
