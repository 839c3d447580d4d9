"""What ``run`` imports up to its events: each module of that costs part of a millisecond."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ecli_runtime.mounts import has_tracefs
from tests.imports import imported_by, others, ours

pytestmark = pytest.mark.kernel

OURS = {
    *("ecli_py", "ecli_py.arguments", "ecli_py.cli", "ecli_py.commands", "ecli_py.commands.run", "ecli_py.render"),
    *("ecli_py.report", "ecli_py.source", "ecli_py.tool"),
    *("ecli_runtime", "ecli_runtime.attach", "ecli_runtime.btf", "ecli_runtime.decode", "ecli_runtime.decode.plan"),
    *("ecli_runtime.decode.python", "ecli_runtime.elf", "ecli_runtime.errors", "ecli_runtime.globals", "ecli_runtime.libbpf"),
    *("ecli_runtime.libbpf._ffi", "ecli_runtime.libbpf.log", "ecli_runtime.libbpf.object", "ecli_runtime.mounts"),
    *("ecli_runtime.owned", "ecli_runtime.read", "ecli_runtime.read.perfbuf", "ecli_runtime.read.ringbuf"),
    "ecli_runtime.session",
    # What the package says that it can do is compared with its object: 1.1 ms.
    *("ecli_runtime.behaviour", "ecli_runtime.code", "ecli_runtime.helpers"),
    *("ecli_schemas", "ecli_schemas.checks", "ecli_schemas.dialects", "ecli_schemas.errors", "ecli_schemas.model"),
    *("ecli_schemas.read", "ecli_schemas.record", "ecli_schemas.wording"),
}
JSON_LINES = {"ecli_py.render.jsonlines"}
TEXT = {"ecli_py.render.text", "ecli_py.render.histogram"}

# Processors that do not order memory by themselves take a lock for it; tracefs, where it is missing, is mounted by a thread.
THREADS: set[str] = set() if os.uname().machine in ("x86_64", "s390x") and has_tracefs() else {"threading"}

# json brings re, which brings enum, functools and collections.
OTHERS = {
    *("binascii", "collections", "copyreg", "ctypes", "encodings", "enum", "errno", "functools", "importlib", "itertools"),
    *("json", "keyword", "math", "mmap", "operator", "re", "reprlib", "select", "signal", "struct", "types", "warnings", "zlib"),
}


@pytest.mark.parametrize(("option", "renderer"), [("--json", JSON_LINES), ("--duration=50ms", TEXT | JSON_LINES)])
def test_run_of_a_local_package(packages: Path, option: str, renderer: set[str]) -> None:
    modules = imported_by("run", packages / "execsnoop.json", "--duration", "50ms", option)
    assert ours(modules) <= OURS | renderer
    assert others(modules) <= OTHERS | THREADS
