"""Memory while events keep coming: it must not grow with their number.

The whole way of an event is walked, as users run it: ring buffer, session, lines, output. Strings and process ids differ, so that
whatever is remembered of them is filled, too.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from benchmarks import tools
from benchmarks.harness import Benchmark, Result, Target, UnavailableError, interleave, memory_mb
from benchmarks.live import COUNTED, Consumer, live_package, make_calls

MILLION = 1_000_000
MARKS = (1, 2, 5, 10)
# What both backends can do while there is little else to do.
RATE = 250_000
RING_BYTES = 1 << 20

PYTHON, WASM = "python", "wasm"
# As where wasmtime is not installed.
_WITHOUT_WASM = "import sys; sys.modules['wasmtime'] = None; from ecli_py.cli import main; sys.exit(main())"


def commands() -> Mapping[str, list[str]]:
    """Return what shows the calls of ``c/calls.c`` with each backend."""
    words = ["run", str(live_package(RING_BYTES)), "--json"]
    return {PYTHON: [tools.PYTHON, "-c", _WITHOUT_WASM, *words], WASM: [tools.ECLI, *words]}


@dataclass(frozen=True)
class Growth:
    """The megabytes that a consumer had after each number of calls, and how many it showed of all of them."""

    memory_mb: list[float]
    shown: int


def growth(words: Sequence[str], marks: Sequence[int]) -> Growth:
    """Let a consumer show calls, at least half of them; look at its memory after so many each."""
    found: list[float] = []
    made = 0
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        with Consumer(words, nowhere, lambda: True) as consumer:
            consumer.wait_until_idle()  # attached, then
            for mark in marks:
                made += make_calls(COUNTED, RATE, max((mark - made) * 1000 // RATE, 1)).count
                consumer.wait_until_idle()
                found.append(memory_mb(consumer.pid))
            said = consumer.stop()
    finally:
        os.close(nowhere)
    shown = re.search(r"(\d+) events?, (\d+) lost", said)
    if not shown or int(shown[1]) + int(shown[2]) < made or int(shown[1]) < made // 2:
        raise UnavailableError(f"of {made} calls ecli-py says: {said}")
    return Growth(found, int(shown[1]))


def measure(rounds: int) -> Result:
    """Measure memory after each of the marks."""
    marks = [mark * MILLION for mark in MARKS]
    measured = interleave({name: partial(growth, words, marks) for name, words in commands().items()}, rounds, uncounted=0)
    figures = {
        f"{name}, {mark} million": [each.memory_mb[index] for each in grown]
        for name, grown in measured.items()
        for index, mark in enumerate(MARKS)
    }
    targets = [Target(f"{name}, {MARKS[-1]} million", f"{name}, {MARKS[0]} million", at_most=1.05) for name in measured]
    shown = {name: [each.shown / MILLION for each in grown] for name, grown in measured.items()}
    beside = (Result("events shown", "million", (), shown),)
    return Result("memory (VmRSS) after so many calls", "MB", targets, figures, beside=beside)


BENCHMARKS = (Benchmark("memory-10m", measure, rounds=1),)
