"""What the operands of ``--where`` are, and the programs that compare them.

What a literal is worth depends on the member beside it: the unit of a duration, the enum of a name, the kind of an address.
"""

from __future__ import annotations

from ecli_runtime.decode.predicate import MAX_INSTRUCTIONS
from ecli_runtime.decode.where_tokens import NANOSECONDS, Literal, read_address, read_device
from ecli_runtime.errors import WhereError
from ecli_schemas.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Literal as Choice
    from typing import TypeAlias

    from ecli_runtime.decode.plan import Op, Plan
    from ecli_runtime.decode.predicate import Code

    Kind: TypeAlias = Choice["int", "float", "bool", "string", "address", "struct", "array"]
    Node: TypeAlias = "Value | Literal"

_MIRRORED = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}
_KINDS = {
    "bool": "true or false",
    "string": "text",
    "int": "a number",
    "float": "a number",
    "struct": "a struct",
    "array": "an array",
}
# Of each kind of address: what it is, an example, and its words of at most 64 bits.
_ADDRESSES = {
    "ipv4": ("an IPv4 address", "10.0.0.1 or 10.0.0.0/8", (32,)),
    "ipv6": ("an IPv6 address", "fe80::1 or fe80::/10", (64, 64)),
    "mac": ("a MAC address", "02:42:ac:11:00:02", (48,)),
}
_NAMED = ("errno", "signal", "uid", "gid", "syscall")  # meanings whose values have names
# Last words of members' names that say in which unit they count.
_SUFFIXES = {
    **{unit: NANOSECONDS[unit] for unit in ("ns", "us", "ms", "s")},
    "seconds": NANOSECONDS["s"],
    **{f"{unit[:-1]}sec{plural}": NANOSECONDS[unit] for unit in ("ns", "us", "ms", "s") for plural in ("", "s")},
}


class Value(Record):
    """A member, or what is made of members.

    Attributes:
        kind: ``bool`` is a condition too.
        text: As written, for messages.
        column: Where it stands.
        parts: Program of each part, the most significant first: integers of more than 64 bits have two, and so have ports in
            the other byte order. Of an address: of each word, as it lies in memory. Of a struct or array: none.
        low_bits: Width of the second part of two.
        unit_ns: What it counts, if that is known.
        op: The member's operation, if it is one.
        body: The operations after it that belong to it.
    """

    kind: Kind
    text: str
    column: int
    parts: tuple[Code, ...] = ()
    low_bits: int = 0
    unit_ns: int = 0
    op: Op | None = None
    body: Sequence[Op] = ()

    @property
    def meaning(self) -> str:
        """What the member stands for, if anything."""
        return self.op.meaning if self.op else ""

    @property
    def sort(self) -> str:
        """What two values must have alike to be compared: text, numbers, or addresses of one kind."""
        return {"string": "string", "address": self.meaning}.get(self.kind, "number")

    @property
    def shape(self) -> tuple[int, int]:
        """What two numbers must have alike to be compared part by part."""
        return len(self.parts), self.low_bits

    def describe(self) -> str:
        """Return what it is, in words."""
        if self.kind == "address":
            return _ADDRESSES[self.meaning][0]
        if self.op is not None and self.op.code == "enum":
            return f"one of {_listed([name for _value, name in self.op.names])}"
        return _KINDS[self.kind]


class UnknownNameError(WhereError):
    """A name that the events of one type do not have; those of another may."""


class Scope:
    """The members of one type of events, and what can be asked of them.

    Args:
        plan: The type.
        arch: Machine whose system calls have names.

    All methods raise :class:`~ecli_runtime.errors.WhereError` for what makes no sense.
    """

    def __init__(self, plan: Plan, arch: str) -> None:
        self.byteorder, self.arch = plan.byteorder, arch
        self.members = members_of(plan.ops)

    def value(self, op: Op, body: Sequence[Op], base: int, path: str, name: str, column: int) -> Value:
        """Return a member as a value.

        Args:
            op: Its operation.
            body: The operations of its body.
            base: Bits from the start of the sample to where its offset counts from.
            path: How it is written.
            name: Its own name, which may say its unit.
            column: Where it is written.
        """
        offset, bits = base + op.bit_offset, op.bit_size
        value = Value("int", path, column, op=op, body=body)
        if op.meaning in _ADDRESSES:
            words = _ADDRESSES[op.meaning][2]
            return value.replace(
                kind="address", parts=tuple((("int", offset + 64 * at, word, False),) for at, word in enumerate(words))
            )
        if op.code in ("struct", "array"):
            return value.replace(kind=op.code)
        if op.code == "string":
            return value.replace(kind="string", parts=((("string", offset // 8, bits // 8),),))
        if op.code == "bool":
            return value.replace(kind="bool", parts=((("int", offset, bits, False), ("const", 0), ("cmp", "!=")),))
        unit = op.meaning.rpartition("_")[2]
        value = value.replace(unit_ns=NANOSECONDS.get(unit) or _SUFFIXES.get(name.rpartition("_")[2], 0))
        if op.code == "float":
            return value.replace(kind="float", parts=((("float", offset, bits),),))
        if op.meaning == "port_be":  # its bytes as two parts: they compare in their order
            return value.replace(parts=((("int", offset, 8, False),), (("int", offset + 8, 8, False),)), low_bits=8)
        if bits <= 64:
            return value.replace(parts=((("int", offset, bits, op.signed),),))
        high, low = (offset + 64, offset) if self.byteorder == "little" else (offset, offset + bits - 64)
        return value.replace(parts=((("int", high, bits - 64, op.signed),), (("int", low, 64, False),)), low_bits=64)

    def condition(self, node: Node) -> Code:
        """Return the program that tells whether a value is true: other than zero, and not empty."""
        if isinstance(node, Literal):
            if node.kind == "name":
                raise unknown_member(node.text, node.column, self.members)
            raise WhereError(f"{node.text!r} is no condition", node.column, "to compare with several values, write x in (a, b)")
        _refuse_aggregate(node)
        if node.kind == "address":
            raise WhereError(f"{node.text} is {node.describe()}, no condition", node.column, "compare it with an address")
        if node.kind == "bool":
            return node.parts[0]
        if node.kind == "string":
            return (*node.parts[0], ("const", b""), ("cmp", "!="))
        return _ordered("!=", node.parts, [(("const", 0),)] * len(node.parts))

    def compare(self, operator: str, left: Node, right: Node, column: int) -> Code:
        """Return the program of a comparison."""
        if isinstance(left, Literal):
            if isinstance(right, Literal):
                raise self._no_member(right if right.kind == "name" else left)
            left, right, operator = right, left, _MIRRORED.get(operator, operator)
        _refuse_aggregate(left)
        if isinstance(right, Value):
            code = _compare_members(operator, left, right, column)
        elif left.kind == "string":
            code = (*left.parts[0], ("const", _data(left, right)), ("cmp", operator))
        elif left.kind == "address":
            code = self._compare_address(operator, left, right, column)
        else:
            code = self._compare_number(operator, left, right)
        if len(code) > MAX_INSTRUCTIONS:  # a comparison of comparisons, in a chain, is twice as long as what it compares
            raise WhereError("expression is too long", column)
        return code

    def inside(self, left: Node, right: Node, column: int) -> Code:
        """Return the program of ``in`` without a list: a text in another, an address in a network."""
        if isinstance(right, Value) and right.kind == "string":
            if isinstance(left, Literal):
                return (*right.parts[0], ("const", _data(right, left)), ("contains",))
            if left.kind == "string":
                return (*right.parts[0], *left.parts[0], ("contains",))
        if isinstance(left, Value) and left.kind == "address" and isinstance(right, Literal):
            return self.compare("==", left, right, column)
        raise WhereError("expected a list after in", right.column, 'write x in (1, 2), or "text" in x')

    def glob(self, left: Node, right: Node) -> Code:
        """Return the program of a match with a pattern."""
        if not isinstance(left, Value) or left.kind != "string":
            what = left.describe() if isinstance(left, Value) else "no member"
            raise WhereError(f"{left.text} is {what}, and only text has patterns", left.column)
        if not isinstance(right, Literal) or right.kind != "text":
            raise WhereError(f"expected a pattern in quotes, got {right.text}", right.column, 'for example comm =~ "ngin*"')
        if (len(right.text) - len(right.text.rstrip("\\"))) % 2:
            raise WhereError("pattern ends within an escape", right.column, r"a backslash in a pattern is \\\\")
        return (*left.parts[0], ("const", right.data), ("glob",))

    def mask(self, left: Node, right: Node) -> Value:
        """Return the bits that two numbers share."""
        if isinstance(left, Literal):
            if isinstance(right, Literal):
                raise self._no_member(right if right.kind == "name" else left)
            left, right = right, left
        for each in (left, right):
            if isinstance(each, Value) and each.kind != "int":
                raise WhereError(f"{each.text} is {each.describe()}, and & takes whole numbers", each.column)
        if isinstance(right, Literal):
            masks = _constants(left, self._whole(left, right), right)
        elif right.shape == left.shape:
            masks = right.parts
        else:
            raise WhereError(f"{left.text} and {right.text} are numbers of different sorts", right.column)
        parts = tuple((*part, *mask, ("bit_and",)) for part, mask in zip(left.parts, masks, strict=True))
        return left.replace(parts=parts, text=f"{left.text} & {right.text}", unit_ns=0)

    def _compare_address(self, operator: str, left: Value, right: Literal, column: int) -> Code:
        what, example, _ = _ADDRESSES[left.meaning]
        if operator not in ("==", "!="):
            raise WhereError(f"{left.text} is {what}, which has no {operator}", column, "use ==, != or in")
        found = read_address(left.meaning, right.text) if right.kind in ("address", "text") else None
        if found is None:
            raise WhereError(f"{left.text} is {what}, not {right.text!r}", right.column, f"for example {example}")
        codes = []
        size_bytes = len(found[0]) // len(left.parts)
        for at, part in enumerate(left.parts):
            place = slice(at * size_bytes, (at + 1) * size_bytes)
            address, mask = (int.from_bytes(each[place], self.byteorder) for each in found)
            masked = () if mask == (1 << size_bytes * 8) - 1 else (("const", mask), ("bit_and",))
            codes.append((*part, *masked, ("const", address), ("cmp", "==")))
        code = joined(codes, "and")
        return code if operator == "==" else negated(code)

    def _compare_number(self, operator: str, left: Value, right: Literal) -> Code:
        values = self._numbers(left, right)
        if len(values) == 1:
            return _compare_fraction(operator, left, *values[0], right)
        if operator not in ("==", "!="):
            raise WhereError(f"{right.text} is several numbers, which have no {operator}", right.column)
        code = joined([_compare_fraction("==", left, *value, right) for value in values], "or")
        return code if operator == "==" else negated(code)

    def _numbers(self, left: Value, right: Literal) -> list[tuple[int, int]]:
        """Return the numbers (numerator, denominator) that a literal may be beside a member; at least one."""
        numerator, denominator = right.number
        if right.kind == "flags":
            together = 0
            for part in right.parts:
                together |= self._whole(left, part)
            return [(together, 1)]
        if right.kind == "duration":
            if not left.unit_ns:
                hint = "its name does not end in _ns, _us, _ms or _s; give a plain number"
                raise WhereError(f"{left.text} has no unit of time to compare {right.text} in", right.column, hint)
            return [(numerator, denominator * left.unit_ns)]
        if right.kind == "size" and left.unit_ns:
            raise WhereError(f"{left.text} is a time, not a size such as {right.text}", right.column, "m is for minutes")
        if right.kind == "bool" and left.kind != "bool":
            raise WhereError(f"{left.text} is {left.describe()}, not true or false", right.column)
        if right.kind in ("name", "text", "address"):
            return [(value, 1) for value in self._named(left, right)]
        return [right.number]

    def _whole(self, left: Value, right: Literal) -> int:
        numerator, denominator = self._numbers(left, right)[0]
        if numerator % denominator:
            raise WhereError(f"{right.text} is no whole number", right.column)
        return numerator // denominator

    def _named(self, left: Value, right: Literal) -> list[int]:
        """Return the numbers that a name, a quoted text or ``8:1`` stands for beside a member."""
        op, text = left.op, right.text
        names: dict[str, list[int]] = {}
        for value, name in op.names if op is not None and op.code == "enum" else _names_of(left.meaning, self.arch).items():
            names.setdefault(name, []).append(value)
        if text in names:
            values = names[text]
            # Kernel functions return errors negated, programs often turn them round.
            return values if left.meaning != "errno" else sorted({*values, *(-value for value in values)})
        flags = [names[name][0] for name in text.split("|") if name in names]
        if op is not None and op.code == "enum" and len(flags) == text.count("|") + 1:  # as such a value is shown
            together = 0
            for flag in flags:
                together |= flag
            return [together]
        number = _written_number(left, text)
        if number is not None:
            return [number]
        if names:
            raise UnknownNameError(f"{left.text} is never {text!r}", right.column, _nearest(text, list(names), "it is one of"))
        if right.kind == "name":
            raise unknown_member(text, right.column, self.members)
        raise WhereError(f"{left.text} is {left.describe()}, not {text!r}", right.column)

    def _no_member(self, literal: Literal) -> WhereError:
        """Return the error of a literal where a member should be."""
        if literal.kind == "name":
            return unknown_member(literal.text, literal.column, self.members)
        return WhereError(f"{literal.text!r} is compared with no member", literal.column, f"members: {_listed(self.members)}")


def members_of(ops: Sequence[Op]) -> dict[str, tuple[Op, Sequence[Op]]]:
    """Return the operation and the body of each member at the top level of a list of operations, by name."""
    found = {}
    at = 0
    while at < len(ops):
        op = ops[at]
        found[op.name] = op, ops[at + 1 : at + 1 + op.body]
        at += 1 + op.body
    return found


def condition_value(first: Node, code: Code) -> Value:
    """Return a condition as a value; ``first`` is what it begins with."""
    return Value("bool", "the condition", first.column, (code,))


def joined(codes: Sequence[Code], word: str) -> Code:
    """Join conditions, at least one, by ``and`` or ``or``."""
    first, *others = codes
    return tuple(step for code in (first, *((*other, (word,)) for other in others)) for step in code)


def negated(code: Code) -> Code:
    """Return the opposite of a condition."""
    return (*code, ("not",))


def unknown_member(name: str, column: int, known: Iterable[str], struct: str = "") -> WhereError:
    """Return the error of a member that there is not, in the event or in one of its structs."""
    message = f"{struct} has no member {name!r}" if struct else f"unknown member {name!r}"
    return UnknownNameError(message, column, _nearest(name, list(known), "members:"))


def _refuse_aggregate(value: Value) -> None:
    if value.kind == "struct":
        names = [f"{value.text}.{name}" for name in members_of(value.body)]
        raise WhereError(f"{value.text} is a struct", value.column, f"name one of its members: {_listed(names)}")
    if value.kind == "array":
        raise WhereError(f"{value.text} is an array", value.column, f"name one of its elements: {value.text}[0]")


def _compare_members(operator: str, left: Value, right: Value, column: int) -> Code:
    _refuse_aggregate(right)
    if left.sort != right.sort:
        message = f"{left.text} is {left.describe()}, and {right.text} is {right.describe()}"
    elif left.kind == "address" and operator not in ("==", "!="):
        message = f"{left.text} is {left.describe()}, which has no {operator}"
    elif left.shape != right.shape:
        message = f"{left.text} and {right.text} are numbers of different sorts"
    elif left.unit_ns and right.unit_ns and left.unit_ns != right.unit_ns:
        message = f"{left.text} and {right.text} count in different units"
    else:
        return _ordered(operator, left.parts, right.parts)
    raise WhereError(message, column)


def _ordered(operator: str, left: Sequence[Code], right: Sequence[Code]) -> Code:
    """Compare values of one part or two, the most significant first."""
    if len(left) == 1:
        return (*left[0], *right[0], ("cmp", operator))
    high, low = (*left[0], *right[0]), (*left[1], *right[1])
    if operator in ("==", "!="):
        equal: Code = (*high, ("cmp", "=="), *low, ("cmp", "=="), ("and",))
        return equal if operator == "==" else negated(equal)
    return (*high, ("cmp", operator[0]), *high, ("cmp", "=="), *low, ("cmp", operator), ("and",), ("or",))


def _compare_fraction(operator: str, left: Value, numerator: int, denominator: int, literal: Literal) -> Code:
    """Compare a number with a fraction: exactly, or with the nearest double if it is a float."""
    quotient, rest = divmod(numerator, denominator)
    if left.kind == "float":
        try:
            return (*left.parts[0], ("const", numerator / denominator), ("cmp", operator))
        except OverflowError:
            raise WhereError(f"{literal.text} is too large", literal.column) from None
    if rest and operator in ("==", "!="):
        return (("const", int(operator == "!=")),)
    if rest:  # between two integers
        operator = {"<": "<=", ">=": ">"}.get(operator, operator)
    return _ordered(operator, left.parts, _constants(left, quotient, literal))


def _constants(left: Value, number: int, literal: Literal) -> tuple[Code, ...]:
    """Return a number as constants, one for each part of a value."""
    constants = (number,) if len(left.parts) == 1 else (number >> left.low_bits, number & (1 << left.low_bits) - 1)
    if not -(1 << 64) <= constants[0] < 1 << 64:
        raise WhereError(f"{literal.text} is too large for {left.text}", literal.column)
    return tuple((("const", constant),) for constant in constants)


def _data(value: Value, literal: Literal) -> bytes:
    """Return the bytes of a text that stands beside a member that is text."""
    if literal.kind == "text":
        return literal.data
    hint = f'quote text: "{literal.text}"'
    if literal.kind == "name":
        raise UnknownNameError(f"unknown member {literal.text!r}", literal.column, hint)
    raise WhereError(f"{value.text} is text, not {literal.text}", literal.column, hint)


def _written_number(value: Value, text: str) -> int | None:
    """Return the number behind the text that a pointer or a device is shown as, if it is that."""
    if value.meaning == "dev":
        return read_device(text)
    if value.op is not None and value.op.code == "pointer" and text.startswith("0x"):
        try:
            return int(text, 16)
        except ValueError:
            return None
    return None


def _names_of(meaning: str, arch: str) -> Mapping[int, str]:
    if meaning not in _NAMED:
        return {}
    from ecli_runtime.decode.names import names_of

    return names_of(meaning, arch)


def _nearest(name: str, known: Sequence[str], what: str) -> str:
    from difflib import get_close_matches

    near = get_close_matches(name, known, n=1) or [each for each in known if each.lower() == name.lower()]
    if near:
        return f"did you mean {near[0]}?"
    return f"{what} {_listed(known)}" if any(known) else ""


def _listed(names: Iterable[str], most: int = 12) -> str:
    names = list(names)
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
