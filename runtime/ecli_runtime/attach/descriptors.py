"""What keeps a program attached and is a descriptor, not a link of libbpf's; and descriptors of what is in the kernel already."""

from __future__ import annotations

import os

from ecli_runtime.errors import LibbpfError, describe_errno
from ecli_runtime.libbpf._ffi import lib
from ecli_runtime.owned import Owned

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ecli_runtime.attach.target import Request


class Descriptor(Owned):
    """A descriptor, of a link or a socket. Closing it detaches the program, and so does the end of the process."""

    @property
    def pinnable_fd(self) -> int | None:
        """The descriptor: the kernel refuses what is no link."""
        return self.handle

    def _destroy(self, handle: int) -> None:
        os.close(handle)


def open_existing(request: Request, text: str, by_id: Callable[[int], int], what: str) -> int:
    """Return a descriptor of a program or map in the kernel, named by its id or the path where it is pinned.

    The caller owns it.

    Raises:
        TargetError: There is none.
    """
    try:
        if text.isascii() and text.isdigit():
            return by_id(int(text[:10]))
        fd: int = lib.bpf_obj_get(os.fsencode(text))
    except LibbpfError as error:
        problem = f"cannot open {what} {text}: {describe_errno(error.errno)}"
        raise request.wrong(problem, f"`bpftool {what} list` shows the ids; a path is one where it is pinned") from error
    return fd
