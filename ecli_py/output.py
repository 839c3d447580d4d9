"""Chunks of a stream as text: the one place where a format, a choice of members and a limit meet."""

from __future__ import annotations

from ecli_runtime.decode.events import EventDecoder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ecli_runtime.decode.events import Event
    from ecli_runtime.stream import Chunk


class Output:
    """Renders chunks.

    Args:
        render: Makes lines of an event.
    """

    def __init__(self, render: Callable[[Event], str]) -> None:
        self._render = render
        self._decoder = EventDecoder()

    def render(self, chunk: Chunk, limit: int) -> tuple[str, int]:
        """Return the lines of a chunk, and how many events they show: at most ``limit``, if that is not negative."""
        lines: list[str] = []
        for event in self._decoder.events(chunk):
            if len(lines) == limit:
                break
            lines.append(self._render(event))
        return "".join(lines), len(lines)
