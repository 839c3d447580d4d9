"""A guest's memory, as the host reads and writes it: every address and length is checked."""

from __future__ import annotations

from ecli_runtime.errors import WasmError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_ADDRESS = 0xFFFF_FFFF
_TEXT_LIMIT_BYTES = 4096


class FaultError(Exception):
    """The guest named memory that it does not have."""


class GuestMemory:
    """The memory of one instance.

    Engines are made so that a memory grows in place, so a view of it stays valid, and is only too short after it has grown.

    Args:
        store: ``wasmtime.Store`` that it lives in.
        memory: ``wasmtime.Memory``.
    """

    def __init__(self, store: Any, memory: Any) -> None:
        if type(memory).__name__ != "Memory":
            raise WasmError('the module\'s export "memory" is no memory', "build it again for wasm32-wasi")
        self._store, self._memory = store, memory
        self._view = memoryview(b"")

    def view(self, address: int, size: int) -> memoryview:
        """Return a piece of it, writable, which is valid while the instance lives.

        Args:
            address: As the guest gives it; the lower 32 bits count.
            size: Bytes; a negative number faults.

        Raises:
            FaultError: It does not lie within the memory.
        """
        start = address & _ADDRESS
        end = start + size
        if size < 0 or end > len(self._view):
            # The store keeps the memory, and whoever has this object the store.
            self._view = memoryview(self._memory.get_buffer_ptr(self._store)).cast("B")
            if size < 0 or end > len(self._view):
                raise FaultError
        return self._view[start:end]

    def read(self, address: int, size: int) -> bytes:
        """Return a copy of a piece; arguments and errors as :meth:`view`."""
        return bytes(self.view(address, size))

    def write(self, address: int, data: bytes) -> None:
        """Write bytes; errors as :meth:`view`."""
        self.view(address, len(data))[:] = data

    def u32(self, address: int) -> int:
        """Return a number of four bytes; errors as :meth:`view`."""
        return int.from_bytes(self.view(address, 4), "little")

    def u64(self, address: int) -> int:
        """Return a number of eight bytes; errors as :meth:`view`."""
        return int.from_bytes(self.view(address, 8), "little")

    def set_u32(self, address: int, number: int) -> None:
        """Write a number of four bytes; errors as :meth:`view`."""
        self.view(address, 4)[:] = (number & _ADDRESS).to_bytes(4, "little")

    def set_u64(self, address: int, number: int) -> None:
        """Write a number of eight bytes; errors as :meth:`view`."""
        self.view(address, 8)[:] = (number & 0xFFFF_FFFF_FFFF_FFFF).to_bytes(8, "little")

    def text(self, address: int) -> str:
        """Return text that ends with a NUL, of at most 4096 bytes; what is no UTF-8 in it is replaced.

        Raises:
            FaultError: It does not lie within the memory, or has no end.
        """
        self.view(address, 1)
        start = address & _ADDRESS
        data = bytes(self._view[start : start + _TEXT_LIMIT_BYTES])
        end = data.find(b"\0")
        if end < 0:
            raise FaultError
        return data[:end].decode("utf-8", "replace")


class NoMemory(GuestMemory):
    """Stands for the memory of an instance that is not there yet: a module's start function may call the host before."""

    def __init__(self) -> None:
        self._view = memoryview(b"")

    def view(self, address: int, size: int) -> memoryview:  # noqa: ARG002  there is nothing to look into
        """Raise a :class:`FaultError`."""
        raise FaultError
