"""One action on a thread of its own, whose end somebody waits for.

threading offers more, and takes 1.5 ms to import.
"""

from __future__ import annotations

import _thread

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


class Background:
    """An action that runs beside its maker.

    Args:
        action: What to do; called once.
    """

    def __init__(self, action: Callable[[], Any]) -> None:
        self._action = action
        self._value: Any = None
        self._problem: BaseException | None = None
        self._ended = _thread.allocate_lock()
        self._ended.acquire()
        _thread.start_new_thread(self._run, ())

    def _run(self) -> None:
        try:
            self._value = self._action()
        except BaseException as problem:  # noqa: BLE001  whoever waits gets it
            self._problem = problem
        finally:
            self._ended.release()

    @property
    def ended(self) -> bool:
        """Whether the action has ended, so that nothing here waits any more."""
        return not self._ended.locked()

    def wait(self) -> None:
        """Wait until the action has ended, however it did. An exception of a signal handler is raised only then.

        What the action makes is made by then, so whoever cleans up finds all of it.
        """
        interruption: BaseException | None = None
        while True:
            try:
                self._ended.acquire()
                break
            except BaseException as raised:  # noqa: BLE001  it is raised below
                interruption = raised
        self._ended.release()
        if interruption is not None:
            raise interruption

    def result(self) -> Any:
        """Wait for the end, and return what the action returned or raise what it raised."""
        self.wait()
        if self._problem is not None:
            raise self._problem
        return self._value
