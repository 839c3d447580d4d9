"""Line programs: what to write for one sample, as a flat list of instructions that both backends follow.

A plan says where the values are, a style which of them are shown and how. What depends on these two alone is settled here,
once: names, quotes, escapes of names, tables, alignment. What is left is literal text, values, loops and cells. Instructions
are in pre-order: a loop and a cell say how many of those after them are their body. Offsets inside a loop's body count from
the start of the element, all others from the start of the sample.
"""

from __future__ import annotations

from ecli_runtime.decode.escapes import ESCAPES, JSON, RAW, SHOWN_JSON, TEXT
from ecli_runtime.decode.meaning import STACK_MEANINGS
from ecli_runtime.decode.plan import flag_names, flattened
from ecli_schemas.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Literal, TypeAlias

    from ecli_runtime.decode.escapes import Escape
    from ecli_runtime.decode.plan import Op, Plan
    from ecli_runtime.decode.where import Predicate

    # fmt: off
    Kind: TypeAlias = Literal[
        "int", "hex", "bool", "float", "names", "flags", "string",
        "duration", "time", "bytes", "dev", "port", "ipv4", "ipv6", "mac", "symbol", "stack",
    ]
    # fmt: on
    Instruction: TypeAlias = "Text | Value | Loop | Cell"

NS_PER_DAY = 86_400 * 10**9
_UNITS_NS = {"ns": 1, "us": 1000, "ms": 10**6, "s": 10**9}
_TABLES = frozenset(("errno", "signal", "uid", "gid", "syscall"))
# Meanings and the kinds of instructions that show them: in all styles as text, in columns only.
_ADDRESSES: dict[str, Kind] = {"ipv4": "ipv4", "ipv6": "ipv6", "mac": "mac"}
_SHOWN: dict[str, Kind] = {"bytes": "bytes", "dev": "dev", "ksym": "symbol"}


class Style(Record):
    """How lines look.

    Attributes:
        kind: JSON lines, columns of text, CSV.
        fields: Names of members in the order wanted, of members of structs as ``head.pid``; ``None``: all at the top level.
        widths: Of text: code points of each chosen column, 0 for no padding. Too few: no padding for the rest.
        cut: Of text: what is longer than its column loses its middle.
        tags: Of JSON and CSV: (name, text) of members that come first.
        clock_offset_ns: What to add to CLOCK_MONOTONIC for nanoseconds since 1970.
        boot_offset_ns: The same for CLOCK_BOOTTIME.
        utc_offset_s: What to add to UTC for local time.
        arch: Machine of the samples, for numbers of system calls.
        stacks: Members that are stack traces are shown with names; in text they are no columns but lines below.
    """

    kind: Literal["json", "text", "csv"]
    fields: tuple[str, ...] | None = None
    widths: tuple[int, ...] = ()
    cut: bool = False
    tags: tuple[tuple[str, str], ...] = ()
    clock_offset_ns: int = 0
    boot_offset_ns: int = 0
    utc_offset_s: int = 0
    arch: str = ""
    stacks: bool = False


class Text(Record):
    """Write bytes as they are."""

    text: bytes


class Value(Record):
    """Write one value of the sample.

    Attributes:
        kind: How it is read and written. ``hex`` are digits without prefix, ``port`` is in network order, as are the bytes of
            addresses. ``names`` looks a number up in a table, ``symbol`` and ``stack`` ask the host.
        bit_offset: Where it starts.
        bit_size: Its width; of a ``string`` 0: up to the end of the payload.
        signed: Of numbers.
        escape: Of ``string`` and ``stack``: how characters are written. Of ``float``: whether NaN and infinity are null.
        table: Of ``names`` and ``flags``: (value, what is written for it), by value. Other values are written as numbers.
        bits: Of ``flags``: (bit, name), lowest bit first, for values that are made of nothing else.
        quote: Of ``flags``: what stands before and after the names.
        unit_ns: Of ``duration`` and ``time``.
        offset_ns: Of ``time``: what makes local time of it, below a day.
    """

    kind: Kind
    bit_offset: int
    bit_size: int
    signed: bool = False
    escape: Escape = RAW
    table: tuple[tuple[int, bytes], ...] = ()
    bits: tuple[tuple[int, bytes], ...] = ()
    quote: bytes = b""
    unit_ns: int = 1
    offset_ns: int = 0


class Loop(Record):
    """Write the body for each element of an array, with commas between them.

    Attributes:
        byte_offset: Where the first element starts.
        count: Of elements; ``None``: as many as there are whole ones up to the end of the payload.
        stride: Bytes from element to element.
        body: Number of instructions after this one that write an element.
    """

    byte_offset: int
    count: int | None
    stride: int
    body: int


class Cell(Record):
    """Write the body as one cell.

    Attributes:
        width: Code points up to which blanks are added; 0: none are.
        right: They are added before the text, else after it.
        limit: Code points that a text keeps that is longer; 0: all.
        quoted: The cell is CSV that may need quotes.
        body: Number of instructions after this one that write the text.
    """

    width: int = 0
    right: bool = False
    limit: int = 0
    quoted: bool = False
    body: int = 0


class LineProgram(Record):
    """What to write for one sample.

    Attributes:
        byteorder: Of numbers in the sample.
        code: The instructions. They end before the line feed.
        stripped: The line may end in blanks, which are removed.
        portable: It can be followed without asking the host, and with a stack of few values.
        where: Which samples are shown; ``None``: all.
    """

    byteorder: Literal["little", "big"]
    code: tuple[Instruction, ...]
    stripped: bool = False
    portable: bool = True
    where: Predicate | None = None


def make_program(plan: Plan, style: Style, where: Predicate | None = None) -> LineProgram:
    """Derive the program that writes samples of a plan's type in a style."""
    builder = _Builder(style)
    chosen = _chosen(plan, style.fields)
    stripped = False
    if style.kind == "json":
        builder.json_line(chosen)
    elif style.kind == "csv":
        builder.csv_line(chosen)
    else:
        builder.text_line(chosen)
        # Numbers, addresses and brackets end in no blank; names and strings may.
        chosen = _columns(chosen, style)
        stripped = not chosen or chosen[-1][0].code in ("string", "enum") or chosen[-1][0].meaning in (*_TABLES, "ksym")
    code = tuple(builder.code)
    portable = not any(isinstance(each, Value) and each.kind in ("symbol", "stack") for each in code)
    return LineProgram(plan.byteorder, code, stripped, portable, where)


# The most that a value takes whose text is not bounded by its own size: 128 bits in decimal, a double, an address.
_MAX_VALUE_BYTES = 48
_MAX_ESCAPE_BYTES = 6  # \u0000


def longest_value(value: Value, length: int = 0) -> int:
    """Return a bound of the bytes that a value is written with, for payloads of a length."""
    if value.kind == "string":
        return (value.bit_size // 8 or length) * _MAX_ESCAPE_BYTES
    longest = max([len(text) for _value, text in value.table], default=0)
    return max(_MAX_VALUE_BYTES, longest, sum(len(text) + 1 for _bit, text in value.bits) + 2)


def heading(plan: Plan, style: Style) -> bytes:
    """Return the line above the columns of text, or above CSV, without the line feed; nothing for JSON."""
    chosen = [op for op, _body in _columns(_chosen(plan, style.fields), style)]
    if style.kind == "csv":
        return b",".join(csv_cell(name.encode()) for name in (*(tag for tag, _text in style.tags), *(op.name for op in chosen)))
    if style.kind == "json":
        return b""
    widths = (*style.widths, *[0] * len(chosen))
    names = [ESCAPES[TEXT](op.name.upper()).decode() for op in chosen]
    rights = [_is_right(op) for op in chosen]
    cells = [name.rjust(width) if right else name.ljust(width) for name, width, right in zip(names, widths, rights, strict=False)]
    return "  ".join(cells).rstrip().encode()


def default_widths(plan: Plan, fields: tuple[str, ...] | None = None) -> tuple[int, ...]:
    """Return widths that suit what such members usually hold, those of the headings at least; 0 for nested members."""
    return tuple(_width(op) and max(_width(op), len(op.name)) for op, _body in _chosen(plan, fields))


def fit(widths: Sequence[int], plan: Plan, terminal_columns: int, fields: tuple[str, ...] | None = None) -> tuple[int, ...]:
    """Return widths with which lines fit a terminal, as far as its strings can shrink; a string at the end gets the rest."""
    fitted = list(widths)
    chosen = [op for op, _body in _chosen(plan, fields)]
    left = terminal_columns - sum(fitted) - 2 * (len(fitted) - 1)
    least = {index: max(8, len(op.name)) for index, op in enumerate(chosen) if op.code == "string" and fitted[index]}
    while left < 0:
        widest = max((index for index in least if fitted[index] > least[index]), key=lambda index: fitted[index], default=None)
        if widest is None:
            break
        fitted[widest] -= 1
        left += 1
    if left > 0 and len(fitted) - 1 in least:
        fitted[-1] += left
    return tuple(fitted)


_INT_WIDTHS = ((8, 4), (16, 6), (32, 7))
# fmt: off
_MEANING_WIDTHS = {
    "ipv4": 15, "ipv6": 25, "port_be": 5, "mac": 17, "errno": 12, "signal": 9, "uid": 8, "gid": 8, "dev": 7, "syscall": 16,
    "bytes": 9, "ksym": 24, "kernel_stack": 0, "user_stack": 0,
}
# fmt: on


def _width(op: Op) -> int:
    if op.meaning:
        kind = op.meaning.partition("_")[0]
        return {"duration": 7, "time": 15, "boottime": 15}.get(kind) or _MEANING_WIDTHS[op.meaning]
    if op.code == "int":
        return next((width for bits, width in _INT_WIDTHS if op.bit_size <= bits), 12)
    if op.code == "string":
        return min(op.bit_size // 8 - 1, 32) if op.bit_size > 8 else 32 if not op.bit_size else 1
    if op.code == "enum":
        return min(max((len(name) for _value, name in op.names), default=0), 24) or 4
    return {"bool": 5, "float": 12, "pointer": 18}.get(op.code, 0)


def _members(ops: Sequence[Op]) -> dict[str, tuple[Op, Sequence[Op]]]:
    """Return the operations at the top level with their bodies, by name: of two members of one name the last, as in a dict."""
    found = {}
    at = 0
    while at < len(ops):
        end = at + 1 + ops[at].body
        found[ops[at].name] = ops[at], ops[at + 1 : end]
        at = end
    return found


def _chosen(plan: Plan, fields: tuple[str, ...] | None) -> list[tuple[Op, Sequence[Op]]]:
    members = _members(plan.ops)
    if fields is None:
        return list(members.values())
    if not members.keys() >= set(fields):  # members of members
        members = {**_members(flattened(plan).ops), **members}
    return [members[name] for name in fields]


def _columns(chosen: list[tuple[Op, Sequence[Op]]], style: Style) -> list[tuple[Op, Sequence[Op]]]:
    """Return the members that are in the line itself."""
    below = style.stacks and style.kind == "text"
    return [each for each in chosen if not (below and each[0].meaning in STACK_MEANINGS)]


class _Builder:
    """Collects instructions; texts that follow each other become one."""

    def __init__(self, style: Style) -> None:
        self.style = style
        self.code: list[Instruction] = []
        self._pending = b""

    def text(self, text: bytes) -> None:
        self._pending += text

    def add(self, instruction: Instruction) -> int:
        """Append an instruction; return its index."""
        self._flush()
        self.code.append(instruction)
        return len(self.code) - 1

    def _flush(self) -> None:
        if self._pending:
            self.code.append(Text(self._pending))
            self._pending = b""

    def close(self, at: int) -> None:
        """End the body of the loop or cell at an index."""
        self._flush()
        self.code[at] = self.code[at].replace(body=len(self.code) - at - 1)

    def json_line(self, members: list[tuple[Op, Sequence[Op]]]) -> None:
        quote = ESCAPES[JSON]
        self.text(b"{" + b",".join(b'"%b":"%b"' % (quote(name), quote(text)) for name, text in self.style.tags))
        separator = b"," if self.style.tags else b""
        self._object(members, JSON, separator)
        self.text(b"}")
        self._flush()

    def csv_line(self, members: list[tuple[Op, Sequence[Op]]]) -> None:
        self.text(b",".join(csv_cell(text.encode("utf-8", "replace")) for _name, text in self.style.tags))
        separator = b"," if self.style.tags else b""
        for op, body in members:
            self.text(separator)
            separator = b","
            is_nested = op.code in ("struct", "array") and (not op.meaning or op.meaning in STACK_MEANINGS)
            if is_nested or op.code in ("string", "enum") or (self.style.stacks and op.meaning in STACK_MEANINGS):
                at = self.add(Cell(quoted=True))
                self._value(op, body, RAW, JSON)
                self.close(at)
            else:
                self._value(op, body, RAW, JSON)
        self._flush()

    def text_line(self, members: list[tuple[Op, Sequence[Op]]]) -> None:
        columns = _columns(members, self.style)
        for index, (op, body) in enumerate(columns):
            self.text(b"  " if index else b"")
            width = self.style.widths[index] if index < len(self.style.widths) else 0
            right = _is_right(op)
            # What is not cut needs no blanks at the end of the line.
            cell = Cell(width if right or index < len(columns) - 1 else 0, right, width if self.style.cut and not right else 0)
            if not cell.width and not cell.limit:
                self._value(op, body, TEXT, SHOWN_JSON)
            else:
                at = self.add(cell)
                self._value(op, body, TEXT, SHOWN_JSON)
                self.close(at)
        for op, body in members if len(columns) < len(members) else ():
            if op.meaning in STACK_MEANINGS:
                self._value(op, body, TEXT, SHOWN_JSON)
        self._flush()

    def _object(self, members: Iterable[tuple[Op, Sequence[Op]]], escape: Escape, separator: bytes = b"") -> None:
        for op, body in members:
            self.text(b'%b"%b":' % (separator, ESCAPES[escape](op.name)))
            self._value(op, body, escape, escape)
            separator = b","

    def _value(self, op: Op, body: Sequence[Op], escape: Escape, nested: Escape) -> None:
        """Write a value: as JSON (with one of its two escapes) or as a cell, what is in it with another escape."""
        is_json = escape in (JSON, SHOWN_JSON)
        quote = b'"' if is_json else b""
        if self.style.stacks and op.meaning in STACK_MEANINGS:
            self.add(Value("stack", op.bit_offset, op.bit_size, escape=escape))
            return
        if op.meaning and (not is_json or op.meaning in (*_ADDRESSES, "port_be")) and self._meaning(op, escape, quote):
            return
        if op.code == "struct":
            self.text(b"{")
            self._object(_members(body).values(), nested)
            self.text(b"}")
        elif op.code == "array":
            self.text(b"[")
            stride = op.stride_bits // 8
            count = op.count if op.count is not None or stride else 0
            if count != 0:
                at = self.add(Loop(op.bit_offset // 8, count, stride, 0))
                self._value(body[0], body[1:], nested, nested)
                self.close(at)
            self.text(b"]")
        elif op.code == "string":
            self.text(quote)
            self.add(Value("string", op.bit_offset, op.bit_size, escape=escape))
            self.text(quote)
        elif op.code == "enum":
            self._enum(op, escape, quote)
        elif op.code == "pointer":
            self.text(quote + b"0x")
            self.add(Value("hex", op.bit_offset, op.bit_size))
            self.text(quote)
        else:
            self.add(Value(op.code, op.bit_offset, op.bit_size, op.signed, escape))

    def _enum(self, op: Op, escape: Escape, quote: bytes) -> None:
        names: dict[int, str] = {}
        for value, name in op.names:
            names.setdefault(value, name)
        self._named(op, names, escape, quote, flag_names(op))

    def _named(
        self, op: Op, names: dict[int, str], escape: Escape, quote: bytes, flags: tuple[tuple[int, str], ...] = ()
    ) -> None:
        """Write a number as its name, if it has one. In a cell an empty name would look like nothing at all."""
        low, high = (-(1 << op.bit_size - 1), 1 << op.bit_size - 1) if op.signed else (0, 1 << op.bit_size)
        table = tuple(
            (value, quote + ESCAPES[escape](names[value]) + quote)
            for value in sorted(names)
            if low <= value < high and (quote or names[value])
        )
        bits = tuple((bit, ESCAPES[escape](name)) for bit, name in flags if quote or name)
        kind: Kind = "flags" if bits else "names"
        self.add(Value(kind, op.bit_offset, op.bit_size, op.signed, table=table, bits=bits, quote=quote))

    def _meaning(self, op: Op, escape: Escape, quote: bytes) -> bool:
        """Write a value by its meaning, if this style has another text for it than the plain value."""
        meaning, place = op.meaning, (op.bit_offset, op.bit_size)
        kind, _, unit = meaning.partition("_")
        if meaning in _ADDRESSES:
            self.text(quote)
            self.add(Value(_ADDRESSES[meaning], *place))
            self.text(quote)
        elif meaning == "port_be":
            self.add(Value("port", *place))
        elif escape != TEXT or op.bit_size > 64:
            return False
        elif kind == "duration":
            self.add(Value("duration", *place, op.signed, unit_ns=_UNITS_NS[unit]))
        elif kind in ("time", "boottime"):
            clock_ns = self.style.clock_offset_ns if kind == "time" else self.style.boot_offset_ns
            offset_ns = (clock_ns + self.style.utc_offset_s * 10**9) % NS_PER_DAY
            self.add(Value("time", *place, op.signed, unit_ns=_UNITS_NS[unit], offset_ns=offset_ns))
        elif meaning in _TABLES:
            self._named(op, _table(meaning, self.style.arch), escape, quote)
        elif meaning in _SHOWN:
            self.add(Value(_SHOWN[meaning], *place, op.signed))
        else:
            return False
        return True


def _is_right(op: Op) -> bool:
    if op.meaning:
        return op.meaning in ("bytes", "port_be") or op.meaning.startswith("duration_")
    return op.code in ("int", "float")


def _table(meaning: str, arch: str) -> dict[int, str]:
    from ecli_runtime.decode.names import names_of

    names = dict(names_of(meaning, arch))
    if meaning == "errno":  # the kernel returns it negative
        names.update({-number: name for number, name in names.items() if number > 0})
    return names


def csv_cell(text: bytes) -> bytes:
    """Return a cell of RFC 4180."""
    special = b'"' in text or b"," in text or b"\n" in text or b"\r" in text
    return b'"%b"' % text.replace(b'"', b'""') if special else text
