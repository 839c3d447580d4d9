"""Random samples of random types, and of damaged ones: a value or an error of ours, never another exception.

``python -m tests.fuzz --samples 10000000`` runs for some minutes; the suite runs a short version.
"""

from __future__ import annotations

import argparse
import time
from random import Random

from ecli_py.render.jsonlines import to_json
from ecli_runtime.btf import Btf
from ecli_runtime.decode.lines import Style, make_program
from ecli_runtime.decode.meaning import with_meanings
from ecli_runtime.decode.plan import Plan, make_event_plan
from ecli_runtime.decode.python import make_decoder
from ecli_runtime.decode.rows import PythonLines
from ecli_runtime.errors import BtfError, DecodeError
from ecli_runtime.read.run import Run
from tests.btf_builder import BtfBuilder
from tests.c_types import bytes_of

# Samples that would be larger are only offered cut short: a damaged type may claim 4 GiB.
MAX_SIZE = 1 << 14
KINDS = ["integer", "integer", "bool", "float", "enum", "pointer", "text", "typedef", "array", "struct", "union"]
NAMES = ["saddr", "dport", "ts_us", "delta_ns", "mac", "saddr_v6", "errno", "sig", "uid", "call_site", "comm", "x", "bytes"]


def random_type(builder: BtfBuilder, random: Random, depth: int = 3) -> tuple[int, int]:
    """Add a type; return its id and size in bytes."""
    kind = random.choice(
        ["integer", "integer", "bool", "float", "enum", "pointer", "text", "typedef", "array", "struct", "union"]
    )
    if depth == 0 and kind in ("typedef", "array", "struct", "union"):
        kind = "integer"
    if kind == "integer":
        size = random.choice([1, 2, 3, 4, 8, 16])
        return builder.integer(random.choice(["int", "u8", "char"]), size, random.random() < 0.5), size
    if kind == "bool":
        return builder.integer("bool", 1, boolean=True), 1
    if kind == "float":
        size = random.choice([2, 4, 8, 16])
        return builder.floating("float", size), size
    if kind == "enum":
        values = {f"E{value}": value for value in random.choice([(0, 1, 2), (1, 2, 4, 8), (1, 2, 3, 4), (7, 200)])}
        return builder.enum("kind", 4, values, random.random() < 0.5), 4
    if kind == "pointer":
        return builder.pointer(0), 8
    if kind == "text":
        size = random.choice([1, 5, 16])
        return builder.array(builder.integer("char", 1, signed=True), size), size
    if kind == "typedef":
        type_id, size = random_type(builder, random, depth - 1)
        return builder.typedef(random.choice(["__be16", "__be32", "uid_t", "thing"]), type_id), size
    if kind == "array":
        type_id, size = random_type(builder, random, depth - 1)
        count = random.choice([1, 2, 4, 6, 16])
        return builder.array(type_id, count), size * count
    return random_struct(builder, random, depth - 1, kind)


def random_struct(builder: BtfBuilder, random: Random, depth: int, keyword: str = "struct") -> tuple[int, int]:
    """Add a struct or union; return its id and size in bytes."""
    members: list[tuple[str, int, int]] = []
    end = size = 0
    for index in range(random.randrange(7)):
        type_id, member_size = random_type(builder, random, depth)
        members.append(
            (f"{random.choice(NAMES)}_{index}" if random.random() < 0.5 else f"{index}_{random.choice(NAMES)}", type_id, end * 8)
        )
        size = max(size, end + member_size)
        end = size if keyword == "struct" else 0
    if keyword == "struct" and depth == 2 and random.random() < 0.3:
        members.append(("tail", builder.array(random_type(builder, random, depth)[0], 0), end * 8))
    return builder.struct("type", size, *members, kind=4 if keyword == "struct" else 5), size


def damaged(section: bytes, random: Random) -> bytes:
    """Return types some of whose bytes are others."""
    changed = bytearray(section)
    for _ in range(random.choice([1, 1, 2, 8])):
        changed[random.randrange(24, len(changed))] = random.choice([0, 1, 2, 0x80, 0xFF, random.randrange(256)])
    return bytes(changed)


def random_plan(random: Random, damage: bool) -> Plan | None:
    """Return the plan of a random type; None if it is damaged and was refused."""
    builder = BtfBuilder(random.choice(["little", "big"]))
    type_id, _size = random_struct(builder, random, 2)
    section = builder.section()
    try:
        return make_event_plan(Btf(damaged(section, random) if damage else section), type_id)
    except BtfError:
        if not damage:
            raise
        return None


class Readers:
    """All that reads samples of a type."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.decode = make_decoder(plan)
        self.json, self.text, self.csv = (PythonLines(make_program(plan, Style(kind))) for kind in ("json", "text", "csv"))

    def check(self, sample: bytes) -> None:
        """Read a sample; the reference decoder and the lines of JSON say the same."""
        try:
            line = to_json(self.decode(sample)) + "\n"
        except DecodeError:
            assert len(sample) < self.plan.min_size_bytes, self.plan
            return
        assert len(sample) >= self.plan.min_size_bytes, self.plan
        if len(sample) >= self.plan.size_bytes:
            run = Run.of([sample])
            assert self.json.render(run, b"", -1) == (line.encode(), 1, 1), (self.plan, sample)
            for lines in (self.text, self.csv):
                assert lines.render(run, b"", -1)[1:] == (1, 1), (self.plan, sample)


def fuzz(sample_count: int, type_count: int, seed: int) -> int:
    """Offer samples to types, half of which are damaged; return how many were refused before a sample could be offered."""
    random = Random(seed)
    refused = 0
    for index in range(type_count):
        plan = random_plan(random, damage=index % 2 == 1)
        if plan is None:
            refused += 1
            plan = random_plan(random, damage=False)
            assert plan is not None
        readers = [Readers(plan), Readers(with_meanings(plan))]
        size = min(plan.size_bytes, MAX_SIZE)
        # Damage can make an array of a million elements, each sample of which takes seconds.
        count = min(sample_count // type_count, 2 if plan.max_size_bytes > 1 << 18 else sample_count)
        for number in range(count):
            extra = number % 8
            sample = bytes_of(size + extra, random) if extra < 7 else bytes_of(random.randrange(size + 1), random)
            readers[number % 2].check(sample)
    return refused


def main() -> None:
    """Run for as long as the arguments say."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--samples", type=int, default=1_000_000)
    parser.add_argument("--types", type=int, default=50)
    parser.add_argument("--seed", type=int, default=time.time_ns())
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}", flush=True)
    started = time.monotonic()
    refused = fuzz(arguments.samples, arguments.types, arguments.seed)
    seconds = time.monotonic() - started
    print(f"{arguments.samples} samples, {arguments.types} types, {refused} damaged ones refused, {seconds:.0f} s")


if __name__ == "__main__":
    main()
