"""Which of the types that one map carries a sample is of: by its size, then by a member that holds another value in each."""

from __future__ import annotations

from ecli_runtime.read.run import Run

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ecli_runtime.decode.plan import Op, Plan
    from ecli_schemas.model import Tag


def make_chooser(plans: Sequence[Plan], tags: Sequence[Tag | None]) -> Callable[[Run], Iterator[tuple[int, Run]]]:
    """Return the function that splits a run into runs of one type each, in their order, with the index of each's plan.

    A type of exactly the sample's size is meant, else the largest that fits: the samples of a perf buffer are padded. Of
    several types of one size it is the one whose tag the sample bears, else the first.

    Args:
        plans: At least one.
        tags: Of each plan.
    """
    groups: dict[int, list[int]] = {}
    for index, plan in enumerate(plans):
        groups.setdefault(plan.size_bytes, []).append(index)
    pickers = {size: _picker([(index, plans[index], tags[index]) for index in group]) for size, group in groups.items()}
    least = {size: min(plans[index].min_size_bytes for index in group) for size, group in groups.items()}
    largest_first = sorted(pickers, reverse=True)

    def choose(run: Run) -> Iterator[tuple[int, Run]]:
        size = run.length
        if size not in pickers:
            size = next((each for each in largest_first if least[each] <= size), largest_first[-1])
        pick = pickers[size]
        if isinstance(pick, int):
            yield pick, run
        else:
            yield from _split(run, pick)

    return choose


def _split(run: Run, pick: Callable[[bytes], int]) -> Iterator[tuple[int, Run]]:
    alike: list[bytes] = []
    index = -1
    for payload in run.payloads():
        its_index = pick(payload)
        if alike and its_index != index:
            yield index, Run.of(alike)
            alike = []
        index = its_index
        alike.append(payload)
    if alike:
        yield index, Run.of(alike)


def indistinct(plans: Sequence[Plan], tags: Sequence[Tag | None]) -> Iterator[tuple[int, int]]:
    """Yield pairs of indexes of plans whose samples nothing tells apart: the second is taken for the first."""
    for index, plan in enumerate(plans):
        tag = tags[index]
        for first in range(index):
            other = tags[first]
            if plans[first].size_bytes != plan.size_bytes:
                continue
            if tag is None or other is None or tag.member != other.member or set(tag.values) & set(other.values):
                yield first, index
                break


def _picker(group: list[tuple[int, Plan, Tag | None]]) -> Callable[[bytes], int] | int:
    """Return the function that tells between plans of one size, given by index, plan and tag; or the index of the only one."""
    default = group[0][0]
    readers = []
    for index, plan, tag in group if len(group) > 1 else ():
        op = tag and next((op for path, op in _integers(plan.ops) if path == tag.member), None)
        if tag and op:
            readers.append((op.bit_offset // 8, (op.bit_offset + op.bit_size) // 8, op.signed, plan.byteorder, tag.values, index))
    if not readers:
        return default

    def pick(sample: bytes) -> int:
        for start, end, signed, byteorder, values, index in readers:
            if int.from_bytes(sample[start:end], byteorder, signed=signed) in values:
                return index
        return default

    return pick


def _integers(ops: Sequence[Op], before: str = "") -> Iterator[tuple[str, Op]]:
    """Walk the integers and enums of whole bytes outside of arrays, each with the names of the members that lead to it."""
    at = 0
    while at < len(ops):
        op = ops[at]
        body = ops[at + 1 : at + 1 + op.body]
        if op.code == "struct":
            yield from _integers(body, f"{before}{op.name}.")
        elif op.code in ("int", "enum") and op.bit_offset % 8 == 0 and op.bit_size % 8 == 0:
            yield before + op.name, op
        at += 1 + op.body
