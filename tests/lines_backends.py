"""The backends that render lines, for tests of what holds for each."""

from __future__ import annotations

import importlib.util
import os

import pytest

from ecli_runtime.decode.rows import PythonLines
from ecli_runtime.decode.wasm import MODULE, WasmLines

needs_wasm = pytest.mark.skipif(
    importlib.util.find_spec("wasmtime") is None or not os.path.exists(MODULE),
    reason="needs wasmtime and the module that tools/build-lines-wasm builds",
)
BACKENDS = [pytest.param(PythonLines, id="python"), pytest.param(WasmLines, id="wasm", marks=needs_wasm)]
