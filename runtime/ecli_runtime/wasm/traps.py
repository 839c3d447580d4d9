"""What wasmtime's traps and errors mean, in our words."""

from __future__ import annotations

from ecli_runtime.errors import WasmTrapError
from ecli_runtime.wasm.limits import one_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_FRAMES_SHOWN = 16


def is_interrupt(error: BaseException) -> bool:
    """Tell whether a ``wasmtime.Trap`` is that of an epoch that has ended."""
    code = getattr(error, "trap_code", None)
    return code is not None and code.name == "INTERRUPT"


def explain_trap(error: Any) -> WasmTrapError:
    """Return the error that says why a module trapped, and where.

    Args:
        error: ``wasmtime.Trap``, or ``wasmtime.WasmtimeError`` of a call.
    """
    why = one_line(error).removeprefix("wasm trap: ")
    code = getattr(error, "trap_code", None)
    hint = _HINTS.get(code.name if code is not None else "", "the module is at fault: report it to its author")
    return WasmTrapError(f"the module trapped: {why}", "\n".join(_backtrace(error)), hint)


_HINTS = {
    "STACK_OVERFLOW": "it calls itself too deep, or keeps too much on its stack",
    "OUT_OF_FUEL": "it used up the instructions that it may run",
    "INTERRUPT": "it took longer than it may",
}


def _backtrace(error: Any) -> list[str]:
    try:
        frames = error.frames
    except AttributeError:
        return []
    lines = [f"    {frame.func_name or f'function {frame.func_index}'} at {frame.module_offset:#x}" for frame in frames]
    return lines[:_FRAMES_SHOWN] + ([f"    and {len(lines) - _FRAMES_SHOWN} more"] if lines[_FRAMES_SHOWN:] else [])
