"""The decode plan: a BTF type as a flat list of field operations, derived once for each type.

The list is the type in pre-order. A ``struct`` operation opens an object and an ``array`` operation a list; both say how many
of the operations after them are their body. Offsets inside an array's body count from the start of each element, all others
from the start of the sample. Members of an anonymous struct or union belong to the object around it, as in C. Whoever needs
to know what an event looks like (decoder, column header, JSON Schema, filter) reads this list and never BTF.
"""

from __future__ import annotations

from ecli_runtime.btf import (
    KIND_FLOAT,
    KIND_INT,
    KIND_STRUCT,
    KIND_TYPEDEF,
    KIND_UNION,
    Array,
    Composite,
    Enum,
    Float,
    Forward,
    Int,
    Pointer,
    Qualifier,
    Typedef,
    Void,
)
from ecli_runtime.errors import BtfError
from ecli_schemas.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Literal, TypeAlias

    from ecli_runtime.btf import Bare, Btf, Member

    Code: TypeAlias = Literal["struct", "array", "int", "bool", "float", "enum", "pointer", "string"]

# A hostile object may describe a type that is tiny in BTF and enormous when it is written out.
MAX_DEPTH = 32
MAX_OP_COUNT = 8192
MAX_ELEMENT_COUNT = 1 << 20
MAX_SIZE_BYTES = 1 << 24  # as many elements of the largest integers; a sample that lacks its end is filled up to this
MAX_LINE_BYTES = 1 << 26  # names are repeated for each element, and flexible arrays go as far as the sample


class Op(Record):
    """One field operation.

    Attributes:
        code: ``struct`` and ``array`` open an object and a list; the others read one value. ``string`` is a ``char`` array,
            ``pointer`` any value that is shown in hexadecimal: pointers, and floats of neither 32 nor 64 bits.
        name: Member name; empty for array elements and for a value that is no member.
        bit_offset: Where the value starts (see the module's text).
        bit_size: Width of the value; for ``struct`` and ``array`` of the whole. 0: a flexible array, up to the end of the sample.
        signed: Of ``int`` and ``enum``.
        count: Elements of an ``array``; ``None`` for a flexible one.
        stride_bits: Distance of an array's elements.
        body: Number of operations after this one that belong to it.
        names: Of ``enum``: (value, name) in the order of declaration; the first name of a value counts.
        type_name: C type as the author named it (``pid_t``, ``u64``), or empty.
        meaning: What the value stands for, one of :data:`ecli_runtime.decode.meaning.MEANINGS`; empty: just what it is. With a
            meaning an ``array`` is one value, and its body is skipped.
    """

    code: Code
    name: str
    bit_offset: int
    bit_size: int
    signed: bool = False
    count: int | None = 1
    stride_bits: int = 0
    body: int = 0
    names: tuple[tuple[int, str], ...] = ()
    type_name: str = ""
    meaning: str = ""


def flag_names(op: Op) -> tuple[tuple[int, str], ...]:
    """Return (bit, name) of each single bit of an ``enum`` of flags, lowest first; nothing if it is no enum of flags.

    Enumerators of flags are single bits, one of them 4 or more, and unions of such. An enum that counts (1, 2, 3, 4) has these
    too, so four values in a row make it none. Bits are positive, also the sign's.
    """
    if op.code != "enum":
        return ()
    sign = 1 << op.bit_size - 1
    names: dict[int, str] = {}
    for value, name in op.names:
        names.setdefault(sign if value == -sign else value, name)
    values = sorted(value for value in names if value)
    bits = [value for value in values if value > 0 and value & value - 1 == 0]
    covered = sum(bits)
    if not bits or bits[-1] < 4 or any(value < 0 or value & ~covered for value in values):
        return ()
    if any(values[at + 3] == value + 3 for at, value in enumerate(values[:-3])):
        return ()
    return tuple((bit, names[bit]) for bit in bits)


class Plan(Record):
    """How to decode samples of one type.

    Attributes:
        type_name: C name of the type (``event``), or empty if it has none.
        size_bytes: ``sizeof`` the type. A sample may be longer (padding, a flexible array); see :attr:`min_size_bytes`.
        byteorder: Of the object, hence of the sample.
        ops: The operations.
    """

    type_name: str
    size_bytes: int
    byteorder: Literal["little", "big"]
    ops: tuple[Op, ...]

    @property
    def min_size_bytes(self) -> int:
        """The least that a sample has: programs send an event only up to where the array at its end is filled.

        What such a sample lacks is zeros.
        """
        last = Op("int", "", 0, 0)
        for last in self.top_level():  # noqa: B007
            pass
        return last.bit_offset // 8 if last.code in ("array", "string") else self.size_bytes

    @property
    def max_size_bytes(self) -> int:
        """The most that a sample has for its line to stay within :data:`MAX_LINE_BYTES`; less than ``size_bytes``: none may."""
        fixed, for_each_byte = _longest(self.ops)
        if fixed > MAX_LINE_BYTES:
            return -1
        return (MAX_LINE_BYTES - fixed) // for_each_byte if for_each_byte else 0xFFFF_FFFF

    def top_level(self) -> Iterator[Op]:
        """Walk the operations that are in the body of none: the members of the event."""
        at = 0
        while at < len(self.ops):
            yield self.ops[at]
            at += 1 + self.ops[at].body


def flattened(plan: Plan) -> Plan:
    """Return a plan whose members are those of its structs, named by the way to them: ``head.pid``. Arrays stay as they are."""
    return plan.replace(ops=tuple(_flat(plan.ops, "")))


def _flat(ops: Sequence[Op], before: str) -> Iterator[Op]:
    at = 0
    while at < len(ops):
        op, body = ops[at], ops[at + 1 : at + 1 + ops[at].body]
        if op.code == "struct" and body and not op.meaning:
            yield from _flat(body, f"{before}{op.name}.")
        else:
            yield op.replace(name=before + op.name)
            yield from body
        at += 1 + op.body


_ESCAPE_BYTES = 6  # what a character becomes at most: \u0000
_TEXT_BYTES = 48  # of an address, a float, a time


def _longest(ops: Sequence[Op]) -> tuple[int, int]:
    """Return how many bytes operations write at most, and how many more for each byte of the sample."""
    fixed = for_each_byte = at = 0
    while at < len(ops):
        op = ops[at]
        inside, inside_for_each_byte = _longest(ops[at + 1 : at + 1 + op.body])
        at += 1 + op.body
        fixed += len(op.name) * _ESCAPE_BYTES + len('"":,') if op.name else len(",")
        if op.code == "struct":
            fixed += inside + len("{}")
            for_each_byte += inside_for_each_byte
        elif op.code == "array":  # elements end in no flexible array
            fixed += len("[]") + inside * (op.count or 0)
            for_each_byte += 0 if op.count is not None else -(-inside * 8 // op.stride_bits)
        elif op.code == "string":
            fixed += len('""') + op.bit_size // 8 * _ESCAPE_BYTES
            for_each_byte += 0 if op.bit_size else _ESCAPE_BYTES
        elif op.code == "enum":
            longest = max([len(name) for _value, name in op.names], default=0)
            fixed += _TEXT_BYTES + max(longest, sum(len(name) + 1 for _bit, name in flag_names(op))) * _ESCAPE_BYTES
        elif op.code == "int" and not op.meaning:
            fixed += op.bit_size * 4 // 13 + len("-1")  # log10(2) is a little less
        else:
            fixed += _TEXT_BYTES
    return fixed, for_each_byte


def event_type_id(btf: Btf, name: str, type_id: int | None) -> int | None:
    """Return the BTF id of a type of events, ``None`` if there is no such type.

    Args:
        btf: The object's types.
        name: What the package calls it: a struct, union or typedef without keyword, ``unsigned int``, ``char[16]``, or empty.
        type_id: The id that the package has for it: a hint, for another compiler may have numbered a struct differently, and
            so does an object for another machine.

    Raises:
        BtfError: BTF is malformed.
    """
    if type_id is not None and not 0 < type_id < len(btf):
        type_id = None
    if not name or (type_id is not None and _name_of(btf, type_id) == name):
        return type_id
    found = btf.find(name, KIND_STRUCT, KIND_UNION)
    if found is None:
        found = btf.find(name, KIND_TYPEDEF, KIND_INT, KIND_FLOAT)
    if found is None and name.endswith("]"):
        arrays = (each for each, bare in btf.types() if isinstance(bare, Array))
        found = next((each for each in arrays if _name_of(btf, each) == name), None)
    # What C calls it otherwise only the id can tell.
    return type_id if found is None and not name.isidentifier() else found


def _name_of(btf: Btf, type_id: int) -> str:
    """Return the name of a type; of an array that of its elements, with their numbers; empty text for others."""
    counts, bare = "", btf.type(type_id)
    while isinstance(bare, Array):
        counts += f"[{bare.count}]"
        bare = btf.type(bare.element)
    return getattr(bare, "name", "") + counts


def make_plan(btf: Btf, type_id: int) -> Plan:
    """Derive the plan of a type.

    Raises:
        BtfError: The type is malformed, cyclic, has no size, or is absurdly large.
    """
    builder = _Builder(btf)
    builder.add("", type_id, 0, tail=True)
    _check_size(btf.size_bytes(type_id))
    _, bare = btf.resolve(type_id)
    name = getattr(bare, "name", "") or _author_name(btf, type_id)
    ops = tuple(builder.ops)
    if isinstance(bare, Composite):  # the sample itself is no member: its members are the plan
        ops = ops[1:]
    return _bounded(Plan(name, btf.size_bytes(type_id), btf.byteorder, ops))


def make_event_plan(btf: Btf, type_id: int) -> Plan:
    """Derive the plan of a type of events, which always have members: what is no struct is the member ``value``.

    Raises:
        BtfError: As :func:`make_plan`.
    """
    plan = make_plan(btf, type_id)
    if not plan.ops or plan.ops[0].name:
        return plan
    return plan.replace(ops=(plan.ops[0].replace(name="value"), *plan.ops[1:]))


def make_plan_of_members(btf: Btf, members: list[tuple[str, int, int]]) -> Plan:
    """Derive the plan of an event that a package describes member by member.

    Args:
        btf: The object's types.
        members: (name, BTF type id, byte offset) of each.

    Raises:
        BtfError: As :func:`make_plan`.
    """
    builder = _Builder(btf)
    size_bytes, names = 0, _Names("event")
    last = max((byte_offset for _name, _type_id, byte_offset in members), default=0)
    for name, type_id, byte_offset in members:
        names.add(name)
        builder.add(name, type_id, byte_offset * 8, tail=byte_offset == last)
        size_bytes = max(size_bytes, byte_offset + btf.size_bytes(type_id))
    _check_size(size_bytes)
    return _bounded(Plan("", size_bytes, btf.byteorder, tuple(builder.ops)))


def _bounded(plan: Plan) -> Plan:
    if plan.max_size_bytes < plan.size_bytes:
        raise BtfError(f"its values and their names take more than {MAX_LINE_BYTES} bytes when they are written out")
    return plan


def _check_size(size_bytes: int) -> None:
    if size_bytes > MAX_SIZE_BYTES:
        raise BtfError(f"type has {size_bytes} bytes; at most {MAX_SIZE_BYTES} are decoded")


def _author_name(btf: Btf, type_id: int) -> str:
    """Return what the author calls a type: its typedef, or the name of a type that has one; qualifiers do not count."""
    named = btf.type(type_id)
    for _ in range(MAX_DEPTH):
        if not isinstance(named, Qualifier):
            break
        named = btf.type(named.target)
    return named.name if isinstance(named, (Typedef, Int, Enum, Float, Composite)) else ""


class _Names:
    """The names of one object's members, each of which may be there once, as in C."""

    def __init__(self, owner: str) -> None:
        self.owner = owner
        self._seen: set[str] = set()

    def add(self, name: str) -> None:
        if name in self._seen:
            raise BtfError(f"{self.owner} has two members {name!r}")
        self._seen.add(name)


class _Builder:
    def __init__(self, btf: Btf) -> None:
        self.btf = btf
        self.ops: list[Op] = []
        self.depth = 0
        self.visit_count = 0
        self.element_count = 1  # values that the arrays around the current one make of each of their members
        self.value_count = 0
        self.name_count = 0

    def add(self, name: str, type_id: int, bit_offset: int, bit_size: int = 0, *, tail: bool = False) -> None:
        """Append the operations of a type.

        Args:
            name: Of the member.
            type_id: Its type.
            bit_offset: Where it is.
            bit_size: Width of a bitfield, else 0.
            tail: Whether nothing follows it in the sample: an array of no elements is then a flexible one. Elsewhere such an
                array marks a place (``char start[0]``) and holds nothing to show.
        """
        self._visit()
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise BtfError(f"types nest more than {MAX_DEPTH} deep")
        type_name = _author_name(self.btf, type_id)
        _, bare = self.btf.resolve(type_id)
        if isinstance(bare, Int):
            bits = bit_size or bare.bit_count
            code: Code = "bool" if bare.boolean else "int"
            self._append(Op(code, name, bit_offset + bare.bit_offset, bits, bare.signed, type_name=type_name))
        elif isinstance(bare, Enum):
            names = tuple((value, label) for label, value in bare.enumerators)
            bits = bit_size or bare.size_bytes * 8
            self._append(Op("enum", name, bit_offset, bits, bare.signed, names=names, type_name=type_name))
        elif isinstance(bare, Pointer):
            self._append(Op("pointer", name, bit_offset, 64, type_name=type_name))
        elif isinstance(bare, Float):
            if not 0 < bare.size_bytes <= 16:
                raise BtfError(f"{bare.name} has {bare.size_bytes} bytes")
            code = "float" if bare.size_bytes in (4, 8) else "pointer"
            self._append(Op(code, name, bit_offset, bare.size_bytes * 8, type_name=type_name))
        elif isinstance(bare, Array):
            self._add_array(name, bare, bit_offset, tail)
        elif isinstance(bare, Composite):
            self._add_composite(name, bare, bit_offset, type_name, tail)
        elif isinstance(bare, (Void, Forward)):
            raise BtfError(f"member {name!r} has an incomplete type")
        else:
            raise BtfError(f"member {name!r} has a type that holds no data")
        self.depth -= 1

    def _visit(self) -> None:
        # Also of what appends nothing: 2^31 anonymous structs take 31 types.
        self.visit_count += 1
        if self.visit_count > MAX_OP_COUNT:
            raise BtfError(f"type has more than {MAX_OP_COUNT} members")

    def _append(self, op: Op, values: int = 1) -> None:
        self.ops.append(op)
        self.value_count += self.element_count * values
        self.name_count += len(op.names)
        if self.name_count > MAX_ELEMENT_COUNT:  # an enum may be the type of many members
            raise BtfError(f"members have more than {MAX_ELEMENT_COUNT} enumerators")
        if self.value_count > MAX_ELEMENT_COUNT:  # arrays in a union, or of empty structs, need hardly any bytes
            raise BtfError(f"type has more than {MAX_ELEMENT_COUNT} values")

    def _add_composite(self, name: str, composite: Composite, bit_offset: int, type_name: str, tail: bool) -> None:
        at = len(self.ops)
        self._append(Op("struct", name, bit_offset, composite.size_bytes * 8))  # its place; the body's length follows
        self._add_members(composite, bit_offset, tail, _Names(f"{composite.keyword} {composite.name}".rstrip()))
        self.ops[at] = self.ops[at].replace(body=len(self.ops) - at - 1, type_name=composite.name or type_name)

    def _add_members(self, composite: Composite, bit_offset: int, tail: bool, names: _Names) -> None:
        is_union = composite.keyword == "union"
        last = 0
        for index, member in enumerate(composite.members):
            if self._size_bytes(member):
                last = index
        for index, member in enumerate(composite.members):
            self._add_member(composite, member, bit_offset, tail and (is_union or index >= last), names)

    def _size_bytes(self, member: Member) -> int:
        _, bare = self.btf.resolve(member.type_id)
        if isinstance(bare, (Void, Forward)):
            raise BtfError(f"member {member.name!r} has an incomplete type")
        return self.btf.size_bytes(member.type_id)

    def _add_member(self, composite: Composite, member: Member, bit_offset: int, tail: bool, names: _Names) -> None:
        _, bare = self.btf.resolve(member.type_id)
        self._check_place(composite, member, bare)
        if isinstance(bare, Composite) and not member.name:
            self._visit()
            self.depth += 1
            if self.depth > MAX_DEPTH:
                raise BtfError(f"types nest more than {MAX_DEPTH} deep")
            self._add_members(bare, bit_offset + member.bit_offset, tail, names)
            self.depth -= 1
        elif member.name:
            names.add(member.name)
            self.add(member.name, member.type_id, bit_offset + member.bit_offset, member.bit_size, tail=tail)
        else:  # an unnamed bitfield is padding
            self._visit()

    def _check_place(self, composite: Composite, member: Member, bare: Bare) -> None:
        """Check that a member lies where a reader can find it, inside of the sample."""
        bits = self.btf.size_bytes(member.type_id) * 8
        if isinstance(bare, Int) and not member.bit_size:
            bits = bare.bit_offset + bare.bit_count  # in old BTF the type of a bitfield says its place; others fill theirs
        elif member.bit_size:
            if (
                not isinstance(bare, (Int, Enum))
                or member.bit_size > bits
                or (isinstance(bare, Int) and (bare.bit_offset or bare.bit_count < member.bit_size))
            ):
                raise BtfError(f"member {member.name!r} is a bitfield of {member.bit_size} bits in a type of {bits}")
            bits = member.bit_size
        elif member.bit_offset % 8:
            raise BtfError(f"member {member.name!r} starts inside of a byte")
        if member.bit_offset + bits > composite.size_bytes * 8:
            raise BtfError(f"member {member.name!r} lies outside of {composite.keyword} {composite.name}".rstrip())

    def _add_array(self, name: str, array: Array, bit_offset: int, tail: bool) -> None:
        stride_bits = self.btf.size_bytes(array.element) * 8
        _, bare = self.btf.resolve(array.element)
        if (not array.count and not (tail and stride_bits)) or self._holds_nothing(bare):
            return
        outside = self.element_count
        self.element_count *= array.count or 1
        if self.element_count > MAX_ELEMENT_COUNT:
            raise BtfError(f"array {name!r} has {self.element_count} elements; at most {MAX_ELEMENT_COUNT} are decoded")
        count, type_name = array.count or None, _author_name(self.btf, array.element)
        at = len(self.ops)
        if isinstance(bare, Int) and bare.size_bytes == 1 and bare.name == "char":
            self._append(Op("string", name, bit_offset, stride_bits * array.count, count=count))
        else:
            self._append(Op("array", name, bit_offset, stride_bits * array.count, count=count, stride_bits=stride_bits))
            self.add("", array.element, 0)
            self.ops[at] = self.ops[at].replace(body=len(self.ops) - at - 1, type_name=type_name)
        self.element_count = outside

    def _holds_nothing(self, bare: Bare) -> bool:
        """Whether an array's element is, in any dimension, an array of no elements."""
        while isinstance(bare, Array) and bare.count:  # size_bytes has been here: they do not nest for ever
            _, bare = self.btf.resolve(bare.element)
        return isinstance(bare, Array)
