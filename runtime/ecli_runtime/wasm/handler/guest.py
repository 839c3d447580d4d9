"""One living instance of a handler, with the two adapters around it."""

from __future__ import annotations

import struct
import sys
import time

from ecli_runtime.errors import UnsupportedFeatureError, WasmError
from ecli_runtime.wasm.handler import adapter
from ecli_runtime.wasm.limits import limit, make_store, one_line, rearm, refuel
from ecli_runtime.wasm.raw import Pending, export

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from ecli_runtime.wasm.handler.imports import Imports
    from ecli_runtime.wasm.handler.module import HandlerModule

_CLOCKS = struct.Struct("<qq")
_FRAMES_SHOWN = 16
_ADAPTERS = ("relay", "walker")


class TrapError(Exception):
    """A handler did not come to the end of a call.

    Args:
        reason: What happened, in one line.
        frames: Its functions that were at work, the innermost first.
        overran: It took more than its time or fuel.
    """

    def __init__(self, reason: str, frames: tuple[str, ...] = (), overran: bool = False) -> None:
        super().__init__(reason)
        self.reason, self.frames, self.overran = reason, frames, overran


class ExitError(Exception):
    """A handler asked for the end of its process, by ``proc_exit``."""


class Part:
    """Records of one type and length that came out of a handler, framed as in a run.

    Attributes:
        type: Number of their type, or ``TEXT``.
        length: Bytes of each.
        count: How many.
        data: Their bytes.
    """

    __slots__ = ("count", "data", "length", "type")

    def __init__(self, type_: int, length: int, count: int, data: bytes) -> None:
        self.type, self.length, self.count, self.data = type_, length, count, data


class Taken:
    """What came of one or more calls.

    Attributes:
        parts: Records that were kept and emitted, in their order.
        kept: Events that were kept.
        dropped: Events that were left out.
        emitted: Records that were emitted.
        refused: Records that were to be emitted and found no room.
        at: Where the walk was in the batch.
    """

    __slots__ = ("at", "dropped", "emitted", "kept", "parts", "refused")

    def __init__(self, parts: list[Part], kept: int, dropped: int, emitted: int, refused: int, at: int) -> None:
        self.parts, self.kept, self.dropped = parts, kept, dropped
        self.emitted, self.refused, self.at = emitted, refused, at


class Guest:
    """An instance. For one thread at a time.

    Args:
        module: The module.
        imports: What it may call.
        type_count: Number of types of events.
        raw: Whether to use wasmtime's raw calls; ``None``: if they work.

    Raises:
        TrapError: It trapped at its start.
        WasmError: It cannot be instantiated, or is of another version of the ABI.
    """

    def __init__(self, module: HandlerModule, imports: Imports, type_count: int, raw: bool | None = None) -> None:
        if sys.byteorder != "little":
            raise UnsupportedFeatureError("event handlers", "a little-endian machine")  # as Wasm itself is
        self._module, self._type_count = module, type_count
        self._limits = module.limits
        self._pending = Pending()
        room = adapter.output_size_bytes(module.emitted_bytes)
        self._store = make_store(module.engine, module.limits.replace(memory_bytes=max(room, module.limits.memory_bytes)))
        self._clocks = memoryview(bytearray(_CLOCKS.size))  # until there are those of the relay
        relay = self._instance(module.relay, [])
        limit(self._store, module.limits)
        self._input, self._output, self._state, self._clocks = map(self._view, map(relay.get, ("in", "out", "state", "clocks")))
        self._reset()
        wanted = imports.make(self._store, module.compiled, relay, self._pending, raw)
        self._exports = self._instance(module.compiled, wanted)
        memory = self._exports["memory"]
        imports.memory = lambda: self._view(memory)
        shared = [relay[name] for name in ("in", "out", "state", "slot")]
        walker = self._instance(module.walker, [memory, self._exports["ecli_event"], *shared])
        self._walk = export(self._store, walker["walk"], self._pending, raw)
        self._functions = {
            name: export(self._store, self._exports[name], self._pending, raw) for name in module.exports - {"ecli_event"}
        }
        self._buffer = self._buffer_size = 0
        self.call("_initialize")
        version = self.call("ecli_abi")
        if version != 1:
            raise WasmError(f"handler {module.name}: it is of version {version} of the ABI, and 1 is known", "upgrade ecli-py")

    def _instance(self, module: Any, imports: list[Any]) -> Any:
        """Return the exports of a new instance, whose start function may trap."""
        from wasmtime import Instance

        return self._guarded(lambda: Instance(self._store, module, imports)).exports(self._store)

    def _view(self, memory: Any) -> memoryview:
        """Return the bytes of a memory, which the store keeps alive; growing it may move it."""
        return memoryview(memory.get_buffer_ptr(self._store)).cast("B")

    def _reset(self) -> None:
        adapter.STATE.pack_into(self._state, 0, *(0,) * 8, self._type_count, self._module.emitted_bytes)

    def _guarded(self, action: Callable[[], Any]) -> Any:
        from wasmtime import Trap, TrapCode, WasmtimeError

        rearm(self._store, self._limits)
        refuel(self._store, self._limits)
        _CLOCKS.pack_into(self._clocks, 0, time.monotonic_ns(), time.time_ns())
        try:
            return action()
        except Trap as trap:
            overran = trap.trap_code in (TrapCode.INTERRUPT, TrapCode.OUT_OF_FUEL)
            reason = one_line(trap).removeprefix("wasm trap: ")
            if overran:
                reason = self._what_it_overran(trap.trap_code == TrapCode.OUT_OF_FUEL)
            raise TrapError(reason, tuple(_frames(trap)), overran) from trap
        except WasmtimeError as error:
            raise TrapError(one_line(error)) from error
        except ExitError as error:
            raise TrapError(str(error)) from error

    def _what_it_overran(self, fuel: bool) -> str:
        return f"it used up its fuel ({self._limits.fuel})" if fuel else f"it took longer than {self._limits.batch_ms} ms"

    def has(self, name: str) -> bool:
        """Tell whether it has a function of the ABI."""
        return name in self._functions

    def call(self, name: str, *arguments: int) -> int:
        """Call a function that it may have; return 0 if it has not.

        Raises:
            TrapError: It did not return.
        """
        function = self._functions.get(name)
        return 0 if function is None else self._guarded(lambda: function(*arguments)) or 0

    def room_for(self, length: int) -> bool:
        """Have room for events of some length in its memory; return whether it has any.

        Raises:
            TrapError: It did not return.
        """
        if length > self._buffer_size:
            address = self.call("ecli_buffer", length) & 0xFFFF_FFFF
            if not address:
                return False
            self._buffer, self._buffer_size = address, length
        return True

    def give(self, data: bytes) -> int:
        """Put bytes into its memory, and return where they are; 0: it has no room.

        Raises:
            TrapError: It did not return, or returned an address that is none of its own.
        """
        if not self.room_for(len(data)):
            return 0
        view = self._view(self._exports["memory"])
        if self._buffer + len(data) > len(view):
            raise TrapError("ecli_buffer returned an address outside of its memory")
        view[self._buffer : self._buffer + len(data)] = data
        return self._buffer

    def load(self, data: bytes | memoryview) -> None:
        """Take a batch of records of one length to walk over: at most ``INPUT_SIZE_BYTES``."""
        self._input[: len(data)] = data

    def walk(self, at: int, end: int, stride: int, length: int, type_: int) -> int:
        """Call it for each record of the batch that is not discarded, from one position to another.

        Returns:
            0, or the negative number that it returned to end this. Events before that have been taken note of.

        Raises:
            TrapError: It did not return. The same holds.
        """
        result: int = self._guarded(lambda: self._walk(at, end, stride, length, type_, self._buffer))
        return result

    def take(self) -> Taken:
        """Return what came of the calls since this was asked for last."""
        used, part_count, kept, dropped, _size, emitted, refused, at, *_rest = adapter.STATE.unpack_from(self._state)
        parts = []
        if used:
            output = bytes(self._output[:used])
            start = 0
            for place in range(part_count):
                type_, length, count = adapter.PART.unpack_from(self._state, adapter.FIRST_PART + place * adapter.PART.size)
                size = count * ((length + 15) & ~7)
                parts.append(Part(type_, length, count, output if part_count == 1 else output[start : start + size]))
                start += size
        self._reset()
        return Taken(parts, kept, dropped, emitted, refused, at)


def _frames(trap: Any) -> list[str]:
    lines = []
    for frame in trap.frames:
        if frame.module_name in _ADAPTERS:
            continue
        offset = f"+{frame.func_offset:#x}" if frame.func_offset else ""
        lines.append(f"{frame.func_name or f'function {frame.func_index}'}{offset}")
    return lines[:_FRAMES_SHOWN]
