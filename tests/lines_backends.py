"""The backends that render lines, for tests of what holds for each."""

from __future__ import annotations

from ecli_runtime.decode.rows import PythonLines

BACKENDS = [PythonLines]
