"""``ecli-py build``: C in, package out."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from ecli_py.cli import Parser, report
from ecli_schemas.errors import EcliError


def main(words: list[str]) -> int:
    """Build a package; returns the exit status."""
    parser = Parser("ecli-py build", "Build a package from eBPF C.", "Words after -- go to clang.")
    parser.add_argument("source", metavar="SOURCE", type=Path, help="the C file")
    parser.add_argument(
        "header", metavar="HEADER", type=Path, nargs="?", help="header whose structs are the events (rarely needed)"
    )
    parser.add_argument("-o", "--output", metavar="FILE", type=Path, help="the package (default: SOURCE with .json)")
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
        "--btf", metavar="FILE", type=Path, help="BTF of the kernel that vmlinux.h describes (default: the running one's)"
    )
    parser.add_argument("-I", metavar="DIR", action="append", default=[], dest="include", help="look for headers in DIR")
    parser.add_argument("-D", metavar="NAME[=VALUE]", action="append", default=[], dest="define", help="define a macro")
    own, _, extra = _split(words)
    arguments = parser.parse_args(own)
    try:
        from ecli_packager.build import Request, build
        from ecli_packager.errors import CompileError
        from ecli_schemas.write import write_package
    except ModuleNotFoundError as error:
        raise EcliError(f"building needs the Python module {error.name}", "pip install 'ecli-py[build]'") from error

    flags = [f"-I{os.path.abspath(directory)}" for directory in arguments.include]
    flags += [f"-D{definition}" for definition in arguments.define] + extra
    request = Request(
        arguments.source,
        arguments.header,
        _exports(arguments.export),
        arguments.clang,
        arguments.btf,
        tuple(flags),
    )
    output = arguments.output or arguments.source.with_name(arguments.source.name.partition(".")[0] + ".json")
    try:
        result = build(request)
    except CompileError as error:
        sys.stderr.write(error.diagnostics)
        report(error)
        return 1
    sys.stderr.write(result.diagnostics)
    data = write_package(result.package)
    _write(output, data)
    if sys.stderr.isatty():
        sys.stderr.write(f"{output}: {len(data) / 1024:.1f} kB; run it with: sudo ecli-py run {output}\n")
    return 0


def _split(words: list[str]) -> tuple[list[str], str, list[str]]:
    if "--" not in words:
        return words, "", []
    at = words.index("--")
    return words[:at], "--", words[at + 1 :]


def _exports(words: list[str]) -> dict[str, list[str]]:
    exports: dict[str, list[str]] = {}
    for word in words:
        name, equals, type_name = word.partition("=")
        if not (name and equals and type_name):
            raise EcliError(f"--export {word}: expected MAP=TYPE", "for example --export 'events=struct event'")
        exports.setdefault(name.strip(), []).append(type_name.strip())
    return exports


def _write(path: Path, data: bytes) -> None:
    """Write a file whole or not at all."""
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
            file.write(data)
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(file.name, 0o666 & ~umask)
        os.replace(file.name, path)
    except OSError as error:
        raise EcliError(f"cannot write {path}: {error.strerror}", "choose another place with -o FILE") from error
