"""What it costs to render events: our two backends against a C program with printf, given the same records."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from random import Random
from struct import pack

from benchmarks import tools
from benchmarks.harness import Benchmark, Result, Target, UnavailableError, child_environment, interleave
from ecli_runtime.decode.lines import Style, default_widths, make_program
from ecli_runtime.decode.plan import Op, Plan
from ecli_runtime.decode.rows import PythonLines
from ecli_runtime.decode.wasm import WasmLines
from ecli_runtime.decode.where import Predicate
from ecli_runtime.read.run import Run

IN_C, PYTHON, WASM = "C printf", "python", "wasm"
IN_C_ESCAPED = "C printf, json escaped"
RECORDS = 16384
RUN_RECORDS = 4096
# As long as a measurement takes, about; the first quarter is not counted.
SPAN_NS = 120_000_000

KINDS = ("OPEN", "CLOSE", "READ", "WRITE")
# Each with an id, a parent, names and a control group that do not change.
PROCESSES = 256
_OF_PROCESS = ("pid", "ppid", "comm", "parent", "cgroup")
WORDS = [f"/usr/lib/x86_64-linux-gnu/lib{index}.so" for index in range(512)]


@dataclass(frozen=True)
class Shape:
    """A type of event and what is in its samples.

    Attributes:
        name: Of the benchmark.
        members: (name, C type); ``kind`` is an enum, ``char[N]`` a string.
        distinct: Every string is another one.
    """

    name: str
    members: tuple[tuple[str, str], ...]
    distinct: bool = False


EIGHT = (
    *(("ts", "u64"), ("pid", "u32"), ("ppid", "u32"), ("comm", "char[16]"), ("ret", "s32"), ("kind", "kind")),
    *(("flag", "bool"), ("path", "char[32]")),
)
FORTY = tuple((f"{name}{index}", kind) for index in range(5) for name, kind in EIGHT)
STRINGS = (("pid", "u32"), ("comm", "char[16]"), ("path", "char[64]"), ("parent", "char[64]"), ("cgroup", "char[64]"))
SHAPES = (
    Shape("four fields", (("ts", "u64"), ("pid", "u32"), ("ret", "s32"), ("comm", "char[16]"))),
    Shape("eight fields", EIGHT),
    Shape("forty fields", FORTY),
    Shape("strings", STRINGS),
    Shape("distinct strings", EIGHT, distinct=True),
)

_BITS = {"u64": 64, "u32": 32, "s32": 32, "kind": 32, "bool": 8}
_FORMATS = {"u64": "%llu", "u32": "%u", "s32": "%d", "kind": "%s", "bool": "%s"}


def plan_of(shape: Shape) -> Plan:
    """Return the plan; members are as long as they are and have no padding between them."""
    ops = []
    at = 0
    for name, kind in shape.members:
        if kind.startswith("char"):
            bits = int(kind[5:-1]) * 8
            ops.append(Op("string", name, at, bits, count=bits // 8))
        else:
            bits = _BITS[kind]
            names = tuple(enumerate(KINDS)) if kind == "kind" else ()
            code = {"kind": "enum", "bool": "bool"}.get(kind, "int")
            ops.append(Op(code, name, at, bits, kind == "s32", names=names))  # type: ignore[arg-type]
        at += bits
    return Plan("event", at // 8, "little", tuple(ops))


def samples_of(shape: Shape) -> Iterator[bytes]:
    """Yield the samples, with what real ones have: a clock, processes with names of their own, and calls, all else by chance."""
    chance = Random(1)
    for index in range(RECORDS):
        parts = []
        for place, (name, kind) in enumerate(shape.members):
            if name.startswith("pid"):
                process = chance.randrange(PROCESSES)
            number = process if name.startswith(_OF_PROCESS) else chance.randrange(len(WORDS))
            if kind.startswith("char"):
                text = f"worker{number % 8}" if name.startswith("comm") else WORDS[(number * 7 + place) % len(WORDS)]
                if shape.distinct:
                    text = f"{text[:8]}{index}.{place}"
                size = int(kind[5:-1])
                parts.append(text.encode()[: size - 1].ljust(size, b"\0"))
            elif kind == "u64":
                parts.append(pack("<Q", 1_000_000_000_000 + index * 1013))
            elif kind == "u32":
                parts.append(pack("<I", 1000 + number * 13 + place))
            elif kind == "s32":
                parts.append(pack("<i", -(number % 3)))
            elif kind == "kind":
                parts.append(pack("<I", number % len(KINDS)))
            else:
                parts.append(bytes([number & 1]))
        yield b"".join(parts)


def style_of(plan: Plan, kind: str) -> Style:
    """Return the style that is measured; text in the widths that run would choose."""
    return Style("json") if kind == "json" else Style("text", widths=default_widths(plan))


def c_source(shape: Shape) -> str:
    """Return the program in C that prints the same, as one would write it by hand for this type."""
    plan = plan_of(shape)
    widths = default_widths(plan)
    struct = []
    json, text, arguments = [], [], []
    escaped: list[str] = []
    for (name, kind), op, width in zip(shape.members, plan.top_level(), widths, strict=True):
        is_string = kind.startswith("char")
        struct.append(f"\tchar {name}[{op.bit_size // 8}];" if is_string else f"\t{'u32' if kind == 'kind' else kind} {name};")
        form = "%s" if is_string else _FORMATS[kind]
        quoted = f'\\"{form}\\"' if is_string or kind == "kind" else form
        json.append(f'\\"{name}\\":{quoted}')
        is_last = op is plan.ops[-1]
        text.append(form if is_last else form.replace("%", f"%{width}" if op.code == "int" else f"%-{width}"))
        argument = {"kind": f"kind_name(event->{name})", "bool": f'event->{name} ? "true" : "false"'}.get(kind, f"event->{name}")
        arguments.append(f"(unsigned long long)event->{name}" if kind == "u64" else argument)
        escaped.append(f"escape(buffers[{len(escaped)}], event->{name})" if is_string else arguments[-1])
    kinds = ", ".join(f'"{each}"' for each in KINDS)
    return (
        (Path(__file__).parent / "c" / "render.c")
        .read_text()
        .replace("@STRUCT@", "\n".join(struct))
        .replace("@KINDS@", kinds)
        .replace("@JSON@", "{" + ",".join(json) + "}\\n")
        .replace("@TEXT@", "  ".join(text) + "\\n")
        .replace("@ARGUMENTS@", ", ".join(arguments))
        .replace("@ESCAPED@", ", ".join(escaped))
        .replace("@STRINGS@", str(len(escaped)))
    )


@cache
def prepared(shape: Shape) -> tuple[str, str]:
    """Compile the C program of a shape and write its records; return where both are."""
    tools.BUILD.mkdir(parents=True, exist_ok=True)
    name = f"render-{shape.name.replace(' ', '-')}"
    source = tools.BUILD / f"{name}.c"
    source.write_text(c_source(shape))
    records = tools.BUILD / f"{name}.records"
    records.write_bytes(Run.of(list(samples_of(shape))).data)
    return tools.c_file(source), str(records)


def runs_of(shape: Shape, records: str) -> list[Run]:
    """Read records as runs, as a reader of a ring buffer would give them."""
    data = Path(records).read_bytes()
    length = plan_of(shape).size_bytes
    stride = len(data) // RECORDS
    size = RUN_RECORDS * stride
    return [Run(data[at : at + size], RUN_RECORDS, stride, length) for at in range(0, len(data), size)]


def child(backend: str, shape_name: str, kind: str, records: str) -> None:
    """Render the records again and again and print the nanoseconds of CPU time per event."""
    shape = next(shape for shape in SHAPES if shape.name == shape_name)
    plan = plan_of(shape)
    nothing = Predicate((("int", plan.ops[0].bit_offset, plan.ops[0].bit_size, False), ("const", 0), ("cmp", "==")))
    where = nothing if kind == "filter" else None
    program = make_program(plan, style_of(plan, "json" if kind == "filter" else kind), where)
    lines = PythonLines(program) if backend == PYTHON else WasmLines(program)
    runs = runs_of(shape, records)
    output = os.open(os.devnull, os.O_WRONLY)
    spent = events = 0
    begin = time.process_time_ns()
    while spent < SPAN_NS:
        for run in runs:
            os.write(output, lines.render(run, b"", -1)[0])
        spent = time.process_time_ns() - begin
        if not events and spent > SPAN_NS / 4:
            begin, spent = time.process_time_ns(), 0
            events = 1
        elif events:
            events += RECORDS
    print(spent / events)


def lines_of(words: list[str]) -> bytes:
    done = subprocess.run(words, env=child_environment(), stdin=subprocess.DEVNULL, capture_output=True, check=False)
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise UnavailableError(f"{Path(words[0]).name} failed" + (f": {said[-1]}" if said else ""))
    return done.stdout


def _check(shape: Shape) -> None:
    """Make sure that all print the same."""
    program, records = prepared(shape)
    plan = plan_of(shape)
    for kind in ("json", "text"):
        expected = lines_of([program, kind, records, "0"])
        if kind == "json" and lines_of([program, "escaped", records, "0"]) != expected:
            raise UnavailableError("the C program prints different JSON when it escapes")
        for backend in (PythonLines, WasmLines):
            lines = backend(make_program(plan, style_of(plan, kind)))
            if b"".join(lines.render(run, b"", -1)[0] for run in runs_of(shape, records)) != expected:
                raise UnavailableError(f"{backend.__name__} and the C program print different {kind}")


def _figure(words: list[str]) -> float:
    return float(lines_of(words))


def _measure(shape: Shape, rounds: int) -> Result:
    _check(shape)
    program, records = prepared(shape)
    contenders: dict[str, Callable[[], float]] = {}
    targets = []
    for kind, at_most, aim in (("json", 0.6, 0.4), ("text", 0.5, 0.4)):
        base = f"{IN_C}, {kind}"
        contenders[base] = partial(_figure, [program, kind, records, str(SPAN_NS)])
        for backend, most, wish in ((WASM, at_most, aim), (PYTHON, 4, 0)):
            name = f"{backend}, {kind}"
            contenders[name] = partial(_figure, _child_words(backend, shape, kind, records))
            targets.append(Target(name, base, most, wish))
    # No target, but what C would take for the same guarantee.
    contenders[IN_C_ESCAPED] = partial(_figure, [program, "escaped", records, str(SPAN_NS)])
    targets += [Target(f"{backend}, json", IN_C_ESCAPED) for backend in (WASM, PYTHON)]
    contenders[f"{WASM}, filter"] = partial(_figure, _child_words(WASM, shape, "filter", records))
    targets.append(Target(f"{WASM}, filter", f"{IN_C}, json", 0.1))
    title = f"CPU time per event of {shape.name}: wasm and python against printf in C"
    return Result(title, "ns", targets, interleave(contenders, rounds))


def _child_words(backend: str, shape: Shape, kind: str, records: str) -> list[str]:
    return [tools.PYTHON, "-m", "benchmarks.decode", backend, shape.name, kind, records]


BENCHMARKS = tuple(Benchmark(f"render-{shape.name.replace(' ', '-')}", partial(_measure, shape), rounds=7) for shape in SHAPES)

if __name__ == "__main__":
    child(*sys.argv[1:])
