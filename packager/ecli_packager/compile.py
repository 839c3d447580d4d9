"""From C source to a linked eBPF object."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from ecli_packager.errors import CompileError
from ecli_packager.toolchain import Arch, Clang
from ecli_runtime.libbpf._ffi import lib


@dataclass(frozen=True)
class Includes:
    """Where headers are looked for besides the author's own directory.

    Attributes:
        libbpf: ``<bpf/…>``.
        vmlinux: Directory of ``vmlinux.h``, or ``None``.
        kernel: The kernel's user-space headers.
    """

    libbpf: Path
    vmlinux: Path | None
    kernel: list[Path] = field(default_factory=list)


def compile_source(
    clang: Clang, arch: Arch, includes: Includes, source: Path, flags: list[str], referenced: list[str]
) -> tuple[bytes, str]:
    """Compile one C file.

    Args:
        clang: The compiler.
        arch: The machine it is for.
        includes: Header directories.
        source: The file.
        flags: More flags of the author's.
        referenced: C type names (``struct event``) that must be in the object's BTF although no program mentions them.

    Returns:
        The object, DWARF included, and what clang had to say (warnings), possibly empty.

    Raises:
        CompileError: clang refused it.
    """
    directory = source.resolve().parent
    command = [
        *clang.command,
        *("-target", arch.target, "-mcpu=v3", "-O2", "-g", "-c"),
        f"-D__TARGET_ARCH_{arch.define}",
        *("-Wno-unknown-attributes", "-Wno-missing-declarations"),
        # No header and no path of this machine may get into the object.
        *("-nostdlibinc", f"-ffile-prefix-map={directory}=.", "-fdebug-compilation-dir=."),
        f"-ffile-prefix-map={includes.libbpf}=libbpf",
        *(("-fcolor-diagnostics",) if sys.stderr.isatty() and "NO_COLOR" not in os.environ else ()),
        *("-I", "."),
        *flags,
        *("-I", str(includes.libbpf)),
        *(("-I", str(includes.vmlinux), f"-ffile-prefix-map={includes.vmlinux}=kernel") if includes.vmlinux else ()),
        *(word for path in includes.kernel for word in ("-idirafter", str(path))),
    ]
    with tempfile.TemporaryDirectory(prefix="ecli-") as temporary:
        out = Path(temporary) / "out.o"
        # Types are referenced from a wrapper around the source: the author's file stays as it is.
        what = ["-x", "c", "-"] if referenced else [source.name]
        text = _wrapper(source.name, referenced) if referenced else None
        done = subprocess.run(
            [*command, "-o", str(out), *what], cwd=directory, input=text, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise CompileError(f"{source}: compilation failed", done.stderr, _hint(done.stderr))
        return out.read_bytes(), done.stderr


def _wrapper(name: str, referenced: list[str]) -> str:
    # A static function that nobody calls keeps its parameters' types in BTF. libbpf neither loads it nor offers it as an option,
    # which a global variable would become.
    functions = (
        f"static __attribute__((used)) int __ecli_export_{index}({type_name} *event) {{ return !event; }}"
        for index, type_name in enumerate(referenced)
    )
    return "\n".join((f'#include "{name}"', *functions, ""))


def _hint(diagnostics: str) -> str:
    missing = re.search(r"fatal error: '([^']+)' file not found", diagnostics)
    if missing and missing[1] == "vmlinux.h":
        return "this kernel has no BTF to make vmlinux.h from; name a kernel's BTF with --btf FILE"
    if missing:
        return f"header {missing[1]!r} was not found; say where it is with -I DIR"
    return ""


def link(objects: list[bytes]) -> bytes:
    """Link objects into one with libbpf's static linker, which also drops DWARF.

    Raises:
        LibbpfError: They do not fit together.
    """
    with tempfile.TemporaryDirectory(prefix="ecli-") as temporary:
        out = Path(temporary) / "linked.o"
        linker = lib.bpf_linker__new(os.fsencode(out), None)
        try:
            for index, data in enumerate(objects):
                path = Path(temporary) / f"{index}.o"
                path.write_bytes(data)
                lib.bpf_linker__add_file(linker, os.fsencode(path), None)
            lib.bpf_linker__finalize(linker)
        finally:
            lib.bpf_linker__free(linker)
        return out.read_bytes()
