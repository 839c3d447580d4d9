"""What the fuzzers of Wasm modules share: which modules there are, how long one may take, and their command line."""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Callable, Sequence
from random import Random

from ecli_runtime.errors import EcliError
from tests.damage import damage

# What one module may take: compiling, all it does up to its limits, and a machine that has other things to do.
MAX_S = 20


def fuzz(valid: Sequence[bytes], use: Callable[[bytes], str], count: int, seed: int) -> Counter[str]:
    """Use that many modules: one in ten is of bytes by chance, the others are damaged. Return how they ended.

    Args:
        valid: Modules to damage.
        use: Uses a module, and returns in a word how it ended.
        count: How many.
        seed: Of what is by chance.

    Raises:
        AssertionError: One took too long.
    """
    endings: Counter[str] = Counter()
    for number in range(count):
        random = Random(f"{seed} {number}")
        if number % 10 == 0:
            code = b"\0asm\1\0\0\0"[: random.choice((0, 4, 8))] + random.randbytes(random.randrange(64))
        else:
            code = damage(random.choice(valid), random)
        begun = time.monotonic()
        try:
            endings[use(code)] += 1
        except EcliError as error:
            endings[type(error).__name__] += 1
        assert time.monotonic() - begun < MAX_S, f"module {number} of seed {seed} took too long"
    return endings


def main(name: str, description: str | None, valid: Sequence[bytes], use: Callable[[bytes], str]) -> None:
    """Fuzz as the command line says."""
    parser = argparse.ArgumentParser(prog=f"python -m tests.{name}", description=description)
    parser.add_argument("--count", metavar="N", type=int, default=1000)
    parser.add_argument("--seed", metavar="N", type=int, default=1)
    arguments = parser.parse_args()
    print(f"done: {dict(fuzz(valid, use, arguments.count, arguments.seed))}")
