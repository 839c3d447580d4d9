"""What ``run`` imports up to its events: each module of that costs part of a millisecond."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.imports import imported_by, others, ours

pytestmark = pytest.mark.kernel

# What is needed before libbpf begins to load.
BEFORE = {
    *("ecli_py", "ecli_py.arguments", "ecli_py.cli", "ecli_py.commands", "ecli_py.commands.run", "ecli_py.report"),
    *("ecli_py.showing", "ecli_py.source", "ecli_runtime", "ecli_runtime.background", "ecli_runtime.btf", "ecli_runtime.elf"),
    *("ecli_runtime.errors", "ecli_runtime.globals", "ecli_runtime.libbpf", "ecli_runtime.libbpf._ffi"),
    *("ecli_runtime.libbpf.log", "ecli_runtime.libbpf.object", "ecli_runtime.opening", "ecli_runtime.owned"),
    *("ecli_schemas", "ecli_schemas.checks", "ecli_schemas.dialects", "ecli_schemas.errors"),
    "ecli_py.trust",  # is there a policy or a lock?
    *("ecli_schemas.json_reader", "ecli_schemas.model", "ecli_schemas.read", "ecli_schemas.record", "ecli_schemas.wording"),
}
# What is imported while it loads.
MEANWHILE = {
    *(
        "ecli_py.output",
        "ecli_py.sink",
        "ecli_py.tool",
        "ecli_runtime.attach",
        "ecli_runtime.decode",
        "ecli_runtime.decode.adaptive",
    ),
    *("ecli_runtime.decode.choose", "ecli_runtime.decode.escapes", "ecli_runtime.decode.lines"),
    *("ecli_runtime.decode.meaning", "ecli_runtime.decode.plan", "ecli_runtime.decode.rows", "ecli_runtime.decode.writers"),
    *(
        "ecli_runtime.mounts",
        "ecli_runtime.privileges",
        "ecli_runtime.read",
        "ecli_runtime.read.barrier",
        "ecli_runtime.read.reader",
        "ecli_runtime.read.ringbuf",
    ),
    *("ecli_runtime.read.run", "ecli_runtime.read.sampler", "ecli_runtime.session", "ecli_runtime.sources"),
    "ecli_runtime.stream",
    # What the package says that it can do is compared with its object: 1.1 ms.
    *("ecli_runtime.behaviour", "ecli_runtime.code", "ecli_runtime.helpers"),
}
# At the end, to count what the program says that it has lost.
AFTERWARDS = {"ecli_runtime.counters"}
TEXT = {"ecli_runtime.decode.names"}  # of users, errors and so on, in text only

# Not among them: json, signal and threading, which bring re, enum, functools and collections.
OTHERS = {"binascii", "ctypes", "encodings", "errno", "gc", "itertools", "mmap", "pwd", "select", "struct", "types", "zlib"}


@pytest.mark.parametrize(("option", "renderer"), [("--json", set()), ("--duration=50ms", TEXT)])
def test_run_of_a_local_package(packages: Path, option: str, renderer: set[str]) -> None:
    modules = imported_by("run", packages / "execsnoop.json", "--duration", "50ms", option)
    assert ours(modules) <= BEFORE | MEANWHILE | AFTERWARDS | renderer
    assert others(modules) <= OTHERS
