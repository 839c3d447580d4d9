"""A view that refreshes in place: what the maps hold now, over what they held before."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_HOME, _CLEAR_LINE, _CLEAR_BELOW, _CLEAR = b"\x1b[H", b"\x1b[K", b"\x1b[J", b"\x1b[2J"
_NO_WRAP, _WRAP = b"\x1b[?7l", b"\x1b[?7h"  # a line that is too long loses its end instead of taking two
_DEFAULT_LINES = 24


class Screen:
    """The terminal. Each map has a block of lines, in the order in which they were first read."""

    def __init__(self) -> None:
        self._blocks: dict[str, Sequence[bytes]] = {}
        self._is_new = True

    def frame(self, name: str, block: Sequence[bytes]) -> bytes:
        """Return what shows all blocks, one of which is new, as far as there is room.

        Args:
            name: Of the map.
            block: Its lines, which must not hold anything that a terminal obeys but colours.
        """
        self._blocks[name] = block
        lines = [line for each in self._blocks.values() for line in each]
        room = max(_height() - 2, 1)  # the last line is for the cursor
        if len(lines) > room:
            lines = [*lines[: room - 1], b"..."]
        start = _CLEAR + _HOME if self._is_new else _HOME
        self._is_new = False
        body = b"".join(line + _CLEAR_LINE + b"\n" for line in lines)
        return start + _NO_WRAP + body + _WRAP + _CLEAR_BELOW


def _height() -> int:
    try:
        return os.get_terminal_size(1).lines
    except OSError:
        return _DEFAULT_LINES
