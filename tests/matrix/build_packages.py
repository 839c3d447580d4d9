"""Builds all packages of the matrix, once, for all kernels and architectures."""

from __future__ import annotations

import shutil
import subprocess
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
    """Build each package for some architectures (as ``uname -m`` has them) into a directory; and ``shop``, for this machine."""
    names = tuple(architectures)
    with ProcessPoolExecutor(2) as pool:
        problems = list(filter(None, pool.map(partial(_build, directory, names, dict(btf)), sources().items())))
    if problems:
        raise AssertionError("\n".join(problems))
    _build_shop(directory)


def _build(directory: Path, architectures: tuple[str, ...], btf: Mapping[str, Path], source: tuple[str, Path]) -> str:
    """Build a package, and return what went wrong: the errors themselves do not pass from process to process."""
    name, path = source
    arches = ("x86_64",) if name in X86_ONLY else architectures
    try:
        package = build(Request((path,), arches=arches, btf=btf)).package
    except EcliError as error:
        return f"{path}: {error}"
    (directory / f"{name}.json").write_bytes(write_package(package))
    return ""


def _build_shop(directory: Path) -> None:
    from tests.kernel.test_attach_tracing import PROGRAM

    if cc := shutil.which("cc"):
        (directory / "shop.c").write_text(PROGRAM)
        subprocess.run([cc, "-O2", "-o", directory / "shop", directory / "shop.c"], check=True)
