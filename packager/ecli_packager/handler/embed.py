"""Handlers that become part of a package: compiled with the header of its types, and held to what it has."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

from ecli_packager.errors import ToolchainError
from ecli_packager.handler.compile import make_handler
from ecli_packager.handler.header import events_header
from ecli_runtime.errors import WasmError
from ecli_runtime.opening import OpenSession
from ecli_runtime.wasm.handler.module import HandlerModule
from ecli_schemas.model import Build, Package, WasmLimits, WasmModule


def header_of(package: Package) -> str:
    """Return the text of ``ecli_events.h`` for the handlers of a package.

    Raises:
        EcliError: Its object cannot be opened on a machine like this one.
    """
    with OpenSession(package) as opened:
        return events_header(package.name, opened.btf, opened.sources())


def with_handlers(package: Package, paths: Sequence[Path], limits: WasmLimits) -> tuple[Package, str]:
    """Return a package with handlers, and what the compiler warned of.

    Raises:
        CompileError: One could not be compiled.
        ToolchainError: One cannot be read, or what compiles it is missing.
        WasmError: One is no handler, asks for a map that the package lacks, or has the name of another.
    """
    here = package.replace(objects={}, arches=()) if os.uname().machine not in package.objects else package
    header = header_of(here)
    with OpenSession(here) as opened:
        maps = opened.map_names()
    modules: list[WasmModule] = []
    diagnostics = ""
    sources = dict(package.build.sources) if package.build else {}
    for path in paths:
        made = make_handler(path, header, limits)
        _check(made.module, maps, modules)
        modules.append(made.module)
        diagnostics += made.diagnostics
        sources[path.name] = "sha256:" + hashlib.sha256(_bytes(path)).hexdigest()
    build = package.build.replace(sources=sources) if package.build else Build({}, sources)
    return package.replace(wasm=tuple(modules), build=build), diagnostics


def _check(module: WasmModule, maps: Sequence[str], others: Sequence[WasmModule]) -> None:
    if any(each.name == module.name for each in others):
        raise WasmError(f"two handlers are called {module.name}", "their names are those of their files; rename one")
    asks = HandlerModule(module.name, module.code, module.limits).asks
    for name in (*asks.reads, *asks.writes):
        if name not in maps:
            raise WasmError(f"handler {module.name} asks for map {name}, which the package lacks", f"maps: {', '.join(maps)}")


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ToolchainError(f"cannot read {path}: {error.strerror}", "check the path") from error
