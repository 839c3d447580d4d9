"""Event handlers in the text form of WebAssembly, and the host around them without a kernel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from ecli_runtime.read.run import Run
from ecli_runtime.stream import Samples, Source
from ecli_runtime.wasm.handler.filter import EventKind, Handler, Settings
from ecli_runtime.wasm.handler.module import HandlerModule
from ecli_schemas.model import WasmLimits
from tests.machine import missing

KINDS = (EventKind("events", "event", 8, members=(("pid", 0, 32), ("value", 32, 32))), EventKind("others", "other", 16))

EMIT = '(import "ecli" "emit" (func $emit (param i32 i32 i32) (result i32)))'
LOG = '(import "ecli" "log" (func $log (param i32 i32 i32)))'
EVENT = "(param $type i32) (param $at i32) (param $size i32) (result i32)"
BUFFER = "(i32.const 1024)"


def wat(text: str) -> bytes:
    """Return a module."""
    try:
        from wasmtime import wat2wasm
    except ImportError:
        missing("wasmtime (pip install 'ecli-py[fast]')")
    return bytes(wat2wasm(text))


def handler(event: str, imports: str = "", more: str = "", buffer: str = BUFFER, memory: str = "2", abi: int = 1) -> bytes:
    """Return a handler: what it imports, the body of ecli_event, and what else it has."""
    return wat(
        f"""(module {imports} (memory (export "memory") {memory}) {more}
        (func (export "ecli_abi") (result i32) (i32.const {abi}))
        (func (export "ecli_buffer") (param $size i32) (result i32) {buffer})
        (func $event (export "ecli_event") {EVENT} {event}))"""
    )


@dataclass
class Host:
    """Makes handlers, with the calls of one of the two kinds.

    Attributes:
        raw: Whether wasmtime's raw calls are used.
        said: What they logged, and warnings.
    """

    raw: bool
    said: list[str] = field(default_factory=list)

    def make(
        self,
        code: bytes,
        on_trap: Any = "stop",
        options: Mapping[str, str] | None = None,
        maps: Mapping[str, Any] | None = None,
        verbose: bool = False,
        kinds: tuple[EventKind, ...] = KINDS,
        **limits: int,
    ) -> Handler:
        module = HandlerModule("small", code, WasmLimits(**limits))
        settings = Settings(on_trap, options or {}, maps or {}, verbose=verbose, raw=self.raw)
        return Handler(module, kinds, settings, self.said.append)


@pytest.fixture(params=[True, False], ids=["raw calls", "public calls"])
def host(request: pytest.FixtureRequest) -> Host:
    return Host(request.param)


def payloads(*numbers: int, size: int = 8) -> list[bytes]:
    """Return events: each a number, and zeros."""
    return [number.to_bytes(4, "little").ljust(size, b"\0") for number in numbers]


def run_of(*numbers: int, size: int = 8) -> Run:
    return Run.of(payloads(*numbers, size=size))


def results(handler: Handler, run: Run, number: int = 0) -> list[tuple[int, bytes]]:
    """Return what comes out of a handler: type and bytes of each record."""
    return records(handler.run(number, run))


def records(parts: Sequence[Any]) -> list[tuple[int, bytes]]:
    found = []
    for part in parts:
        stride = (part.length + 15) & ~7
        assert len(part.data) == part.count * stride
        found += [(part.type, payload) for payload in Run(part.data, part.count, stride, part.length).payloads()]
    return found


def numbers(found: Sequence[tuple[int, bytes]]) -> list[int]:
    """Return the numbers of events of the first type."""
    return [int.from_bytes(data[:4], "little") for type_, data in found if type_ == 0]


def samples(source: Source, *data: bytes) -> Samples:
    return Samples(source, source.plans[0] if source.plans else None, Run.of(data))
