"""Builds all packages of the matrix, once, for all kernels and architectures."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

from ecli_packager.build import Request, build
from ecli_schemas.errors import EcliError
from ecli_schemas.write import write_package
from tests.corpus_programs import CORPUS
from tests.matrix.rows import OTHERS

ROOT = Path(__file__).parents[2]
X86_ONLY = {"percpurings"}  # of a tracepoint that other architectures do not have, with its type


def sources() -> dict[str, Path]:
    """Return the sources of all packages, by the package's name."""
    data = {name: ROOT / "tests" / "data" / f"{name}.bpf.c" for name in ("hooks", *(row.package for row in OTHERS))}
    samples = {path.parent.name: path for path in sorted(ROOT.glob("samples/*/*.bpf.c"))}
    return {**samples, **CORPUS, **data}


def build_all(directory: Path, architectures: Iterable[str], btf: Mapping[str, Path]) -> None:
    """Build each package for some architectures (as ``uname -m`` has them) into a directory; and ``shop`` for each."""
    names = tuple(architectures)
    with ProcessPoolExecutor(2) as pool:
        problems = list(filter(None, pool.map(partial(_build, directory, names, dict(btf)), sources().items())))
    if problems:
        raise AssertionError("\n".join(problems))
    for machine in names:
        _build_shop(directory, machine)


def _build(directory: Path, architectures: tuple[str, ...], btf: Mapping[str, Path], source: tuple[str, Path]) -> str:
    """Build a package, and return what went wrong: the errors themselves do not pass from process to process."""
    name, path = source
    arches = ("x86_64",) if name in X86_ONLY else architectures
    try:
        package = build(Request((path,), arches=arches, btf=btf)).package
    except EcliError as error:
        return "\n".join([f"{path}: {error}", getattr(error, "diagnostics", "")])
    (directory / f"{name}.json").write_bytes(write_package(package))
    return ""


def _build_shop(directory: Path, machine: str) -> None:
    """Build ``shop`` for a machine with the compiler and linker that also build packages: it needs no C library."""
    source, program = Path(__file__).with_name("shop.c"), directory / f"shop-{machine}"
    zig = [sys.executable, "-m", "ziglang"]
    target = ["-target", f"{machine}-linux-none", "-ffreestanding", "-fno-pic", "-fno-stack-protector", "-O2"]
    subprocess.run([*zig, "clang", *target, "-c", "-o", program.with_suffix(".o"), source], check=True)
    subprocess.run([*zig, "ld.lld", "-static", "-o", program, program.with_suffix(".o")], check=True)
