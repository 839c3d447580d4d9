"""``ecli-py push``: packages into a registry."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ecli_py.fetch.contents import JSON, kind_of
from ecli_py.fetch.options import SIGNATURE_SUFFIX, FetchOptions
from ecli_py.fetch.references import parse_registry
from ecli_py.parser import Parser
from ecli_py.report import UsageError, printable, write_out
from ecli_py.source import read_source
from ecli_schemas.errors import EcliError
from ecli_schemas.read import read_package

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ecli_py.fetch.artifacts import Part

_PREFIX = "org.opencontainers.image."


def main(words: list[str]) -> int:
    """Push packages; returns the exit status."""
    parser = Parser(
        "ecli-py push",
        "Push a package, an archive with types of kernels, or a WebAssembly module to a registry, with its signature if there is "
        "one beside it (FILE.minisig). Several packages, for one machine each, become an index: each machine pulls its own.",
        "Prints the reference of what was pushed, with the digest that pins it.",
    )
    parser.add_argument("files", metavar="FILE", nargs="+", help="what to push")
    parser.add_argument("reference", metavar="HOST/REPO:TAG", help="where to, with oci:// or without")
    parser.add_argument("--annotation", metavar="KEY=VALUE", action="append", default=[], help="also say this of it; repeatable")
    parser.add_argument("--split", action="store_true", help="push a package for several machines as one for each")
    parser.add_argument("--insecure", action="store_true", help="ask it over plain HTTP, though it is on another machine")
    arguments = parser.parse_args(words)
    place = parse_registry(arguments.reference)
    if place.digest or place.pin:
        raise UsageError(f"{arguments.reference} names a digest", "push to a tag: HOST/REPO:TAG")
    said = dict(_annotation(each) for each in arguments.annotation)
    parts = [part for path in arguments.files for part in _parts(path, said, arguments.split)]
    if len(parts) > 1:
        _check_machines(parts)
    from ecli_py.fetch.artifacts import push

    digest, signatures = push(
        place, parts, arguments.insecure, FetchOptions().patience_s, lambda line: sys.stderr.write(printable(line) + "\n")
    )
    if signatures:
        sys.stderr.write(f"{signatures} signature{'' if signatures == 1 else 's'}\n")
    write_out(f"oci://{place.location}:{place.tag}@{digest}\n")
    return 0


def _annotation(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise UsageError(f"--annotation: expected KEY=VALUE, got {text!r}", f"for example {_PREFIX}version=1.2")
    return key, value


def _parts(path: str, said: dict[str, str], split: bool) -> list[Part]:
    """Return what a file is pushed as: one artifact, or one for each machine."""
    from ecli_py.fetch.artifacts import Part

    content = read_source(path)
    title = os.path.basename(path) if path != "-" else "package.json"
    if kind_of(content) != JSON:
        if split:
            raise EcliError(f"{path} is no package that can be split", "leave --split out")
        return [Part(content, title, said, signature=_signature(path))]
    package = read_package(content)
    doc = package.doc
    texts = {"version": doc.version, "description": doc.brief or doc.description, "licenses": doc.license, "url": doc.homepage}
    annotations = {**{f"{_PREFIX}{key}": text for key, text in texts.items() if text}, **said}
    machines = sorted({*package.arches, *package.objects})
    if not split:
        machine = machines[0] if len(machines) == 1 else ""
        return [Part(content, title, annotations, machine, _signature(path))]
    if len(machines) < 2:
        raise EcliError(f"{path} is not for several machines", "leave --split out, or build it with --arch for each")
    try:
        from ecli_schemas.write import write_package
    except ImportError as error:
        raise EcliError("splitting writes packages anew, which needs the build extra", "pip install 'ecli-py[build]'") from error
    each = [package.replace(object=package.object_for(machine), objects={}, arches=(machine,)) for machine in machines]
    return [
        replace(Part(write_package(one), title, annotations), machine=machine)
        for one, machine in zip(each, machines, strict=True)
    ]


def _signature(path: str) -> bytes | None:
    beside = Path(f"{path}{SIGNATURE_SUFFIX}")
    return read_source(str(beside)) if path != "-" and beside.exists() else None


def _check_machines(parts: Sequence[Part]) -> None:
    machines = [each.machine for each in parts]
    if not all(machines):
        title = parts[machines.index("")].title
        raise EcliError(
            f"{title} is not for one machine, so it cannot be in an index", "push it alone, or build it with one --arch"
        )
    repeated = next((each for each in machines if machines.count(each) > 1), None)
    if repeated is not None:
        raise EcliError(f"two of the packages are for {repeated}", "push one for each machine")
