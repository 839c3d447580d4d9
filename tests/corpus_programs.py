"""The corpus: programs in the idioms of public tools, and what each says that the packager must find without a hint.

A program says so in its first comments: ``// expect: MAP=struct A|struct B, MAP=…``, ``// options: NAME NAME …``, where a member
tells types of one size apart ``// tags: A=VALUE|VALUE, B=…``, and where global variables are read ``// results: NAME NAME …``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from ecli_packager.build import Request, Result, build

CORPUS = {path.name.partition(".")[0]: path for path in sorted((Path(__file__).parent / "corpus").glob("*.bpf.c"))}


@dataclass(frozen=True)
class Expected:
    """What a package must have.

    Map → names of its event types, names of options, event type → values of its tag, and variables that are read.
    """

    exports: dict[str, list[str]]
    options: list[str]
    tags: dict[str, tuple[int, ...]]
    results: list[str]


def expected(name: str) -> Expected:
    """Return what a program of the corpus says that its package must have."""
    said = dict(re.findall(r"^// (expect|options|tags|results):(.*)$", CORPUS[name].read_text(), re.MULTILINE))
    exports = dict(re.findall(r"(\w+)=([^,]+)", said["expect"]))
    types = {key: sorted(each.strip().removeprefix("struct ") for each in value.split("|")) for key, value in exports.items()}
    tags = {key: tuple(map(int, value.split("|"))) for key, value in re.findall(r"(\w+)=([^,]+)", said.get("tags", ""))}
    return Expected(types, sorted(said["options"].split()), tags, sorted(said.get("results", "").split()))


@cache
def built(name: str) -> Result:
    """Return what building a program of the corpus gives; once for all tests."""
    return build(Request((CORPUS[name],)))
