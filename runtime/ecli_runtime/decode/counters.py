"""Values of maps as bytes: what counters in them have grown by, and one value made of those of all CPUs.

The results have the layout of the value, so all that shows values shows them.
"""

from __future__ import annotations

from struct import Struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from typing import Literal

    from ecli_runtime.decode.plan import Op, Plan
    from ecli_runtime.stream import Source

_LETTERS = {8: "b", 16: "h", 32: "i", 64: "q"}
# Integers that are no counters: their sum over CPUs, or their growth, would mean nothing.
# fmt: off
_STATES = frozenset((
    "max", "min", "peak", "highest", "lowest", "last", "first", "prev", "avg", "mean", "pid", "tid", "tgid", "ppid", "cpu",
    "node", "id", "fd", "prio", "state", "flags", "type", "kind", "inode", "ino", "ifindex", "start", "started", "begin", "end",
    "ts", "time", "timestamp",
))
# fmt: on
_COUNTED_MEANINGS = ("bytes", "duration_ns", "duration_us", "duration_ms", "duration_s")


def is_counter(op: Op) -> bool:
    """Tell whether an integer counts or adds up: by its name and meaning it is no state, no identity and no extreme."""
    if op.code != "int" or op.bit_offset % 8 or op.bit_size not in _LETTERS:
        return False
    if op.meaning and op.meaning not in _COUNTED_MEANINGS:
        return False
    return not _STATES.intersection(op.name.rpartition(".")[2].lower().split("_"))


def counters(ops: Sequence[Op], byte_offset: int = 0, name: str = "") -> Iterator[Op]:
    """Yield the counters of a value, those in structs and in arrays of known length included, with their places in the whole."""
    for op, body in _bodies(ops):
        placed = op.replace(bit_offset=op.bit_offset + byte_offset * 8, name=op.name or name)
        if op.code == "struct":
            yield from counters(body, byte_offset, op.name)
        elif op.code == "array" and not op.meaning:
            if is_counter(op.replace(code="int", bit_size=64, bit_offset=0)):  # what the array is called goes for its elements
                for index in range(op.count or 0):
                    yield from counters(body, byte_offset + op.bit_offset // 8 + index * op.stride_bits // 8, op.name)
        elif is_counter(placed):
            yield placed


def extremes(ops: Sequence[Op]) -> Iterator[tuple[Op, Literal["max", "min"]]]:
    """Yield the integers of a value, those in structs included, that are greatest or least values by their names."""
    for op, body in _bodies(ops):
        if op.code == "struct":
            yield from extremes(body)
        elif op.code == "int" and not op.bit_offset % 8 and op.bit_size in _LETTERS:
            words = frozenset(op.name.lower().split("_"))
            if words & {"max", "peak", "highest"}:
                yield op, "max"
            elif words & {"min", "lowest"}:
                yield op, "min"


def _bodies(ops: Sequence[Op]) -> Iterator[tuple[Op, Sequence[Op]]]:
    at = 0
    while at < len(ops):
        end = at + 1 + ops[at].body
        yield ops[at], ops[at + 1 : end]
        at = end


class Numbers:
    """Integers at fixed places of a value: read together, and written over a copy of it.

    Args:
        ops: The integers; of those that overlap (members of a union) the first counts.
        byteorder: Of the value.
    """

    def __init__(self, ops: Iterable[Op], byteorder: Literal["little", "big"]) -> None:
        self.ops: list[Op] = []
        layout = ["<" if byteorder == "little" else ">"]
        at = 0
        for op in sorted(ops, key=lambda op: op.bit_offset):
            start = op.bit_offset // 8
            if start >= at:
                letter = _LETTERS[op.bit_size]
                layout.append(f"{start - at}x{letter if op.signed else letter.upper()}")
                at = start + op.bit_size // 8
                self.ops.append(op)
        self._layout = Struct("".join(layout))
        self._places = [(op.bit_offset // 8, (op.bit_offset + op.bit_size) // 8) for op in self.ops]
        self._byteorder = byteorder

    def read(self, value: bytes) -> tuple[int, ...]:
        """Return the integers, in the order of their places."""
        return self._layout.unpack_from(value)

    def written(self, value: bytes, numbers: Iterable[int]) -> bytes:
        """Return a copy of a value with other integers in it; what is too large for its place wraps as in C."""
        copy = bytearray(value)
        for (start, end), number in zip(self._places, numbers, strict=True):
            copy[start:end] = (number & (1 << (end - start) * 8) - 1).to_bytes(end - start, self._byteorder)
        return bytes(copy)


class Growth:
    """What the counters of each entry have grown by since the reading before; all else is as it is now.

    A counter that is less than before belongs to an entry that was removed and made anew: it counts in full.

    Args:
        source: A map whose types are known.
    """

    def __init__(self, source: Source) -> None:
        value = source.plans[1]
        ops = list(counters(value.ops))
        self._numbers = Numbers(ops, value.byteorder)
        self._stride = (source.value_size_bytes + 7) & ~7 if source.per_cpu else 0
        self._before: dict[bytes, bytes] = {}

    def since_last(self, entries: Sequence[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        """Return the entries of a reading with what they have grown by."""
        before, self._before = self._before, dict(entries)
        return [(key, self._grown(value, before[key]) if key in before else value) for key, value in entries]

    def _grown(self, now: bytes, before: bytes) -> bytes:
        if now == before and not self._stride:
            return self._numbers.written(now, [0] * len(self._numbers.ops))
        parts = _parts(now, self._stride), _parts(before, self._stride)
        return b"".join(map(self._difference, *parts))

    def _difference(self, now: bytes, before: bytes) -> bytes:
        pairs = zip(self._numbers.read(now), self._numbers.read(before), strict=True)
        return self._numbers.written(now, [new - old if new >= old else new for new, old in pairs])


def _parts(value: bytes, stride: int) -> list[bytes]:
    return [value[at : at + stride] for at in range(0, len(value), stride)] if stride else [value]


def make_merger(source: Source, how: Literal["sum", "max"]) -> Callable[[bytes], bytes]:
    """Return the function that makes one value of those of all CPUs.

    Counters are added up; members whose names say so are the greatest or the least that is not 0; all else is that of the first
    CPU whose value is not all zeros. With ``max`` every counter is the greatest of all CPUs.
    """
    plan: Plan = source.plans[1]
    stride = (source.value_size_bytes + 7) & ~7
    added = Numbers(counters(plan.ops), plan.byteorder)
    said = list(extremes(plan.ops))
    greatest = Numbers([op for op, word in said if word == "max"], plan.byteorder)
    least = Numbers([op for op, word in said if word == "min"], plan.byteorder)
    nothing = bytes(stride)

    def merge(value: bytes) -> bytes:
        parts = [part for part in _parts(value, stride) if part != nothing]
        if len(parts) < 2:
            return parts[0] if parts else nothing
        merged = added.written(parts[0], map(sum if how == "sum" else max, zip(*map(added.read, parts), strict=True)))
        if said:
            merged = greatest.written(merged, map(max, zip(*map(greatest.read, parts), strict=True)))
            columns = zip(*map(least.read, parts), strict=True)
            merged = least.written(merged, (min(filter(None, column), default=0) for column in columns))
        return merged

    return merge
