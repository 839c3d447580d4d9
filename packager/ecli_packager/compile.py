"""From C source to a linked eBPF object."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path

from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from ecli_packager.errors import CompileError
from ecli_packager.forwards import sort_forwards
from ecli_packager.toolchain import Arch, Clang, SystemHeaders
from ecli_packager.vmlinux import without_clashes
from ecli_runtime.btf import Btf
from ecli_runtime.code import section_bytes
from ecli_runtime.errors import LibbpfError
from ecli_runtime.libbpf._ffi import lib

# What objects call the directories of headers that are not the author's: no path of this machine gets into them.
LIBBPF, VMLINUX, SYSTEM = "libbpf", "kernel", "system"


_CLASH = re.compile(r"conflicting types for|static declaration of .* follows non-static|redefinition of .* as different kind")

# Instructions that every kernel knows. From v3 on clang makes each __sync_fetch_and_add() an atomic that returns the old value,
# also where nobody asks for that, and kernels before 5.12 refuse it; programs that do ask for it need v3.
_OLDEST, _NEWER = "-mcpu=v2", "-mcpu=v3"
_NEEDS_NEWER = "usage of the XADD return value"
# Headers of the C library that serve beside vmlinux.h, which has their types.
_BESIDE_VMLINUX = Path(__file__).parent / "include"

# libbpf's declarations of helpers. Authors declare those that their libbpf did not have yet.
_HELPERS = Path("bpf", "bpf_helper_defs.h")

# Data sections in BTF of what the kernel has: its functions and variables, and what it was configured with.
_OF_THE_KERNEL = (".ksyms", ".kconfig")

_MAX_ROUNDS = 4  # what is renamed may be what another name was defined by

# What older compilers only warned of and clang has made an error since: programs written for those must build unmodified.
_ONLY_WARNINGS = ("int-conversion", "incompatible-pointer-types", "incompatible-function-pointer-types", "implicit-int")


@dataclass(frozen=True)
class Includes:
    """Where headers are looked for besides the source's own directory.

    Attributes:
        libbpf: ``<bpf/…>``.
        vmlinux: Directory of ``vmlinux.h``, or ``None``.
        system: The kernel's and the C library's.
        author: Directories that the user named.
    """

    libbpf: Path
    vmlinux: Path | None
    system: SystemHeaders
    author: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Compiler:
    """clang, set up for one machine.

    Attributes:
        clang: The compiler.
        arch: The machine that the object is for.
        includes: Header directories.
        flags: More flags of the author's.
    """

    clang: Clang
    arch: Arch
    includes: Includes
    flags: tuple[str, ...] = ()

    def compile(self, source: Path, referenced: Sequence[str] = ()) -> tuple[bytes, str]:
        """Compile one C file.

        Args:
            source: The file.
            referenced: C types (``struct event``) that must be in the object's BTF although no program mentions them.

        Returns:
            The object, DWARF included, and what clang had to say (warnings), possibly empty.

        Raises:
            CompileError: clang refused it.
        """
        done, data = self._run(source, referenced, ())
        if done.returncode and _CLASH.search(done.stderr):
            # vmlinux.h declares the kernel's kfuncs; a source that has one of these names for itself must win.
            done, data = self._run(source, referenced, ("-DBPF_NO_KFUNC_PROTOTYPES",))
        if done.returncode and (clashing := self._clashes_with_author(done.stderr)):
            again, data = self._run_without_clashes(clashing, source, referenced)
            done = done if again.returncode else again
        if done.returncode:
            raise CompileError(f"{source}: compilation failed", done.stderr, self._hint(done.stderr))
        return sort_forwards(data), done.stderr

    def _clashes_with_author(self, diagnostics: str) -> list[Path]:
        """Return which of our headers define what the author's files define, too."""
        if "redefinition" not in diagnostics:
            return []
        # Where a header of the system is involved, it is not vmlinux.h that has to yield.
        vmlinux = [self.includes.vmlinux / "vmlinux.h"] if self.includes.vmlinux and not self._system_header(diagnostics) else []
        return [each for each in (*vmlinux, self.includes.libbpf / _HELPERS) if f"{each}:" in diagnostics]

    def _run_without_clashes(
        self, clashing: Sequence[Path], source: Path, referenced: Sequence[str]
    ) -> tuple[subprocess.CompletedProcess[str], bytes]:
        """Compile with headers that leave to the author the names that he has for himself: older ones lack them."""
        with tempfile.TemporaryDirectory(prefix="ecli-") as temporary:
            includes, flags = self.includes, ["-ferror-limit=0", "-fno-color-diagnostics"]
            texts: dict[Path, str] = {}
            for each in clashing:
                if each.name == "vmlinux.h":
                    includes = replace(includes, vmlinux=Path(temporary))
                    flags.append("-DBPF_NO_KFUNC_PROTOTYPES")
                    texts[Path(temporary) / "vmlinux.h"] = each.read_text()
                else:  # the headers beside it include it from their own directory
                    shutil.copytree(each.parent, Path(temporary) / _HELPERS.parent)
                    includes = replace(includes, libbpf=Path(temporary))
                    texts[Path(temporary) / _HELPERS] = each.read_text()
            compiler = replace(self, includes=includes)
            for _ in range(_MAX_ROUNDS):
                for path, text in texts.items():
                    path.write_text(text)
                done, data = compiler._run(source, referenced, tuple(flags))
                changed = {path: without_clashes(text, done.stderr, path.name) for path, text in texts.items()}
                if not done.returncode or changed == texts:
                    break
                texts = changed
            return done, data

    def _system_header(self, diagnostics: str) -> str:
        """Return the header of the system, as an author includes it, that comes first in diagnostics; empty: none does."""
        roots = [re.escape(str(each)) for each in (*self.includes.system.directories, self.includes.system.root.parent.parent)]
        found = re.search(rf"(?:{'|'.join(roots)})/(?:include/)?([\w./-]+\.h):\d+", diagnostics)
        return found[1] if found else ""

    def declares(self, source: Path, c_name: str) -> bool:
        """Tell whether a complete type of that name can be used at the end of a source."""
        try:
            self.compile(source, [c_name])
        except CompileError:
            return False
        return True

    def _run(
        self, source: Path, referenced: Sequence[str], flags: tuple[str, ...]
    ) -> tuple[subprocess.CompletedProcess[str], bytes]:
        with tempfile.TemporaryDirectory(prefix="ecli-") as temporary:
            out = Path(temporary) / "out.o"
            # Types are referenced from a wrapper around the source: the author's file stays as it is.
            text = _wrapper(source.name, referenced) if referenced else None
            name = f"./{source.name}" if source.name.startswith("-") else source.name  # or else it would be an option
            what = ["-x", "c", "-"] if referenced else [name]
            done = subprocess.run(
                [*self._command(source.resolve().parent, flags), "-c", "-o", str(out), *what],
                cwd=source.resolve().parent,
                input=text,
                capture_output=True,
                text=True,
                errors="replace",
                check=False,
            )
            if done.returncode and _NEEDS_NEWER in done.stderr and _NEWER not in flags:
                return self._run(source, referenced, (_NEWER, *flags))
            return done, b"" if done.returncode else out.read_bytes()

    def _command(self, directory: Path, flags: tuple[str, ...]) -> list[str]:
        includes = self.includes
        places = {directory: ".", includes.libbpf: LIBBPF, includes.system.root: SYSTEM, _BESIDE_VMLINUX: SYSTEM}
        if includes.vmlinux:
            places[includes.vmlinux] = VMLINUX
        places.update({path: os.path.relpath(path, directory) for path in includes.author})
        return [
            *self.clang.command,
            *("-target", self.arch.target, _OLDEST, "-O2", "-g", f"-D__TARGET_ARCH_{self.arch.define}"),
            *("-Wno-unknown-attributes", "-Wno-missing-declarations"),
            *(f"-Wno-error={warning}" for warning in _ONLY_WARNINGS),
            *(
                "-nostdlibinc",
                "-fdebug-compilation-dir=.",
                *(f"-ffile-prefix-map={path}={name}" for path, name in places.items()),
            ),
            *(("-fcolor-diagnostics",) if sys.stderr.isatty() and "NO_COLOR" not in os.environ else ()),
            *flags,
            *self.flags,
            # libbpf's own headers come before the author's copies of them: they must be of the generation that loads the object.
            *("-I", ".", "-I", str(includes.libbpf), "-I", str(_BESIDE_VMLINUX)),
            *(word for path in includes.author for word in ("-I", str(path))),
            *(("-I", str(includes.vmlinux)) if includes.vmlinux else ()),
            *(word for path in includes.system.directories for word in ("-idirafter", str(path))),
        ]

    def _hint(self, diagnostics: str) -> str:
        missing = re.search(r"fatal error: .*?'([^']+)' file not found", diagnostics)
        if missing and missing[1] == "vmlinux.h":
            return "this kernel has no BTF to make vmlinux.h from; name a kernel's BTF with --btf FILE"
        if missing:
            return f"header {missing[1]!r} was not found; say where it is with -I DIR"
        header = self._system_header(diagnostics)
        if header and "vmlinux.h" in diagnostics and "redefinition" in diagnostics:
            return f"vmlinux.h has the types of <{header}>: leave that header out, and #define what constants you need from it"
        if "struct user_pt_regs" in diagnostics or "struct pt_regs" in diagnostics:
            return f"vmlinux.h is of another architecture; name the BTF of a {self.arch.name} kernel: --btf {self.arch.name}=FILE"
        incomplete = re.search(r"incomplete (?:definition of )?type '((?:struct|union|enum) \w+)'", diagnostics)
        if incomplete and self.includes.vmlinux:
            what = f"if {incomplete[1]} is the kernel's: the one that vmlinux.h is of has none"
            return f"{what}; name the BTF of one that has: --btf FILE"
        return ""


def _wrapper(name: str, referenced: Sequence[str]) -> str:
    # A static function that nobody calls keeps its parameters' types in BTF. libbpf neither loads it nor offers it as an option,
    # which a global variable would become.
    lines = [f'#include "{name}"']
    for index, c_name in enumerate(referenced):
        base, bracket, rest = c_name.partition("[")
        event = f"(*event){bracket}{rest}"
        head = f"static __attribute__((used)) int __ecli_export_{index}"
        lines.append(f"{head}({base} {event}) {{ return !event; }}")
        lines.append(f'_Static_assert(sizeof({c_name}) + 1, "{c_name} is complete");')
    return "\n".join((*lines, ""))


def link(objects: Sequence[tuple[Path, bytes]]) -> bytes:
    """Link objects, each with the source that it is from, into one with libbpf's static linker, which also drops DWARF.

    Raises:
        CompileError: They do not fit together, or something is defined in none of them.
    """
    with tempfile.TemporaryDirectory(prefix="ecli-") as temporary:
        out = Path(temporary) / "linked.o"
        linker = lib.bpf_linker__new(os.fsencode(out), None)
        try:
            for index, (_source, data) in enumerate(objects):
                path = Path(temporary) / f"{index}.o"
                path.write_bytes(data)
                try:
                    lib.bpf_linker__add_file(linker, os.fsencode(path), None)
                except LibbpfError as error:
                    raise _cannot_link(error, objects[: index + 1]) from error
            lib.bpf_linker__finalize(linker)
        finally:
            lib.bpf_linker__free(linker)
        data = out.read_bytes()
    _refuse_undefined(data, [source for source, _data in objects])
    return data


def _refuse_undefined(data: bytes, sources: Sequence[Path]) -> None:
    """Refuse what is declared in the sources and defined in none; the kernel defines what is in ``.ksyms`` and ``.kconfig``."""
    missing = _symbols(data, defined=False)
    if not missing:
        return
    btf = Btf(section_bytes(data, ".BTF") or b"")
    sections = {each.name: {btf.type(variable.type_id) for variable in each.variables} for each in btf.data_sections()}
    the_kernels = {getattr(each, "name", "") for name in _OF_THE_KERNEL for each in sections.get(name, ())}
    for name in sorted(missing - the_kernels):
        where = str(sources[0]) if len(sources) == 1 else "any of the sources"
        hint = "build it together with the source that defines it; of the kernel's own, the declaration ends in __ksym"
        raise CompileError(f"{name} is declared, but not defined in {where}", "", hint)


def _cannot_link(error: LibbpfError, objects: Sequence[tuple[Path, bytes]]) -> CompileError:
    """Return the error that the last of some objects does not fit to those before it, from what libbpf's linker logged."""
    source = objects[-1][0]
    clash = re.search(r"conflicting non-weak symbol #\d+ \((.+)\)", error.log)
    if clash:
        first = next((source for source, data in objects if clash[1] in _symbols(data, defined=True)), source)
        hint = "make one of them static, or declare it with extern there and define it once"
        return CompileError(f"{clash[1]} is defined in both {first} and {source}", "", hint)
    unlike = re.search(r"non-identical contents of section '(.+)'", error.log)
    if unlike:
        others = " and ".join(str(each) for each, _data in objects[:-1])
        return CompileError(f"section {unlike[1]} of {source} is not the same as that of {others}", "", "write it alike in all")
    detail = error.log.strip().removeprefix("libbpf: ").partition("\n")[0] or str(error)
    return CompileError(f"{source} does not fit to the sources before it: {detail}", "", "build it alone to see that it compiles")


def _symbols(data: bytes, defined: bool) -> set[str]:
    """Return the names of the global and weak symbols that an object defines, or of those that it only refers to."""
    table = ELFFile(BytesIO(data)).get_section_by_name(".symtab")
    symbols = [each for each in table.iter_symbols() if each.name] if isinstance(table, SymbolTableSection) else []
    bound = [each for each in symbols if each["st_info"]["bind"] in ("STB_GLOBAL", "STB_WEAK")]
    return {each.name for each in bound if (each["st_shndx"] != "SHN_UNDEF") == defined}
