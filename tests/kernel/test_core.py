"""CO-RE by our own hand: what libbpf finds when it loads is what we find without loading, and so against minimised BTF."""

from __future__ import annotations

import contextlib
import io
import re
import subprocess
from functools import cache
from pathlib import Path

import pytest

from ecli_runtime.btf import Btf
from ecli_runtime.code import code_sections, section_bytes
from ecli_runtime.core.minimise import minimise
from ecli_runtime.core.records import Relocation, relocations
from ecli_runtime.core.resolve import Answer, KernelTypes, Resolver
from ecli_runtime.errors import EcliError
from ecli_runtime.libbpf import log
from ecli_runtime.libbpf.object import OpenObject
from ecli_runtime.relocations import KERNEL_BTF
from tests.cli import Ecli
from tests.corpus_programs import CORPUS, built

pytestmark = [pytest.mark.kernel, pytest.mark.compiler]

_LOADS_AND_STORES = (1, 2, 3)  # classes of instructions


@cache
def kernel() -> KernelTypes:
    return KernelTypes(Btf(Path(KERNEL_BTF).read_bytes()))


def found_by_libbpf(data: bytes, name: str) -> dict[tuple[str, int], int | None]:
    """Return program or function, and number of the relocation in its section → what the instruction got; None: made invalid."""
    said = io.StringIO()
    log.set_verbose(True)
    try:
        with contextlib.redirect_stderr(said), OpenObject.open(data, name) as opened, contextlib.suppress(EcliError):
            opened.load().close()  # relocated before the kernel sees it, which may refuse it
    finally:
        log.set_verbose(False)
    text = said.getvalue()
    found: dict[tuple[str, int], int | None] = {}
    for match in re.finditer(r"prog '(.+?)': relo #(\d+): patched insn #\d+ \(.+?\) (?:off|imm|imm64) \d+ -> (\d+)", text):
        found[match[1], int(match[2])] = int(match[3])
    for match in re.finditer(r"prog '(.+?)': relo #(\d+): substituting insn", text):
        found[match[1], int(match[2])] = None
    return found


def numbered(data: bytes) -> list[tuple[tuple[str, int], Relocation, int]]:
    """Return the relocations by program and number, as libbpf counts them, each with the code of its instruction."""
    sections = {each.name: each for each in code_sections(data).values()}
    counts: dict[str, int] = {}
    found = []
    for each in relocations(data, Btf(section_bytes(data, ".BTF") or b"")):
        number = counts[each.section] = counts.get(each.section, -1) + 1
        section = sections[each.section]
        owner = max((f for f in section.functions if f.byte_offset <= each.byte_offset), key=lambda f: f.byte_offset)
        found.append(((owner.name, number), each, section.code[each.byte_offset]))
    return found


def value_for(answer: Answer, opcode: int) -> int | None:
    if answer.value is None or not (answer.fits_loads or opcode & 7 not in _LOADS_AND_STORES):
        return None
    return answer.value & 0xFFFFFFFFFFFFFFFF


@pytest.mark.parametrize("name", CORPUS)
def test_relocations_come_to_what_libbpf_makes_of_them(name: str) -> None:
    package = built(name).package
    data = package.object
    resolver = Resolver(Btf(section_bytes(data, ".BTF") or b""), kernel())
    theirs = found_by_libbpf(data, package.object_name)
    ours = {key: value_for(resolver.resolve(each), opcode) for key, each, opcode in numbered(data)}
    assert {key: ours[key] for key in theirs} == theirs


@pytest.mark.parametrize("name", CORPUS)
def test_minimised_btf_answers_as_all_of_it(name: str) -> None:
    data = built(name).package.object
    local = Btf(section_bytes(data, ".BTF") or b"")
    small = minimise(kernel(), [data])
    Btf(small).check()
    ours, minimal = Resolver(local, kernel()), Resolver(local, KernelTypes(Btf(small)))
    for _key, each, _opcode in numbered(data):
        wanted, found = ours.resolve(each), minimal.resolve(each)
        if each.kind != "target_type_id":  # which only means something in the kernel's own BTF
            assert (found.value, found.size_bytes, found.fits_loads) == (wanted.value, wanted.size_bytes, wanted.fits_loads)


def test_a_run_with_minimised_btf_reads_what_is_there(ecli: Ecli, packages: Path, tmp_path: Path) -> None:
    package = packages / "execsnoop.json"
    assert ecli("inspect", package, "--object", "object.o").status == 0
    small = tmp_path / "small.btf"
    small.write_bytes(minimise(kernel(), [(tmp_path / "object.o").read_bytes()]))
    assert small.stat().st_size < 1000
    with ecli.start("run", package, "--json", "--kernel-btf", small) as running:
        with subprocess.Popen(["/bin/true"]) as process:
            pid, parent = process.pid, Path("/proc/self/stat").read_text().split()[0]
        outcome = running.end()
    (event,) = [each for each in outcome.events if (each["pid"], each["kind"]) == (pid, "EXEC")]
    assert event["ppid"] == int(parent)
