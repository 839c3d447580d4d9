"""``ecli-py build``: C in, package out."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

from ecli_py.parser import Parser
from ecli_py.report import report, write_out
from ecli_schemas.errors import EcliError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ecli_schemas.model import WasmLimits

_WATCH_INTERVAL_S = 0.25
_STDOUT = Path("-")


def main(words: list[str]) -> int:
    """Build a package; returns the exit status."""
    parser = Parser("ecli-py build", "Build a package from eBPF C.", "Words after -- go to clang.")
    parser.add_argument(
        "sources",
        metavar="SOURCE",
        type=Path,
        nargs="*",
        help="C files, linked into one package that is named after the first; a header (.h) among them says that its structs "
        "are the events, which is rarely needed",
    )
    parser.add_argument(
        "-o", "--output", metavar="FILE", type=Path, help="the package, - for standard output (default: SOURCE with .json)"
    )
    parser.add_argument(
        "--export",
        metavar="MAP=TYPE",
        action="append",
        default=[],
        help="C type of the events of a ring buffer or perf event array, when it cannot be told from the code; repeat it for "
        "more maps, or for more types of one map",
    )
    parser.add_argument("--clang", metavar="PATH", help="clang to use, 14 or newer (default: $CLANG, else ziglang's)")
    parser.add_argument(
        "--btf",
        metavar="[ARCH=]FILE",
        action="append",
        default=[],
        help="BTF of the kernel that vmlinux.h describes (default: the running one's), for one architecture or for all",
    )
    parser.add_argument(
        "--btf-archive",
        metavar="DIR",
        type=Path,
        help="put the types of these kernels into the package, as far as it needs them, for machines whose kernel has no BTF: "
        "kernel images, or what `ecli-py btf extract` or BTFHub has put there",
    )
    parser.add_argument(
        "--arch",
        metavar="ARCH",
        action="append",
        default=[],
        help="machine to build for, as uname -m names it: x86_64, aarch64, riscv64, s390x; repeat it for an object for each in "
        "one package (default: this machine)",
    )
    parser.add_argument(
        "-I", metavar="DIR", type=Path, action="append", default=[], dest="include", help="look for headers in DIR, too"
    )
    parser.add_argument("-D", metavar="NAME[=VALUE]", action="append", default=[], dest="define", help="define a macro")
    parser.add_argument(
        "--wasm",
        metavar="FILE",
        type=Path,
        action="append",
        default=[],
        help="event handler that the events of the package pass through, C or a Wasm module; repeat it for more, in their order; "
        "without SOURCE: only make a module of it",
    )
    parser.add_argument(
        "--handler-limit",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        help="what these may use: memory=64M, stack=1M, time=500ms (for a batch of events), fuel=1000000 (instructions for an "
        "event), emitted=8M (bytes for a batch)",
    )
    parser.add_argument("--watch", action="store_true", help="build again whenever a source or header changes, until Ctrl-C")
    own, extra = _split(words)
    arguments = parser.parse_args(own)
    if not arguments.sources and not arguments.wasm:
        parser.error("the following arguments are required: SOURCE")
    try:
        from ecli_packager.build import Request, build
        from ecli_packager.errors import CompileError
        from ecli_schemas.write import write_package
    except ModuleNotFoundError as error:
        raise EcliError(f"building needs the Python module {error.name}", "pip install 'ecli-py[build]'") from error

    from ecli_py.handlers import parse_limits

    limits = parse_limits(arguments.handler_limit)
    flags = [f"-D{definition}" for definition in arguments.define] + extra
    if arguments.wasm and not arguments.sources:
        return _build_module(arguments.wasm, arguments.output, limits, [*(f"-I{path}" for path in arguments.include), *flags])
    sources, header = _split_sources(arguments.sources)
    request = Request(
        sources,
        header,
        _exports(arguments.export),
        arguments.clang,
        _btf_files(arguments.btf),
        tuple(arguments.arch),
        tuple(arguments.include),
        tuple(flags),
        arguments.btf_archive,
        tuple(arguments.wasm),
        limits,
    )
    output = arguments.output or sources[0].with_name(sources[0].name.partition(".")[0] + ".json")

    if any(output.resolve() == path.resolve() for path in (*arguments.sources, *arguments.wasm)):
        raise EcliError(f"{output} is a source, which the package would replace", "choose another name with -o FILE")

    def build_once() -> int:
        try:
            result = build(request)
        except CompileError as error:
            sys.stderr.write(error.diagnostics)
            report(error)
            return 1
        except EcliError as error:
            report(error)
            return 1
        sys.stderr.write(result.diagnostics)
        data = write_package(result.package)
        if output == _STDOUT:
            write_out(data)
            return 0
        _write(output, data)
        if arguments.watch or sys.stderr.isatty():
            sys.stderr.write(f"{output}: {len(data) / 1024:.1f} kB; run it with: sudo ecli-py run {output}\n")
        return 0

    if not arguments.watch:
        return build_once()
    directories = {path.resolve().parent for path in (*arguments.sources, *arguments.wasm)} | set(arguments.include)
    while True:
        seen = _timestamps(directories)  # before building: what is saved meanwhile is built next
        build_once()
        while _timestamps(directories) == seen:
            time.sleep(_WATCH_INTERVAL_S)


def _build_module(files: list[Path], output: Path | None, limits: WasmLimits, flags: list[str]) -> int:
    """Make a module of a handler's source, for `run --handler`."""
    from ecli_packager.errors import CompileError
    from ecli_packager.handler.compile import make_handler

    if len(files) > 1:
        raise EcliError("expected one handler, where there is no package for it", "build them one by one, or name a SOURCE, too")
    output = output or files[0].with_name(files[0].name.partition(".")[0] + ".wasm")
    if output.resolve() == files[0].resolve():
        raise EcliError(f"{output} is a source, which the module would replace", "choose another name with -o FILE")
    try:
        made = make_handler(files[0], None, limits, flags)
    except CompileError as error:
        sys.stderr.write(error.diagnostics)
        raise
    sys.stderr.write(made.diagnostics)
    if output == _STDOUT:
        write_out(made.module.code)
    else:
        _write(output, made.module.code)
    return 0


def _timestamps(directories: set[Path]) -> dict[Path, int]:
    """Return when each C file and header in some directories was changed."""
    found = {}
    for directory in directories:
        for pattern in ("*.c", "*.h"):
            for path in directory.glob(pattern):
                try:
                    found[path] = path.stat().st_mtime_ns
                except FileNotFoundError:  # an editor is replacing it
                    continue
    return found


def _split(words: list[str]) -> tuple[list[str], list[str]]:
    """Return the words before ``--`` and those after it."""
    at = words.index("--") if "--" in words else len(words)
    return words[:at], words[at + 1 :]


def _split_sources(paths: list[Path]) -> tuple[tuple[Path, ...], Path | None]:
    """Return the C files, and the header if there is one."""
    headers = [path for path in paths if path.suffix == ".h"]
    sources = tuple(path for path in paths if path.suffix != ".h")
    for path in paths:
        if path.is_dir():
            raise EcliError(f"{path} is a directory", "name C files")
        if path.suffix not in (".c", ".h"):
            raise EcliError(f"{path} is no C file", "name files that end in .c")
    if not sources or len(headers) > 1:
        raise EcliError("expected C files, and one header at most", "for example: ecli-py build tool.bpf.c tool.h")
    return sources, headers[0] if headers else None


def _btf_files(words: list[str]) -> dict[str, Path]:
    """Return machine (empty: all) → file."""
    from ecli_packager.toolchain import find_arch

    found = {}
    for word in words:
        arch, equals, file = word.partition("=")
        if equals:
            find_arch(arch)
        found[arch if equals else ""] = Path(file if equals else word)
    return found


def _exports(words: list[str]) -> dict[str, list[str]]:
    exports: dict[str, list[str]] = {}
    for word in words:
        name, equals, type_name = word.partition("=")
        if not (name and equals and type_name):
            raise EcliError(f"--export {word}: expected MAP=TYPE", "for example --export 'events=struct event'")
        types = exports.setdefault(name.strip(), [])
        if type_name.strip() not in types:
            types.append(type_name.strip())
    return exports


def _write(path: Path, data: bytes) -> None:
    """Write a file whole or not at all."""
    temporary = None
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
            temporary = file.name
            file.write(data)
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)
        os.replace(temporary, path)
    except OSError as error:
        if temporary:
            os.unlink(temporary)
        raise EcliError(f"cannot write {path}: {error.strerror}", "choose another place with -o FILE") from error
