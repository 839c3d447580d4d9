"""Stack traces as names: of the kernel, and of processes."""

from __future__ import annotations

from ecli_runtime.symbols.process import UNKNOWN, Processes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ecli_runtime.decode.stacks import Frame

_MAX_STACKS = 1 << 16


class Resolver:
    """Names the addresses of stack traces; close it to give back what it holds open."""

    def __init__(self) -> None:
        self.processes = Processes()
        self._kernel: dict[int, Frame] = {}
        self._stacks: dict[tuple[int, tuple[int, ...]], list[Frame]] = {}

    def kernel(self, addresses: tuple[int, ...]) -> list[Frame]:
        """Return the frames of a stack of the kernel, the innermost first."""
        return [self._kernel_frame(address - (index > 0)) for index, address in enumerate(addresses)]

    def _kernel_frame(self, address: int) -> Frame:
        # Callers are known by where they go on: behind the call, which may be in the next function. So one byte less.
        found = self._kernel.get(address)
        if found is None:
            from ecli_runtime.decode.symbols import kernel_symbols

            if len(self._kernel) >= _MAX_STACKS:
                self._kernel.clear()
            found = self._kernel[address] = (kernel_symbols().text(address).partition("+")[0] or UNKNOWN, "kernel")
        return found

    def user(self, pid: int, addresses: tuple[int, ...]) -> list[Frame]:
        """Return the frames of a stack of a process, the innermost first; of one that is known they need not be looked up."""
        key = (pid, addresses)
        found = self._stacks.get(key)
        if found is None:
            if len(self._stacks) >= _MAX_STACKS:
                self._stacks.clear()
            frame = self.processes.frame
            found = self._stacks[key] = [frame(pid, address - (index > 0)) for index, address in enumerate(addresses)]
        return found

    def close(self) -> None:
        """Close the files; names that are known stay so."""
        self.processes.close()
