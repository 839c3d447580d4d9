"""What values stand for."""

from __future__ import annotations

import errno
import signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping


def names_of(meaning: str, arch: str) -> Mapping[int, str]:
    """Return the names of numbers."""
    if meaning == "errno":
        return errno.errorcode
    if meaning == "signal":
        return {int(each): each.name for each in signal.Signals}
    return {0: "read", 1: "write"} if meaning == "syscall" and arch == "x86_64" else {0: "root"}
