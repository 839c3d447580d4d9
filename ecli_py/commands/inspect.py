"""``ecli-py inspect``: what a package is, and what its object can do."""

from __future__ import annotations

import json
import os
import sys
import tempfile

from ecli_py.inspection import Inspection
from ecli_py.parser import Parser, add_fetch_options
from ecli_py.report import write_out
from ecli_py.source import any_object, find_source
from ecli_schemas.errors import EcliError, PackageError
from ecli_schemas.read import read_package

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import Namespace
    from typing import Any

    from ecli_py.source import Source
    from ecli_schemas.model import Package


def main(words: list[str]) -> int:
    """Inspect a package; returns the exit status."""
    parser = Parser(
        "ecli-py inspect",
        "Show what a package is and what it can do, read from its object. Nothing is loaded; no privileges are needed.",
    )
    parser.add_argument(
        "package",
        metavar="PACKAGE",
        help="file, - for standard input, URL, HOST/REPO:TAG, or name in a catalogue; a Wasm module, too",
    )
    parser.add_argument("--arch", metavar="ARCH", help="machine whose object is shown or written (default: this one)")
    add_fetch_options(parser)
    output = parser.add_mutually_exclusive_group()
    output.add_argument("--json", action="store_true", help="one JSON object instead of text")
    output.add_argument(
        "--object", metavar="FILE", help="only write the ELF object out, for bpftool or any loader; - is standard output"
    )
    arguments = parser.parse_args(words)
    source = find_source(arguments.package, offline=arguments.offline, insecure=arguments.insecure)
    data = source.data
    if data.startswith(b"\0asm"):
        return _inspect_module(source, arguments)
    package = _read(data)
    wanted = arguments.arch
    arch, elf = any_object(package) if wanted is None else (wanted, package.object_for(wanted))
    if arguments.object is not None:
        _write_object(arguments.object, elf)
        return 0
    inspection = Inspection(package, data, arch, elf)
    inspection.document["signature"] = _signature(source, arguments.package)
    if arguments.json:
        # In ASCII: JSON text may hold characters that a terminal obeys.
        text = json.dumps(inspection.document, indent=2) + "\n"
    else:
        from ecli_py.render.inspection import render

        text = render(inspection.document)
    write_out(text)
    if inspection.document["contradictions"]:
        raise EcliError(
            "what the package says that it can do is not what its object can do",
            "do not run it before somebody you trust has told why, or built it again from its source",
        )
    _check_signature(inspection.document, arguments.package)
    return 0


def _signature(source: Source, name: str) -> dict[str, Any]:
    """Return who has signed what is shown."""
    from ecli_py.fetch import fetch
    from ecli_py.trust.described import describe_signature

    if source.fetched is None and name == "-":
        return {"signed": False, "holds": None, "by": [], "problem": "standard input has no signature"}
    return describe_signature(source.fetched or fetch(name))


def _check_signature(document: dict[str, Any], name: str) -> None:
    """Raise where a signature is not of these bytes, now that all has been shown."""
    if document["signature"]["holds"] is False:
        raise EcliError(
            f"{name}: {document['signature']['problem']}", "do not run it; fetch it again, and ask its author if that fails, too"
        )


def _inspect_module(source: Source, arguments: Namespace) -> int:
    """Show what a Wasm module asks for."""
    from ecli_py.module_inspection import inspect_module, module_text

    if arguments.object is not None or arguments.arch is not None:
        raise EcliError("a Wasm module has no object that could be written or chosen", "leave --object and --arch out")
    document = inspect_module(source.data)
    document["signature"] = _signature(source, arguments.package)
    write_out(json.dumps(document, indent=2) + "\n" if arguments.json else module_text(document, arguments.package))
    _check_signature(document, arguments.package)
    return 0


def _read(data: bytes) -> Package:
    try:
        return read_package(data)
    except PackageError as error:
        if "--object" in error.hint:  # of `run`, which takes such pairs
            raise PackageError(str(error), hint="inspect needs a whole package; ecli-py run takes metadata and object") from error
        raise


def _write_object(path: str, elf: bytes) -> None:
    """Write an object to a new file, whole or not at all, or to standard output."""
    try:
        if path == "-":
            if sys.stdout.isatty():
                raise EcliError(
                    "the object is binary data, and standard output is a terminal", "write it to a file: --object FILE"
                )
            write_out(elf)
        elif os.path.exists(path) and not os.path.isfile(path):  # a pipe or /dev/null
            with open(path, "wb") as file:
                file.write(elf)
        else:
            _create(path, elf)
    except BrokenPipeError:
        raise
    except FileExistsError as error:
        # `run --object` reads such a file, so it may well be somebody's only copy.
        raise EcliError(f"{path} is there already, and has other contents", "choose another name, or remove it first") from error
    except OSError as error:
        raise EcliError(f"cannot write {path}: {error.strerror}", "choose another place") from error


def _create(path: str, elf: bytes) -> None:
    if os.path.exists(path):
        with open(path, "rb") as existing:
            if existing.read(len(elf) + 1) == elf:
                return
        raise FileExistsError(path)
    directory, name = os.path.split(path)
    with tempfile.NamedTemporaryFile(dir=directory or ".", prefix=f".{name}.") as file:
        file.write(elf)
        file.flush()
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(file.name, 0o666 & ~umask)
        os.link(file.name, path)  # fails if somebody else has just made it
