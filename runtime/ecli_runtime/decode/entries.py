"""Entries of maps as samples: key and value, one behind the other, so that all that shows events shows them."""

from __future__ import annotations

from ecli_runtime.decode.counters import counters, is_counter
from ecli_runtime.decode.plan import Op, Plan, flattened

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from ecli_runtime.stream import Source


def entry_plan(source: Source, cpu_count: int | None = None, has_cpu: bool = False, rates: bool = False) -> Plan:
    """Return the plan of entries as :func:`packer` puts them together: members ``key`` and ``value``.

    Args:
        source: A map whose types are known.
        cpu_count: The value is a list of so many; ``None``: it is one value.
        has_cpu: Between key and value is the member ``cpu``.
        rates: The value is one of :func:`with_rates`.
    """
    key, value = source.plans
    if rates:
        value = rate_plan(value)
    at = padded(key.size_bytes)
    ops = list(_member("key", key, 0))
    if has_cpu:
        ops.append(Op("int", "cpu", at * 8, 32, type_name="__u32"))
        at += 8
    if cpu_count is None:
        ops += _member("value", value, at)
        return Plan("", at + value.size_bytes, key.byteorder, tuple(ops))
    element = list(_member("", value, 0))
    stride = padded(source.value_size_bytes)
    size_bits = stride * cpu_count * 8
    ops.append(Op("array", "value", at * 8, size_bits, count=cpu_count, stride_bits=stride * 8, body=len(element)))
    return Plan("", at + stride * cpu_count, key.byteorder, (*ops, *element))


def padded(size_bytes: int) -> int:
    """Return a size rounded up to 8 bytes."""
    return size_bytes + 7 & ~7


def packer(source: Source) -> Callable[[bytes, bytes], bytes]:
    """Return the function that makes a sample of a key and a value."""
    key_size = source.plans[0].size_bytes
    padding = bytes(padded(key_size) - key_size)
    return lambda key, value: key[:key_size] + padding + value


def _member(name: str, plan: Plan, byte_offset: int) -> Iterator[Op]:
    """Yield a plan's operations as those of one member of a larger sample."""
    if not plan.ops:
        return
    ops = tuple(_without_tail(plan.ops))
    is_value = bool(ops) and not ops[0].name
    if not is_value:
        yield Op("struct", name, byte_offset * 8, plan.size_bytes * 8, body=len(ops), type_name=plan.type_name)
    for index, op in enumerate(moved(ops, byte_offset)):
        yield op.replace(name=name) if is_value and not index else op


def _without_tail(ops: Sequence[Op]) -> Iterator[Op]:
    """Yield operations with no element in flexible arrays: a map's values end with their type, and here something follows."""
    at = 0
    while at < len(ops):
        op, body = ops[at], list(_without_tail(ops[at + 1 : at + 1 + ops[at].body]))
        at += 1 + op.body
        if op.code == "string" and not op.bit_size:
            yield op.replace(code="array", count=0, stride_bits=8, body=1)
            yield Op("int", "", 0, 8)
        else:
            yield op.replace(body=len(body), count=0 if op.count is None else op.count)
            yield from body


def moved(ops: Sequence[Op], byte_offset: int) -> Iterator[Op]:
    """Yield operations for a value that begins somewhere else; in the bodies of arrays offsets count from the element."""
    at = 0
    while at < len(ops):
        op = ops[at]
        yield op.replace(bit_offset=op.bit_offset + byte_offset * 8)
        at += 1
        if op.code == "array":
            yield from ops[at : at + op.body]
            at += op.body


def short_names(plan: Plan) -> dict[str, str]:
    """Return the names of an entry's members (``key.pid``) and how they are called where that is enough: ``pid``."""
    names = [op.name for op in flattened(plan).top_level()]
    short = [name.partition(".")[2] or name for name in names]
    return {name: each if short.count(each) == 1 else name for name, each in zip(names, short, strict=True)}


def find(plan: Plan, name: str) -> Plan | None:
    """Return the plan of one member alone, named in full (``value.hits``), ``None`` if there is none."""
    flat = flattened(plan)
    at = 0
    while at < len(flat.ops):
        op = flat.ops[at]
        end = at + 1 + op.body
        if op.name == name:
            return Plan("", plan.size_bytes, plan.byteorder, (op.replace(name=""), *flat.ops[at + 1 : end]))
        at = end
    return None


def with_short_names(plan: Plan, names: Mapping[str, str]) -> Plan:
    """Return the flattened plan of entries with other names of its members."""
    flat = flattened(plan)
    ops, at = list(flat.ops), 0
    while at < len(ops):
        ops[at] = ops[at].replace(name=names.get(ops[at].name, ops[at].name))
        at += 1 + ops[at].body
    return flat.replace(ops=tuple(ops))


def first_counter(source: Source) -> str:
    """Return the name of the value's first counter or array of such, in full; of the first integer, if none seems to count."""
    plan = entry_plan(source)
    numbers = []
    for op in flattened(plan).top_level():
        if op.name.partition(".")[0] == "value" and (op.code == "int" or (op.code == "array" and not op.meaning)):
            numbers.append(op.name)
            own = op.replace(code="int", bit_size=64) if op.code == "array" else op
            if is_counter(own.replace(bit_offset=0)):
                return op.name
    return numbers[0] if numbers else ""


# Rates: what plainly counts becomes a double behind the value; times, sizes and arrays stay integers.


def _plain_counters(plan: Plan) -> list[Op]:
    own = [op for op in flattened(plan).top_level() if op.code == "int" and not op.meaning]
    places = {(op.bit_offset, op.bit_size) for op in own}
    found: list[Op] = []
    for op in counters(plan.ops):
        if (op.bit_offset, op.bit_size) in places and all(op.bit_offset != each.bit_offset for each in found):
            found.append(op)
    return found


def rate_plan(plan: Plan) -> Plan:
    """Return the plan of a value with rates of its counters."""
    at = padded(plan.size_bytes)
    places = {(op.bit_offset, op.bit_size): at + index * 8 for index, op in enumerate(_plain_counters(plan))}
    ops, index = list(plan.ops), 0
    while index < len(ops):
        op = ops[index]
        place = places.get((op.bit_offset, op.bit_size)) if op.code == "int" else None
        if place is not None:
            ops[index] = Op("float", op.name, place * 8, 64, type_name="double")
        index += 1 + (op.body if op.code == "array" else 0)
    return plan.replace(size_bytes=at + len(places) * 8, ops=tuple(ops))


def make_rates(plan: Plan) -> Callable[[bytes, float], bytes]:
    """Return the function from a value, whose counters say what they have grown by, and seconds to a value of rates per second.

    Rates that are no integers are rounded to a tenth.
    """
    from struct import Struct

    from ecli_runtime.decode.counters import Numbers

    numbers = Numbers(counters(plan.ops), plan.byteorder)
    at = {op.bit_offset: index for index, op in enumerate(numbers.ops)}
    plain = [at[op.bit_offset] for op in _plain_counters(plan) if op.bit_offset in at]
    doubles = Struct(f"{'<' if plan.byteorder == 'little' else '>'}{len(plain)}d")
    padding = bytes(padded(plan.size_bytes) - plan.size_bytes)

    def rates(value: bytes, seconds: float) -> bytes:
        found = [number / seconds for number in numbers.read(value)]
        whole = numbers.written(value[: plan.size_bytes], map(round, found))
        return whole + padding + doubles.pack(*[round(found[index], 1) for index in plain])

    return rates
