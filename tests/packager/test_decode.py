"""What C says of a sample and what we say are the same, for any type that C can declare."""

from __future__ import annotations

import io
import json
import os
import shutil
import struct
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import pytest
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from ecli_packager import toolchain
from ecli_packager.compile import Compiler, Includes
from ecli_runtime.btf import KIND_STRUCT, Btf
from ecli_runtime.decode.plan import Plan, make_plan
from ecli_runtime.decode.python import make_decoder
from ecli_runtime.decode.schema import plan_schema
from tests.c_types import PRELUDE, Composite, bytes_of, constant, declarations, events, program
from tests.machine import missing

pytestmark = pytest.mark.compiler

# Each example is many types in one program: a compiler takes as long to start as to compile them all. Some 1,000 types in a run.
EXAMPLES = int(os.environ.get("ECLI_TYPE_EXAMPLES", "60"))
# Not the phase that explains a failure: it would run the compilers for longer than a test may take.
AT_LENGTH = settings(
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=(Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink),
)


def native_compiler() -> str:
    found = os.environ.get("CC") or next(filter(shutil.which, ("gcc", "cc", "clang")), None)
    return found or missing("C compiler (apt-get install gcc libc6-dev)")


@cache
def bpf_compiler(arch: str) -> Compiler:
    machine = toolchain.ARCHES[arch]
    includes = Includes(toolchain.libbpf_headers(), None, toolchain.system_headers(machine))
    return Compiler(toolchain.find_clang(), machine, includes, ("-w",))


def compiled(text: str, composites: list[Composite], arch: str) -> tuple[Btf, bytes]:
    """Compile a source that declares types; return the object's types and the object."""
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary, "types.bpf.c")
        path.write_text(text)
        data, _said = bpf_compiler(arch).compile(path, [f"struct type{index}" for index in range(len(composites))])
    section = ELFFile(io.BytesIO(data)).get_section_by_name(".BTF")
    assert section is not None
    return Btf(section.data()), data


def said_by_c(composites: list[Composite], records: list[tuple[int, bytes]]) -> tuple[list[int], list[Any]]:
    """Return the sizes of types, and what a program says of samples of them."""
    with tempfile.TemporaryDirectory() as temporary:
        source, binary = Path(temporary, "types.c"), Path(temporary, "types")
        source.write_text(program(composites))
        subprocess.run([native_compiler(), "-w", "-O0", "-o", binary, source], check=True, capture_output=True)
        data = b"".join(struct.pack("=II", index, len(sample)) + sample for index, sample in records)
        lines = subprocess.run([binary], input=data, check=True, capture_output=True, timeout=60).stdout.splitlines()
    return json.loads(lines[0]), [json.loads(line, object_hook=_text) for line in lines[1:]]


def _text(value: dict[str, Any]) -> Any:
    return bytes.fromhex(value["text"]).decode("utf-8", "replace") if "text" in value else value


def plain(value: Any) -> Any:
    """Return a decoded value as JSON has it: no NaN, no infinity."""
    if isinstance(value, dict):
        return {name: plain(member) for name, member in value.items()}
    if isinstance(value, list):
        return [plain(element) for element in value]
    return None if isinstance(value, float) and value - value != 0 else value


def batches(flexible: bool) -> st.SearchStrategy[list[Composite]]:
    """Draw different types; left to itself hypothesis draws few and many of them twice."""
    each = events(flexible)
    sizes = st.sampled_from([1, 2, 4, 8, *[32] * 12])
    return sizes.flatmap(lambda size: st.lists(each, min_size=size, max_size=size, unique_by=Composite.body))


@given(batches(flexible=True), st.integers(0, 1 << 32))
@settings(AT_LENGTH, max_examples=EXAMPLES)
def test_a_c_program_says_the_same(composites: list[Composite], seed: int) -> None:
    random = Random(seed)
    btf, _object = compiled(PRELUDE + declarations(composites), composites, toolchain.host_arch().name)
    plans: list[Plan] = []
    records = []
    for index in range(len(composites)):
        type_id = btf.find(f"type{index}", KIND_STRUCT)
        assert type_id is not None
        plans.append(make_plan(btf, type_id))
        size_bytes = plans[-1].size_bytes
        records += [(index, bytes_of(size_bytes + extra, random)) for extra in (0, 0, 3, 29)]
    sizes, said = said_by_c(composites, records)
    for (index, sample), expected in zip(records, said, strict=True):
        where = f"struct type{index} {composites[index].body()}, sample {sample.hex()}"
        assert plans[index].size_bytes == sizes[index], where
        assert plain(make_decoder(plans[index])(sample)) == expected, where
        if len(sample) == sizes[index]:
            Draft202012Validator(plan_schema(plans[index])).validate(expected)


def agree(value: Any, expected: Any) -> bool:
    """Whether a value is what was expected; of a union only one member is."""
    if isinstance(expected, dict):
        return isinstance(value, dict) and all(agree(value[name], member) for name, member in expected.items())
    if isinstance(expected, list):
        return len(value) == len(expected) and all(map(agree, value, expected))
    return bool(value == expected)


@pytest.mark.parametrize("arch", ["x86_64", "s390x"])
@given(composites=batches(flexible=False), seed=st.integers(0, 1 << 32))
@settings(AT_LENGTH, max_examples=EXAMPLES // 6)
def test_constants_are_what_the_compiler_made_of_them(arch: str, composites: list[Composite], seed: int) -> None:
    random = Random(seed)
    constants = [constant(each, random) for each in composites]
    variables = [f"const volatile struct type{index} value{index} = {text};" for index, (text, _value) in enumerate(constants)]
    btf, data = compiled("\n".join([PRELUDE, declarations(composites), *variables]), composites, arch)
    for index, ((_text, expected), composite) in enumerate(zip(constants, composites, strict=True)):
        type_id = btf.find(f"type{index}", KIND_STRUCT)
        assert type_id is not None
        sample = initial_value(data, f"value{index}")
        value = make_decoder(make_plan(btf, type_id))(sample)
        assert agree(value, expected), (f"struct type{index} {composite.body()}, sample {sample.hex()}", value, expected)


def initial_value(data: bytes, name: str) -> bytes:
    """Return the bytes of a variable in an object."""
    elf = ELFFile(io.BytesIO(data))
    symbols = elf.get_section_by_name(".symtab")
    assert isinstance(symbols, SymbolTableSection)
    (symbol,) = symbols.get_symbol_by_name(name) or []
    start, size = symbol["st_value"], symbol["st_size"]
    section = elf.get_section(symbol["st_shndx"])
    return bytes(section.data()[start : start + size])
