"""Standard output of a run: what waiting for it takes, and what is lost meanwhile."""

from __future__ import annotations

import os
import select
import stat
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ecli_py.tool import Tool

_FD = 1
_SURE_SIZE_BYTES = 4096  # of a write that does not wait where poll(2) says that there is room: a page of a pipe
_FIONREAD = 0x541B  # include/uapi/asm-generic/ioctls.h


class Sink:
    """Writes what a run shows; when standard output may not take it at once, what is lost until it does is its doing.

    Counters are read before and after such a write, so what is attributed is exact. Where output keeps up, it takes no more than
    one poll(2) a write.

    Args:
        tool: The run.
        write: Writes to standard output.

    Attributes:
        waited_s: Seconds that such writes have taken.
    """

    def __init__(self, tool: Tool, write: Callable[[bytes], None]) -> None:
        self._tool, self._write = tool, write
        self.waited_s = 0.0
        try:
            mode = os.fstat(_FD).st_mode
        except OSError:  # it is closed
            mode = stat.S_IFREG
        self._is_pipe = stat.S_ISFIFO(mode)
        self._poll: select.poll | None = None
        if not stat.S_ISREG(mode):
            self._poll = select.poll()
            self._poll.register(_FD, select.POLLOUT)

    def write(self, lines: bytes) -> None:
        """Write lines; errors as those of the function that does it."""
        if not self._may_wait(len(lines)):
            self._write(lines)
            return
        before, began = self._tool.buffers_full(), time.monotonic()
        try:
            self._write(lines)
        finally:
            self.waited_s += time.monotonic() - began
            self._tool.blame_output(before)

    def _may_wait(self, size_bytes: int) -> bool:
        if self._poll is None:
            return False
        if size_bytes > _SURE_SIZE_BYTES:
            return not self._is_pipe or not self._has_room(size_bytes)
        return not self._poll.poll(0)

    def _has_room(self, size_bytes: int) -> bool:
        """Tell whether a pipe takes so many bytes at once. Its pages may be half empty, as each write begins one of its own."""
        import fcntl

        unread = int.from_bytes(fcntl.ioctl(_FD, _FIONREAD, bytes(4)), sys.byteorder)
        return 2 * unread + size_bytes + _SURE_SIZE_BYTES <= fcntl.fcntl(_FD, fcntl.F_GETPIPE_SZ)
