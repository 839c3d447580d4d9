"""Event handlers of a run: which ones, what they are granted, and how the user says it."""

from __future__ import annotations

import sys
from importlib.util import find_spec

from ecli_py.report import printable, warn
from ecli_runtime.errors import UnsupportedFeatureError, WasmError
from ecli_schemas.errors import EcliError
from ecli_schemas.model import WasmLimits
from ecli_schemas.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import Any, Literal

    from ecli_py.arguments import Values
    from ecli_py.output import Output
    from ecli_py.tool import Tool
    from ecli_py.trust.policy import WasmRights
    from ecli_runtime.stream import Source
    from ecli_runtime.wasm.handler.filter import Settings
    from ecli_runtime.wasm.handler.maps import MapAccess
    from ecli_runtime.wasm.handler.module import HandlerModule
    from ecli_runtime.wasm.handler.pipeline import Handlers
    from ecli_schemas.model import Package, WasmModule

WASI_GRANT = "wasi"
_SIZES = {"memory": "memory_bytes", "stack": "stack_bytes", "emitted": "emitted_bytes"}
# More than this takes the user's word, not that of a package; of stack nobody has more, for it is part of the process's own.
_MOST = WasmLimits(memory_bytes=256 << 20, stack_bytes=1 << 20, batch_ms=10_000, emitted_bytes=64 << 20)
_NAMES = {"memory_bytes": "memory", "stack_bytes": "stack", "batch_ms": "time", "fuel": "fuel", "emitted_bytes": "emitted"}
_LIMIT_HINT = "for example memory=64M, stack=1M, time=500ms, fuel=1000000 or emitted=8M"


class Choice(Record):
    """Which handlers a run has.

    Attributes:
        files: Modules that events pass through, after those of the package.
        of_package: Those of the package are used.
        on_trap: What becomes of an event on which one traps.
        options: What they are given, by name.
        grants: Names of maps that those in files may change, and ``wasi``.
        limits: What they may use, where it is said.
    """

    files: tuple[str | os.PathLike[str], ...] = ()
    of_package: bool = True
    on_trap: Literal["stop", "pass", "drop"] = "stop"
    options: Mapping[str, str] = {}
    grants: frozenset[str] = frozenset()
    limits: WasmLimits = WasmLimits()


def make_choice(arguments: Values, of_package: bool) -> Choice:
    """Return what the command line says by :data:`~ecli_py.showing.HANDLER_OPTIONS`.

    Raises:
        EcliError: An option has a value that it does not take.
    """
    options = {}
    for text in arguments.handler_option or ():
        name, equals, value = text.partition("=")
        if not (name and equals):
            raise EcliError(f"--handler-option: expected NAME=VALUE, got {text!r}", "for example --handler-option pid=4711")
        options[name] = value
    on_trap: Any = arguments.on_trap or "stop"
    if on_trap not in ("stop", "pass", "drop"):
        raise EcliError(f"--on-trap: expected stop, pass or drop, got {on_trap!r}", "for example --on-trap pass")
    return Choice(
        tuple(arguments.handler or ()),
        of_package,
        on_trap,
        options,
        frozenset(arguments.grant or ()),
        parse_limits(arguments.handler_limit or ()),
    )


def parse_limits(texts: Iterable[str]) -> WasmLimits:
    """Return what ``--handler-limit`` says.

    Raises:
        EcliError: A limit is not known, or its value is none.
    """
    found: dict[str, int] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        parsed = None
        if equals and name in _SIZES:
            parsed, name = _size(value), _SIZES[name]
        elif equals and name == "time":
            parsed, name = _milliseconds(value), "batch_ms"
        elif equals and name == "fuel" and value.isascii() and value.isdigit() and len(value) < 16:
            parsed = int(value)
        if not parsed or parsed > (1 << 53 if name == "fuel" else (1 << 31) - 1):
            raise EcliError(f"--handler-limit: expected a limit, got {text!r}", _LIMIT_HINT)
        if name == "stack_bytes" and parsed > (_MOST.stack_bytes or 0):
            raise EcliError(f"--handler-limit: a stack has at most 1M, got {text!r}", _LIMIT_HINT)
        found[name] = parsed
    return WasmLimits(**found)


def _size(text: str) -> int | None:
    units = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
    number = text.upper().removesuffix("IB").removesuffix("B")
    unit = units.get(number[-1:], 1)
    number = number[:-1] if unit > 1 else number
    return int(number) * unit if number.isascii() and number.isdigit() and len(number) < 12 else None


def _milliseconds(text: str) -> int | None:
    for suffix, factor in (("ms", 1), ("s", 1000)):
        number = text.removesuffix(suffix)
        if number != text:
            return int(number) * factor if number.isascii() and number.isdigit() and len(number) < 10 else None
    return None


def load_modules(package: Package | None, choice: Choice, rights: Sequence[WasmRights] = ()) -> list[HandlerModule]:
    """Return the handlers of a run, compiled, in the order in which events pass through them.

    Args:
        package: The package; ``None`` for a recording, which has none.
        choice: Which ones.
        rights: What policies say of Wasm.

    Raises:
        TrustError: A policy does not allow one, or what it asks for.
        WasmError: One is no handler, or asks for what it is not granted.
        EcliError: A file cannot be read.
        UnsupportedFeatureError: There is no wasmtime.
    """
    modules: list[HandlerModule] = []
    own = package.wasm if package is not None and choice.of_package else ()
    if own and find_spec("wasmtime") is None:
        hint = "--no-wasm shows the events as they are" if not choice.files else ""
        raise UnsupportedFeatureError("an event handler", "the package wasmtime: pip install 'ecli-py[fast]'", hint=hint)
    for each in own:
        _check_limits(each, choice.limits)
        modules.append(_load(printable(each.name), each.code, choice.limits.over(each.limits), rights))
        check_grants(modules[-1], each, choice.grants)
    for path in choice.files:
        try:
            with open(path, "rb") as file:
                data = file.read((32 << 20) + 1)
        except OSError as error:
            raise EcliError(f"cannot read handler {path}: {error.strerror}", "check the path") from error
        name = printable(str(path).rpartition("/")[2].removesuffix(".wasm"))
        modules.append(_load(name, data, choice.limits, rights))
        check_grants(modules[-1], None, choice.grants)
    return modules


def _load(name: str, code: bytes, limits: WasmLimits, rights: Sequence[WasmRights]) -> HandlerModule:
    from ecli_runtime.wasm.handler.module import HandlerModule

    if not rights:
        return HandlerModule(name, code, limits)
    from ecli_py.trust.wasm import check_handler, limit_handler

    module = HandlerModule(name, code, limit_handler(name, limits, rights))
    check_handler(name, module.asks.writes, bool(module.asks.wasi), rights)
    return module


def _check_limits(module: WasmModule, said: WasmLimits) -> None:
    """Refuse a package's module that would take more than a package may give it, where the user does not say how much."""
    for name in _MOST._fields:
        asked, most = getattr(module.limits, name), getattr(_MOST, name)
        if asked and most and asked > most and getattr(said, name) is None:
            option = f"--handler-limit {_NAMES[name]}=…"
            raise WasmError(
                f"handler {printable(module.name)} wants a limit of {asked} for {_NAMES[name]}, and packages may give {most}",
                f"{option} says how much it gets" if name != "stack_bytes" else "build it with a smaller one",
            )


def check_grants(module: HandlerModule, said: WasmModule | None, grants: Iterable[str] = ()) -> None:
    """Refuse a module that asks for more than it is granted: by its package, if it has one, or by the user.

    Raises:
        WasmError: It asks for more.
    """
    granted = {*grants}
    if said is not None:
        granted |= {*said.writes, *([WASI_GRANT] if said.wasi else [])}
    refused = [printable(name) for name in module.asks.writes if name not in granted]
    if refused:
        raise WasmError(
            f"handler {module.name} wants to change map {refused[0]}, which it is not granted", f"--grant {refused[0]} allows it"
        )
    if module.asks.wasi and WASI_GRANT not in granted:
        raise WasmError(
            f"handler {module.name} wants WASI ({printable(', '.join(module.asks.wasi[:6]))}), which it is not granted",
            "--grant wasi gives it clocks, random numbers and lines for its log; files and the like it never gets",
        )


def start_handlers(
    modules: Sequence[HandlerModule],
    sources: Sequence[Source],
    choice: Choice,
    access: Callable[[str], MapAccess | None],
    interval_ms: int | None = None,
    verbose: bool = False,
    say: Callable[[str], object] = warn,
) -> Handlers:
    """Start handlers.

    Args:
        modules: What :func:`load_modules` returned.
        sources: Where events come from.
        choice: How they are used.
        access: Returns a map by its name, ``None`` if there is none.
        interval_ms: How often they are told that time passes; ``None``: each second.
        verbose: Shows what they log for their authors.
        say: Takes warnings and what they log.

    Raises:
        WasmError: One cannot start, or names a map that is not there.
    """
    from ecli_runtime.wasm.handler.pipeline import Handlers

    maps = {}
    for module in modules:
        for name in (*module.asks.reads, *module.asks.writes):
            found = access(name)
            if found is None:
                raise WasmError(
                    f"handler {module.name} asks for map {printable(name)}, which is not there",
                    "`ecli-py inspect` shows the maps of a package; a recording has none",
                )
            maps[name] = found
    settings = _settings(choice, maps, interval_ms, verbose)
    return Handlers(modules, sources, settings, say)


def _settings(choice: Choice, maps: Mapping[str, MapAccess], interval_ms: int | None, verbose: bool) -> Settings:
    from ecli_runtime.wasm.handler.filter import Settings

    return Settings(choice.on_trap, choice.options, maps, 1000 if interval_ms is None else interval_ms, verbose)


def end_handlers(tool: Tool, handlers: Handlers, output: Output) -> None:
    """Show what handlers say at the end, where --count has ended the run, and what they have done."""
    from ecli_runtime.wasm.handler.filter import summary

    for chunk in handlers.finish():
        lines, shown = output.render(chunk, -1)
        tool.count(shown)
        output.write(lines)
    for each in handlers.handlers:
        sys.stderr.write(f"{printable(summary(each))}\n")
