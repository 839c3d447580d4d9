"""What ``run`` imports up to its events: each module of that costs part of a millisecond."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.imports import imported_by, others, ours

pytestmark = pytest.mark.kernel

OURS = {
    *("ecli_py", "ecli_py.arguments", "ecli_py.cli", "ecli_py.commands", "ecli_py.commands.run", "ecli_py.output"),
    *("ecli_py.render", "ecli_py.report", "ecli_py.showing", "ecli_py.source", "ecli_py.tool"),
    *("ecli_runtime", "ecli_runtime.attach", "ecli_runtime.background", "ecli_runtime.btf", "ecli_runtime.decode"),
    *(
        "ecli_runtime.decode.choose",
        "ecli_runtime.decode.events",
        "ecli_runtime.decode.plan",
        "ecli_runtime.decode.python",
        "ecli_runtime.elf",
    ),
    *("ecli_runtime.errors", "ecli_runtime.globals", "ecli_runtime.libbpf", "ecli_runtime.libbpf._ffi"),
    *("ecli_runtime.libbpf.log", "ecli_runtime.libbpf.object", "ecli_runtime.mounts", "ecli_runtime.opening"),
    *(
        "ecli_runtime.owned",
        "ecli_runtime.permissions",
        "ecli_runtime.read",
        "ecli_runtime.read.barrier",
        "ecli_runtime.read.ringbuf",
    ),
    *(
        "ecli_runtime.read.run",
        "ecli_runtime.read.sampler",
        "ecli_runtime.session",
        "ecli_runtime.sources",
        "ecli_runtime.stream",
    ),
    # What the package says that it can do is compared with its object: 1.1 ms, while libbpf loads.
    *("ecli_runtime.behaviour", "ecli_runtime.code", "ecli_runtime.helpers"),
    *("ecli_schemas", "ecli_schemas.checks", "ecli_schemas.dialects", "ecli_schemas.errors", "ecli_schemas.model"),
    *("ecli_schemas.json_reader", "ecli_schemas.read", "ecli_schemas.record", "ecli_schemas.wording"),
}
JSON_LINES = {"ecli_py.render.jsonlines"}
TEXT = {"ecli_py.render.text", "ecli_py.render.histogram"}

# Not among them: json, signal and threading, which bring re, enum, functools and collections.
OTHERS = {
    *(
        "binascii",
        "ctypes",
        "encodings",
        "errno",
        "fcntl",
        "gc",
        "importlib",
        "itertools",
        "math",
        "mmap",
        "select",
        "struct",
        "types",
    ),
    *("warnings", "zlib"),
}


@pytest.mark.parametrize(("option", "renderer"), [("--json", JSON_LINES), ("--duration=50ms", TEXT | JSON_LINES)])
def test_run_of_a_local_package(packages: Path, option: str, renderer: set[str]) -> None:
    modules = imported_by("run", packages / "execsnoop.json", "--duration", "50ms", option)
    assert ours(modules) <= OURS | renderer
    assert others(modules) <= OTHERS
