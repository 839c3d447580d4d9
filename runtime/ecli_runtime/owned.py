"""One owner for each C handle."""

from __future__ import annotations

from abc import ABC, abstractmethod

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self


class Owned(ABC):
    """Owner of one C pointer: closes it once, and says clearly when it is used afterwards.

    Args:
        handle: Address of the C object, which this object owns from now on.

    Attributes:
        closing_takes: Bits of the capabilities that closing it takes; of most none: their descriptors are enough.
    """

    closing_takes: tuple[int, ...] = ()

    @property
    def pinnable_fd(self) -> int | None:
        """Descriptor of what can be pinned, or ``None``."""
        return None

    def stay(self) -> None:  # noqa: B027  most have nothing to do
        """Let closing it leave attached what is pinned."""

    def __init__(self, handle: int) -> None:
        self._handle: int | None = handle

    @property
    def handle(self) -> int:
        """Address of the C object.

        Raises:
            ValueError: It was closed, or handed over to another owner.
        """
        if self._handle is None:
            raise ValueError(f"{type(self).__name__} is closed")
        return self._handle

    def release(self) -> int:
        """Give up ownership and return the address: somebody else must close it now."""
        handle = self.handle
        self._handle = None
        return handle

    def close(self) -> None:
        """Free the C object; a second call does nothing."""
        if self._handle is not None:
            self._destroy(self.release())

    @abstractmethod
    def _destroy(self, handle: int) -> None:
        """Free the C object."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
