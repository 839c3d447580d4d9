"""What an object can do, without a compiler: objects written by hand, damaged ones, claims."""

from __future__ import annotations

import random
import re
import struct
from contextlib import suppress
from pathlib import Path

import pytest

from ecli_runtime.behaviour import analyse, contradictions, undeclared_facts
from ecli_runtime.code import CodeSection, Function, Target, code_sections
from ecli_runtime.errors import EcliError, ObjectError
from ecli_runtime.flow import MAX_STEP_COUNT, Flow
from ecli_runtime.helpers import NUMBERS, helper_name
from ecli_runtime.libbpf._ffi import BUNDLE
from ecli_schemas.model import Behaviour, MapBehaviour, Package, ProgramBehaviour
from ecli_schemas.read import read_package


@pytest.fixture
def package(small_package: Path) -> Package:
    return read_package(small_package.read_bytes())


def test_a_package_of_upstream(package: Package) -> None:
    behaviour = analyse(package.object, package.object_name)
    assert behaviour == Behaviour(
        programs=(ProgramBehaviour("on_exec", "tracepoint", "tp/sched/sched_process_exec"),),
        maps=(
            MapBehaviour("out", "ringbuf", 0, 0, 4096, 4096),
            MapBehaviour("tiny_bpf.rodata", "array", 4, 4, 1, 8),
            MapBehaviour("tiny_bpf.bss", "array", 4, 8, 1, 8),
        ),
        helpers=("bpf_get_current_comm", "bpf_get_current_pid_tgid", "bpf_ringbuf_reserve", "bpf_ringbuf_submit"),
    )
    assert behaviour.only_observes


def test_helpers_are_those_of_the_bundled_header() -> None:
    header = Path(BUNDLE) / "include" / "linux" / "bpf.h"
    if not header.exists():
        pytest.skip("no bundled libbpf (make dev)")
    found = re.findall(r"^\s+FN\((\w+), (\d+)", header.read_text(), re.MULTILINE)
    assert {f"bpf_{name}": int(number) for name, number in found} == NUMBERS
    assert (helper_name(1), helper_name(0), helper_name(-1), helper_name(9999)) == (
        *("bpf_map_lookup_elem", "helper#0", "helper#-1", "helper#9999"),
    )


def test_code_of_an_object(package: Package) -> None:
    (section,) = [each for each in code_sections(package.object).values() if each.functions]
    assert section.name == "tp/sched/sched_process_exec"
    assert section.functions == (Function("on_exec", 0),)
    assert "out" in {target.name for target in section.targets.values()}


def test_damaged_objects_end_in_an_error_or_none(package: Package) -> None:
    draw = random.Random(7)
    for _ in range(3000):
        data = bytearray(package.object)
        for _ in range(draw.randint(1, 4)):
            # Mostly where the headers are: at the beginning and at the end.
            at = draw.choice((draw.randrange(40, 64), draw.randrange(len(data) - 1600, len(data)), draw.randrange(len(data))))
            data[at] = draw.choice((0, 1, 0x7F, 0xFF, draw.randrange(256)))
        with suppress(ObjectError):
            code_sections(bytes(data[: draw.choice((len(data), draw.randrange(64, len(data))))]))


# --- flow ---

ALU64_MOV, ALU64_MOV_REGISTER, ADD, EXIT, JA, JEQ = 0xB7, 0xBF, 0x07, 0x95, 0x05, 0x15
LOAD, LOAD_W, STORE, STORE_IMMEDIATE, CALL = 0x79, 0x61, 0x7B, 0x7A, 0x85


def follow(*instructions: tuple[int, int, int, int, int], order: str = "<") -> Flow:
    """Follow instructions (opcode, destination, source, offset, immediate) with 2 as what lets pass."""
    code = b"".join(
        struct.pack(order + "BBhi", opcode, (dst | src << 4) if order == "<" else (dst << 4 | src), offset, immediate)
        for opcode, dst, src, offset, immediate in instructions
    )
    flow = Flow({1: CodeSection(1, "xdp", code, (), {})}, order + "BBhi", {2}, [MAX_STEP_COUNT])
    flow.follow(1, 0)
    return flow


def test_verdicts() -> None:
    assert follow((ALU64_MOV, 0, 0, 0, 2), (EXIT, 0, 0, 0, 0)).passes
    assert not follow((ALU64_MOV, 0, 0, 0, 1), (EXIT, 0, 0, 0, 0)).passes
    both_ways = ((ALU64_MOV, 0, 0, 0, 2), (JEQ, 1, 0, 1, 0), (ALU64_MOV, 0, 0, 0, 1), (EXIT, 0, 0, 0, 0))
    assert not follow(*both_ways).passes
    assert follow(*both_ways).verdict_at == (1, 2)  # where it is set
    assert follow((ALU64_MOV_REGISTER, 0, 1, 0, 0), (EXIT, 0, 0, 0, 0)).verdict_at == (1, 1)  # or else where it is returned
    assert not follow((ALU64_MOV, 0, 0, 0, 2), (ADD, 0, 0, 0, 0), (EXIT, 0, 0, 0, 0)).passes


@pytest.mark.parametrize("order", "<>")
def test_stores_through_pointers(order: str) -> None:
    end = ((ALU64_MOV, 0, 0, 0, 2), (EXIT, 0, 0, 0, 0))
    to_stack = follow((STORE_IMMEDIATE, 10, 0, -8, 1), *end, order=order)
    assert (to_stack.packet_written_at, to_stack.context_written_at) == (None, None)
    assert follow((STORE_IMMEDIATE, 1, 0, 8, 1), *end, order=order).context_written_at == (1, 0)
    assert follow((LOAD_W, 2, 1, 0, 0), (STORE_IMMEDIATE, 2, 0, 0, 1), *end, order=order).packet_written_at == (1, 1)
    spilled = ((LOAD_W, 2, 1, 0, 0), (STORE, 10, 2, -8, 0), (LOAD, 3, 10, -8, 0), (STORE_IMMEDIATE, 3, 0, 0, 1))
    assert follow(*spilled, *end, order=order).packet_written_at == (1, 3)
    overwritten = (*spilled[:2], (STORE, 10, 10, -8, 0), *spilled[2:])
    assert follow(*overwritten, *end, order=order).packet_written_at is None
    assert follow((LOAD, 2, 1, 0, 0), (LOAD, 3, 2, 16, 0), *end, order=order).loaded_read_at == (1, 1)


def test_what_cannot_be_followed() -> None:
    assert follow((EXIT, 0, 0, 0, 0)).complete
    assert not follow((JA, 0, 0, 100, 0)).complete
    assert not follow((CALL, 0, 1, 0, -1), (EXIT, 0, 0, 0, 0)).complete  # it calls itself
    assert not follow((CALL, 0, 1, 0, 100), (EXIT, 0, 0, 0, 0)).complete
    assert not follow((ALU64_MOV, 12, 0, 0, 0), (EXIT, 0, 0, 0, 0)).complete
    assert not follow((0x8D, 0, 0, 0, 1), (EXIT, 0, 0, 0, 0)).complete  # a call through a register
    assert follow((JA, 0, 0, -1, 0)).complete  # an endless loop


def test_following_has_a_bound() -> None:
    code = struct.pack("<BBhi", ALU64_MOV, 0, 0, 2) * 1000
    budget = [100]
    flow = Flow({1: CodeSection(1, "xdp", code, (), {})}, "<BBhi", {2}, budget)
    flow.follow(1, 0)
    assert not flow.complete


def test_any_code_is_followed() -> None:
    draw = random.Random(11)
    opcodes = (0x07, 0x0F, 0x05, 0x15, 0x18, 0x1D, 0x55, 0x61, 0x63, 0x72, 0x79, 0x7B, 0x85, 0x85, 0x95, 0xB7, 0xBF, 0xC3, 0xDB)
    for _ in range(1000):
        count = draw.randint(1, 40)
        code = b"".join(
            struct.pack(
                "<BBhi", draw.choice(opcodes), draw.randrange(256), draw.randint(-count, count), draw.choice((-1, 0, 1, 2, 241))
            )
            for _ in range(count)
        )
        targets = {draw.randrange(count): Target("f", draw.choice((0, 1, 2)), draw.randrange(count) * 8) for _ in range(3)}
        flow = Flow({1: CodeSection(1, "xdp", code, (), targets)}, "<BBhi", {2}, [MAX_STEP_COUNT])
        flow.follow(1, 0)


# --- claims ---

TRUTH = Behaviour(
    programs=(ProgramBehaviour("run", "xdp", "xdp"),),
    maps=(MapBehaviour("seen", "hash", 4, 8, 100, 1), MapBehaviour("events", "ringbuf", 0, 0, 65536, 65536)),
    helpers=("bpf_redirect",),
    kfuncs=("bpf_rcu_read_lock",),
    facts={"drops_or_redirects_packets": ("bpf_redirect", "run")},
)


@pytest.mark.parametrize(
    ("claim", "message"),
    [
        (TRUTH.replace(facts={}), "the object can drop or redirect packets; the package does not say so"),
        (
            TRUTH.replace(facts={**TRUTH.facts, "sends_signals": ("x",)}),
            "the package says that the object sends signals to processes; it does not",
        ),
        (TRUTH.replace(helpers=()), "the object calls the helper bpf_redirect; the package does not say so"),
        (TRUTH.replace(kfuncs=()), "the object calls the kernel function bpf_rcu_read_lock; the package does not say so"),
        (TRUTH.replace(programs=()), "the object has the program run (xdp at xdp); the package does not say so"),
        (
            TRUTH.replace(programs=(ProgramBehaviour("run", "tracepoint", "tp/a/b"),)),
            "the package says that the program run is tracepoint at tp/a/b; in the object it is xdp at xdp",
        ),
        (
            TRUTH.replace(maps=TRUTH.maps[1:]),
            "the object has the map seen (hash, key 4 and value 8 bytes, 100 entries); the package does not say so",
        ),
    ],
)
def test_claims_that_are_not_true(claim: Behaviour, message: str) -> None:
    assert contradictions(claim, TRUTH) == [message]


def test_claims_that_are_true() -> None:
    assert contradictions(TRUTH, TRUTH) == []
    # Pages are larger elsewhere, and so are ring buffers; estimates may become better.
    there = (TRUTH.maps[0].replace(memory_bytes=2), TRUTH.maps[1].replace(max_entries=4096))
    assert contradictions(TRUTH.replace(maps=there), TRUTH) == []
    elsewhere = TRUTH.replace(helpers=("bpf_ktime_get_ns",), facts={})
    assert undeclared_facts(TRUTH, elsewhere) == []
    assert undeclared_facts(elsewhere, TRUTH) == ["the object can drop or redirect packets; the package does not say so"]


def test_a_name_cannot_begin_a_line() -> None:
    (line,) = contradictions(Behaviour(), Behaviour(kfuncs=("x\nattached",)))
    assert "\n" not in line


def test_damaged_objects_can_be_analysed_or_not(package: Package) -> None:
    # What libbpf opens although it is damaged; most damage it refuses.
    draw = random.Random(3)
    for _ in range(300):
        data = bytearray(package.object)
        data[draw.randrange(64, len(data))] = draw.randrange(256)
        with suppress(EcliError):
            analyse(bytes(data), package.object_name)
