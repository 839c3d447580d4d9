"""Which type a sample is of, where a map carries several."""

from __future__ import annotations

import struct
from collections.abc import Callable

from ecli_runtime.btf import Btf
from ecli_runtime.decode.choose import indistinct, make_chooser
from ecli_runtime.decode.plan import Plan, make_event_plan
from ecli_runtime.read.run import Run
from ecli_schemas.model import Tag
from tests.btf_builder import BtfBuilder


def plans() -> list[Plan]:
    """Return plans of types of 8, 8, 24 and 64 bytes; the last ends with text."""
    build = BtfBuilder()
    number, wide = build.integer("u32", 4), build.integer("u64", 8)
    head = build.struct("head", 4, ("kind", number, 0))
    ids = [
        build.struct("a", 8, ("head", head, 0), ("pid", number, 32)),
        build.struct("b", 8, ("head", head, 0), ("code", number, 32)),
        build.struct("c", 24, ("x", wide, 0), ("y", wide, 64), ("z", wide, 128)),
        build.struct("d", 64, ("x", wide, 0), ("text", build.array(build.integer("char", 1), 56), 64)),
    ]
    btf = Btf(build.section())
    return [make_event_plan(btf, each) for each in ids]


def chooser(plans: list[Plan], tags: list[Tag | None]) -> Callable[[bytes], int]:
    """Return a function from one sample to the index of its type."""
    choose = make_chooser(plans, tags)

    def index_of(sample: bytes) -> int:
        ((index, run),) = choose(Run.of([sample]))
        assert list(run.payloads()) == [sample]
        return index

    return index_of


def test_a_run_is_split_where_the_type_changes() -> None:
    choose = make_chooser(plans(), [Tag("head.kind", (1,)), Tag("head.kind", (2,)), None, None])
    samples = [struct.pack("<II", kind, n) for n, kind in enumerate((1, 1, 2, 1))]
    assert [(index, list(run.payloads())) for index, run in choose(Run.of(samples))] == [
        (0, samples[:2]),
        (1, samples[2:3]),
        (0, samples[3:]),
    ]


def test_the_size_and_then_the_tag_tell() -> None:
    choose = chooser(plans(), [Tag("head.kind", (1, 2)), Tag("head.kind", (3,)), None, None])
    for kind, index in ((1, 0), (2, 0), (3, 1), (4, 0)):
        assert choose(struct.pack("<II", kind, 9)) == index
    assert choose(bytes(24)) == 2
    assert choose(bytes(64)) == choose(bytes(72)) == 3  # with padding
    assert choose(bytes(28)) == 3  # text that is not sent to its end
    assert choose(b"") == 0  # which cannot be decoded


def test_a_tag_that_names_no_member_tells_nothing() -> None:
    choose = chooser(plans()[:2], [Tag("gone", (1,)), Tag("gone", (2,))])
    assert choose(struct.pack("<II", 2, 9)) == 0


def test_types_that_nothing_tells_apart() -> None:
    kinds = [Tag("head.kind", (1,)), Tag("head.kind", (2,)), None, None]
    assert list(indistinct(plans(), kinds)) == []
    assert list(indistinct(plans(), [None] * 4)) == [(0, 1)]
    assert list(indistinct(plans(), [kinds[0], kinds[0], None, None])) == [(0, 1)]
