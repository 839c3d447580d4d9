"""What an event handler costs: CPU time per event of the handler alone, and of rendering with and without one."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from functools import partial

from benchmarks.harness import Benchmark, Result, Target, UnavailableError, interleave
from ecli_runtime.decode.lines import Style, make_program
from ecli_runtime.decode.plan import Op, Plan
from ecli_runtime.decode.wasm import WasmLines
from ecli_runtime.errors import UnsupportedFeatureError
from ecli_runtime.read.run import Run, stride_of
from ecli_runtime.wasm.handler.filter import EventKind, Handler, Settings
from ecli_runtime.wasm.handler.module import HandlerModule

EVENT_SIZE = 168  # as that of bcc's execsnoop
RUN_RECORDS = 4096
RUNS = 20

# The number at the start of an event decides, so that the handler looks at it.
_VERDICTS = {
    "keeps all": "(i32.lt_s (i32.load (local.get 1)) (i32.const 0))",
    "keeps 1 in 100": "(i32.ne (i32.rem_u (i32.load (local.get 1)) (i32.const 100)) (i32.const 0))",
    "keeps none": "(i32.ge_s (i32.load (local.get 1)) (i32.const 0))",
}


def module_of(verdict: str) -> bytes:
    """Return a handler with a body of ``ecli_event``."""
    from wasmtime import wat2wasm

    text = f"""(module (memory (export "memory") 2)
      (func (export "ecli_abi") (result i32) (i32.const 1))
      (func (export "ecli_buffer") (param i32) (result i32) (i32.const 1024))
      (func (export "ecli_event") (param i32 i32 i32) (result i32) {verdict}))"""
    return bytes(wat2wasm(text))


def cpu_ns(work: Callable[[], object]) -> float:
    """Return the nanoseconds of CPU time per event of something that goes over all runs."""
    begin = time.process_time_ns()
    work()
    return (time.process_time_ns() - begin) / (RUNS * RUN_RECORDS)


def measure(rounds: int) -> Result:
    """Measure handlers alone, then rendering with them."""
    plan = Plan("event", EVENT_SIZE, "little", (Op("int", "pid", 0, 32), Op("string", "comm", 32, 128, count=16)))
    runs = [Run.of([index.to_bytes(4, "little") + b"sh".ljust(EVENT_SIZE - 4, b"\0") for index in range(RUN_RECORDS)])] * RUNS
    kinds = (EventKind("events", "event", EVENT_SIZE),)
    try:
        lines = WasmLines(make_program(plan, Style("json")))
        made = {
            name: Handler(HandlerModule(name, module_of(verdict)), kinds, Settings(), print)
            for name, verdict in _VERDICTS.items()
        }
    except UnsupportedFeatureError as error:
        raise UnavailableError(str(error)) from error
    output = os.open(os.devnull, os.O_WRONLY)

    def alone(handler: Handler) -> None:
        for run in runs:
            handler.run(0, run)

    def rendered(handler: Handler | None) -> None:
        for run in runs:
            if handler is None:
                os.write(output, lines.render(run, b"", -1)[0])
                continue
            for part in handler.run(0, run):
                kept = Run(part.data, part.count, stride_of(part.length), part.length)
                os.write(output, lines.render(kept, b"", -1)[0])

    contenders: dict[str, Callable[[], float]] = {
        f"handler that {name}": partial(cpu_ns, partial(alone, handler)) for name, handler in made.items()
    }
    contenders["json without handler"] = partial(cpu_ns, partial(rendered, None))
    contenders |= {f"json, {name}": partial(cpu_ns, partial(rendered, handler)) for name, handler in made.items()}
    targets = [
        Target("handler that keeps all", at_most=100),
        Target("handler that keeps 1 in 100"),
        Target("handler that keeps none", at_most=40),
        *(Target(f"json, {name}", "json without handler") for name in made),
    ]
    try:
        return Result(
            f"CPU time per event of {EVENT_SIZE} bytes of event handlers", "ns", targets, interleave(contenders, rounds)
        )
    finally:
        os.close(output)


BENCHMARKS = (Benchmark("handlers", measure, rounds=9),)
