"""The renderer that a run uses: plain Python at first, and WebAssembly as soon as the rate of events asks for it."""

from __future__ import annotations

import time

from ecli_runtime.decode.rows import PythonLines

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ecli_runtime.background import Background
    from ecli_runtime.decode.lines import LineProgram, Value
    from ecli_runtime.decode.wasm import WasmLines
    from ecli_runtime.read.run import Run

# At this many lines a second Python keeps a hundredth of a CPU busy; making the module takes as much once as 200,000 lines.
_BUSY_LINES_PER_S = 20_000
_WINDOW_S = 0.5

# A call into WebAssembly takes as long as Python takes for so many lines.
_MIN_RUN = 64


class Lines:
    """Renders runs of one program; both backends give the same bytes.

    Args:
        program: What to write.
        symbol: As for :class:`~ecli_runtime.decode.rows.PythonLines`.
        stack: Likewise.
    """

    def __init__(
        self,
        program: LineProgram,
        symbol: Callable[[int], str] | None = None,
        stack: Callable[[Value], Callable[[bytes, int], bytes]] | None = None,
    ) -> None:
        self._program = program
        self._python = PythonLines(program, symbol, stack)
        self._wasm: WasmLines | None = None
        self._making: Background | None = None
        self._settled = not program.portable
        self._window_end = 0.0
        self._lines = 0

    def render(self, run: Run, prefix: bytes, limit: int) -> tuple[bytes, int, int]:
        """Return the lines of a run, how many there are, and how many live records were looked at; see ``PythonLines``."""
        if not self._settled:
            self._look(run.count)
        if self._wasm is not None and run.count >= _MIN_RUN:
            return self._wasm.render(run, prefix, limit)
        return self._python.render(run, prefix, limit)

    def _look(self, count: int) -> None:
        """Find out whether events come so fast that the other backend is worth it, and whether it is ready."""
        if self._making is not None:
            if self._making.ended:
                self._wasm = self._making.result()
                self._settled = True
            return
        now = time.monotonic()
        if now > self._window_end:
            self._window_end, self._lines = now + _WINDOW_S, 0
        self._lines += count
        if self._lines > _BUSY_LINES_PER_S * _WINDOW_S:
            from ecli_runtime.background import Background

            self._making = Background(self._make)

    def _make(self) -> WasmLines | None:
        """Return the other backend, ``None`` where it is not to be had: it is an optional part."""
        from ecli_runtime.errors import UnsupportedFeatureError

        try:
            from ecli_runtime.decode.wasm import WasmLines

            return WasmLines(self._program)
        except (ImportError, UnsupportedFeatureError):
            return None
