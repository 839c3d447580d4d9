"""Damages a package at random, again and again, and opens it: ``python -m tests.damage PACKAGE SEED COUNT WHAT``.

A process of its own, because libbpf may crash on a hostile object. The last line of the output says how far it got.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from pathlib import Path

from ecli_runtime.decode.python import make_decoder
from ecli_runtime.libbpf import log
from ecli_runtime.opening import OpenSession
from ecli_schemas.errors import EcliError
from ecli_schemas.model import Package
from ecli_schemas.read import read_package

MAX_SAMPLE_SIZE_BYTES = 1 << 20


def damage(data: bytes, chance: random.Random) -> bytes:
    """Return data with some bytes changed, moved, repeated or cut off."""
    damaged = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 4, 16))):
        at = chance.randrange(len(damaged))
        match chance.randrange(8):
            case 0 | 1 | 2:
                damaged[at] ^= 1 << chance.randrange(8)
            case 3 | 4:
                damaged[at] = chance.choice((0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)))
            case 5:
                damaged[at : at + 4] = chance.choice((0, 1, 0x7FFFFFFF, 0xFFFFFFFF, 0xFFFFFF)).to_bytes(4, "little")
            case 6:
                other = chance.randrange(len(damaged))
                damaged[at : at + 16] = damaged[other : other + 16]
            case _:
                if chance.randrange(8) == 0:
                    del damaged[max(at, 1) :]
    return bytes(damaged)


def open_and_look(package: Package) -> None:
    """Do with a package all that comes before the kernel is asked, and decode samples of its types."""
    with OpenSession(package) as opened:
        for option, _type_id in opened.options():
            opened.initial(option.name)
        for plan in (plan for source in opened.sources() for plan in source.plans):
            if plan.size_bytes <= MAX_SAMPLE_SIZE_BYTES:
                for byte in (b"\0", b"\xff"):
                    make_decoder(plan)(byte * plan.size_bytes)


def tries(data: bytes, what: str, seed: int, count: int) -> Iterator[str]:
    """Open damaged copies of a package and yield what was said of each."""
    package = read_package(data)
    for number in range(count):
        chance = random.Random(f"{seed} {number}")
        log.take()
        print(number, flush=True)
        try:
            if what == "document":
                open_and_look(read_package(damage(data, chance)))
            else:
                open_and_look(package.replace(object=damage(package.object, chance)))
        except EcliError as error:
            yield f"{type(error).__name__}: {error}"
        else:
            yield "fine"


def main(path: str, seed: str, count: str, what: str) -> None:
    """Try, and say what came of it."""
    for said in tries(Path(path).read_bytes(), what, int(seed), int(count)):
        print(said)


if __name__ == "__main__":
    main(*sys.argv[1:])
