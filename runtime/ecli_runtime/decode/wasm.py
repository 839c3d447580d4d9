"""Line programs, followed by a Wasm module: several times as fast as Python, for those who have wasmtime.

The module is the same for all programs (``native/``, built by ``tools/build-lines-wasm``): it reads a program from its memory
and follows it over a run in one call. wasmtime is imported and the module compiled when the first :class:`WasmLines` is made,
which takes part of a tenth of a second and is meant for a thread in the background.
"""

from __future__ import annotations

import atexit
import os
import sys
from _thread import allocate_lock
from struct import Struct

from ecli_runtime.decode.encode import SLACK_BYTES, Encoder, longest_line
from ecli_runtime.decode.rows import PythonLines
from ecli_runtime.errors import UnsupportedFeatureError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ecli_runtime.decode.lines import LineProgram
    from ecli_runtime.read.run import Run

MODULE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "native", "lines.wasm")
# The same as machine code, made when this was built; as trusted as the Python files beside it.
MACHINE_CODE = MODULE.removesuffix(".wasm") + ".cwasm"

_JOB = Struct("<13I")  # struct job of native/program.h
_PAGE = 65536
_ALL = 0xFFFF_FFFF
# What is read and written in one call: a usual run and its lines, so that these are copied once, and few enough for the caches
# of a processor.
_INPUT_BYTES = 1 << 20
_OUTPUT_BYTES = 1 << 20
_PREFIX_BYTES = 1024
# Longer records and lines are left to Python, which has no memory that would have to be grown for them.
_MAX_RECORD_BYTES = 16 << 20

_lock = allocate_lock()
_compiled: tuple[Any, Any] | None = None


def load() -> tuple[Any, Any]:
    """Return engine and module; compile it if that was not done yet.

    Raises:
        UnsupportedFeatureError: There is no wasmtime, or this installation has no module.
    """
    global _compiled
    with _lock:
        if _compiled is None:
            try:
                import wasmtime
            except ImportError as error:
                raise UnsupportedFeatureError("rendering by Wasm", "the package wasmtime: pip install 'ecli-py[fast]'") from error
            if not os.path.exists(MODULE):
                raise UnsupportedFeatureError("rendering by Wasm", "the module that tools/build-lines-wasm builds")
            engine = wasmtime.Engine()
            try:
                # Compiling takes 10 MB and several times as long, but is needed by another wasmtime or processor.
                module = wasmtime.Module.deserialize_file(engine, MACHINE_CODE)
            except wasmtime.WasmtimeError:
                module = wasmtime.Module.from_file(engine, MODULE)
            _compiled = engine, module
            atexit.register(_forget)
        return _compiled


def _forget() -> None:
    """Let go of the module while the interpreter still has what wasmtime needs for that."""
    global _compiled
    _compiled = None


class WasmLines:
    """Renders runs of one program, as :class:`~ecli_runtime.decode.rows.PythonLines` does. For one thread at a time.

    Args:
        program: What to write; a portable one.

    Raises:
        UnsupportedFeatureError: See :func:`load`.
    """

    def __init__(self, program: LineProgram) -> None:
        assert program.portable
        engine, module = load()
        from wasmtime import Instance, Store

        from ecli_runtime.wasm.raw import export

        self._store = Store(engine)
        exports: Any = Instance(self._store, module, []).exports(self._store)
        self._memory = exports["memory"]
        self._call = export(self._store, exports["render"])
        self._program = program
        self._python: PythonLines | None = None
        self._longest: dict[int, int] = {}
        self._job = exports["__heap_base"].value(self._store) + 15 & ~15
        self._prefix = self._job + _JOB.size + 15 & ~15
        code = self._prefix + _PREFIX_BYTES + SLACK_BYTES
        encoder = Encoder(program, code)
        self._address = encoder.program
        self._input = code + len(encoder.data) + 15 & ~15
        self._reserve(self._input)
        self._view[code : code + len(encoder.data)] = bytes(encoder.data)

    def _reserve(self, size: int) -> None:
        """Have at least so much memory."""
        missing = size - self._memory.data_len(self._store)
        if missing > 0:
            self._memory.grow(self._store, -(-missing // _PAGE))
        # The store keeps the memory; growing it may move it.
        self._view = memoryview(self._memory.get_buffer_ptr(self._store)).cast("B")

    def render(self, run: Run, prefix: bytes, limit: int) -> tuple[bytes, int, int]:
        """Return the lines of a run, how many there are, and how many live records were looked at."""
        longest = self._longest_line(run.length) + len(prefix)
        if longest > _MAX_RECORD_BYTES or run.stride > _MAX_RECORD_BYTES or len(prefix) > _PREFIX_BYTES:
            self._python = self._python or PythonLines(self._program)
            return self._python.render(run, prefix, limit)
        output = self._input + max(_INPUT_BYTES, run.stride) + SLACK_BYTES
        end = output + _OUTPUT_BYTES
        if end + longest > len(self._view):
            self._reserve(end + longest)
        view = self._view
        view[self._prefix : self._prefix + len(prefix)] = prefix
        header = int.from_bytes(run.length.to_bytes(4, sys.byteorder), "little")
        lines: list[bytes] = []
        shown = consumed = 0
        written = output
        step = max(_INPUT_BYTES // run.stride, 1) * run.stride
        data = memoryview(run.data)
        for at in range(0, len(data), step):
            if shown == limit:
                break
            chunk = data[at : at + step]
            view[self._input : self._input + len(chunk)] = chunk
            count, index = len(chunk) // run.stride, 0
            while index < count and shown != limit:
                _JOB.pack_into(
                    *(view, self._job, self._input, count, run.stride, run.length, header, self._prefix, len(prefix)),
                    *(written, end, limit if limit >= 0 else _ALL, index, shown, consumed),
                )
                self._call(self._address, self._job)
                *_same, written, _end, _limit, index, shown, consumed = _JOB.unpack_from(view, self._job)
                if written >= end:
                    lines.append(bytes(view[output:written]))
                    written = output
        lines.append(bytes(view[output:written]))
        return b"".join(lines), shown, consumed

    def _longest_line(self, length: int) -> int:
        found = self._longest.get(length)
        if found is None:
            if len(self._longest) > 64:
                self._longest.clear()
            found = self._longest[length] = longest_line(self._program, length)
        return found
