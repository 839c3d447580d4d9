"""A package's event types as a C header for WebAssembly: the layout of the kernel, where pointers and ``long`` have 8 bytes.

All members have types of fixed size, gaps are members, and static assertions hold each offset to what BTF says. The names in a
package may be anything, so whatever is no identifier is made one.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from ecli_runtime.btf import Array, Btf, Composite, Enum, Float, Int, Pointer, Typedef
from ecli_runtime.decode.plan import MAX_DEPTH
from ecli_runtime.errors import BtfError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ecli_runtime.stream import Source, TypeRef

# C23, and what other words in a header mean.
_KEYWORDS = frozenset(
    (
        *(
            "alignas",
            "alignof",
            "asm",
            "auto",
            "bool",
            "break",
            "case",
            "char",
            "const",
            "constexpr",
            "continue",
            "default",
            "do",
        ),
        *("double", "else", "enum", "extern", "false", "float", "for", "goto", "if", "inline", "int", "long", "nullptr"),
        *("register", "restrict", "return", "short", "signed", "sizeof", "static", "static_assert", "struct", "switch"),
        *("thread_local", "true", "typedef", "typeof", "typeof_unqual", "union", "unsigned", "void", "volatile", "while"),
    )
)
_MAX_ENUMERATORS = 4096


def events_header(package_name: str, btf: Btf, sources: Sequence[Source]) -> str:
    """Return the header for handlers of a package.

    Args:
        package_name: For a comment.
        btf: The object's types.
        sources: The maps that events come from; types are numbered in their order.

    Raises:
        BtfError: A type is malformed.
    """
    writer = _Writer(btf)
    numbers: dict[str, int] = {}
    number = 0
    for source in (source for source in sources if not source.lines):
        names = writer.source(source)
        for name in names:
            constant = f"ECLI_TYPE_{name}".upper()
            while constant in numbers:
                constant += "_"
            numbers[constant] = number
            number += 1
    guard = f"ECLI_EVENTS_{identifier(package_name).upper()}_H"
    listed = "".join(f"\t{name} = {value},\n" for name, value in numbers.items())
    types = f"/* The types of events, as ecli_event() is given them. */\nenum {{\n{listed}}};\n\n" if numbers else ""
    made = (
        f"/* The event types of {identifier(package_name)}, as the kernel lays them out. Made from the package; do not edit. */\n"
    )
    return f'{made}#ifndef {guard}\n#define {guard}\n\n#include "ecli_handler.h"\n\n{types}{writer.text()}#endif\n'


def identifier(name: str) -> str:
    """Return a name that C takes, the same for one that it takes already."""
    made = re.sub(r"[^A-Za-z0-9_]", "_", name) or "_"
    return made + "_" if made in _KEYWORDS else f"_{made}" if made[0].isdigit() else made


class _Field(NamedTuple):
    """A member to be: offset and size in bits, whether it is a bitfield, and the declaration without the semicolon."""

    name: str
    bit_offset: int
    bit_size: int
    is_bits: bool
    text: str


class _Writer:
    def __init__(self, btf: Btf) -> None:
        self._btf = btf
        self._blocks: list[str] = []
        self._names: dict[tuple[int, str], str] = {}  # of structs that have been written, by id
        self._taken: set[str] = set()
        self._enumerators: set[str] = set()

    def text(self) -> str:
        return "".join(f"{block}\n" for block in self._blocks)

    def source(self, source: Source) -> list[str]:
        """Write the types of a source, and return the names of what it has, one for each number."""
        if source.sample is not None:
            if source.types:
                self._entry(source, source.types)
            return [f"{identifier(source.name)}_entry"]
        if not source.types:
            return [identifier(source.name)]
        return [self._event(source, ref) for ref in source.types]

    def _event(self, source: Source, ref: TypeRef) -> str:
        if ref.members:
            members = [(name, type_id, offset * 8, 0) for name, type_id, offset in ref.members]
            end = max((offset + self._btf.size_bytes(type_id) for _name, type_id, offset in ref.members), default=0)
            return self._named(f"{identifier(source.name)}_event", members, end)
        named = self._btf.type(ref.type_id)
        bare_id, bare = self._btf.resolve(ref.type_id)
        if isinstance(bare, Composite):
            name = bare.name or (named.name if isinstance(named, Typedef) else f"{source.name}_event")
            return self._composite(bare_id, bare, name)
        name = f"{identifier(source.name)}_event"
        return self._named(name, [("value", ref.type_id, 0, 0)], self._btf.size_bytes(ref.type_id))

    def _entry(self, source: Source, types: Sequence[TypeRef]) -> None:
        """Write an entry of a map that is read: its key, padded to 8 bytes, and its value, or one for each CPU.

        Global variables that are read are a value without a key.
        """
        key, value = types
        name = identifier(source.name)
        key_size = self._btf.size_bytes(key.type_id) if key.type_id else 0
        start = (key_size + 7) & ~7
        fields = [self._field("key", key.type_id, 0, 0, 1)] if key_size else []
        if value.members:
            members = [(member, type_id, offset * 8, 0) for member, type_id, offset in value.members]
            made = self._named(f"{name}_value", members, source.value_size_bytes)
            fields.append(_Field("value", start * 8, source.value_size_bytes * 8, False, f"struct {made} value"))
        elif source.per_cpu:
            size = (self._btf.size_bytes(value.type_id) + 7) & ~7
            each = self._named(f"{name}_value", [("value", value.type_id, 0, 0)], size)
            fields.append(_Field("cpus", start * 8, 0, False, f"struct {each} cpus[]"))
        else:
            fields.append(self._field("value", value.type_id, start * 8, 0, 1))
        last = fields[-1]
        self._struct("struct", self._unused(f"{name}_entry"), fields, (last.bit_offset + last.bit_size) // 8)

    def _unused(self, name: str) -> str:
        while name in self._taken:
            name += "_"
        self._taken.add(name)
        return name

    def _composite(self, type_id: int, bare: Composite, name: str) -> str:
        """Write a struct or union that has a name, once, and return the name."""
        key = type_id, name
        if key not in self._names:
            fields = [self._field(m.name, m.type_id, m.bit_offset, m.bit_size, 1) for m in bare.members]
            self._names[key] = made = self._unused(identifier(name))
            self._struct(bare.keyword, made, fields, bare.size_bytes)
        return self._names[key]

    def _named(self, name: str, members: Iterable[tuple[str, int, int, int]], size_bytes: int) -> str:
        fields = [self._field(*member, 1) for member in members]
        made = self._unused(name)
        self._struct("struct", made, fields, size_bytes)
        return made

    def _struct(self, keyword: str, name: str, fields: Sequence[_Field], size_bytes: int) -> None:
        lines = [f"{keyword} {name} {{", *self._body(keyword, fields, size_bytes, "\t"), "} __attribute__((packed));"]
        whole = f"{keyword} {name}"
        lines.append(f'_Static_assert(sizeof({whole}) == {size_bytes}, "size of {name}");')
        for field in fields:
            if field.name and not field.is_bits:
                offset = f"__builtin_offsetof({whole}, {field.name})"
                lines.append(f'_Static_assert({offset} == {field.bit_offset // 8}, "offset of {field.name}");')
        self._blocks.append("\n".join(lines) + "\n")

    def _body(self, keyword: str, fields: Sequence[_Field], size_bytes: int, indent: str) -> list[str]:
        if keyword == "union":
            lines = [f"{indent}{field.text};" for field in fields]
            return [*lines, f"{indent}ecli_u8 _bytes[{size_bytes}];"] if size_bytes else lines
        lines, at = [], 0
        for field in sorted(fields, key=lambda each: each.bit_offset):
            if field.bit_offset < at:
                raise BtfError("members of a struct overlap")
            lines += _gap(at, field.bit_offset, indent)
            lines.append(f"{indent}{field.text};")
            at = field.bit_offset + field.bit_size
        return [*lines, *_gap(at, size_bytes * 8, indent)]

    def _field(self, name: str, type_id: int, bit_offset: int, bit_size: int, depth: int) -> _Field:
        if depth > MAX_DEPTH:
            raise BtfError(f"types nest more than {MAX_DEPTH} deep")
        name = identifier(name) if name else ""
        if bit_size:
            _, bare = self._btf.resolve(type_id)
            word = self._scalar(bare, self._btf.size_bytes(type_id)) or "ecli_u64"
            return _Field(name, bit_offset, bit_size, True, f"{word} {name or ''} : {bit_size}")
        counts, size = "", self._btf.size_bytes(type_id)
        inner_id, inner = self._btf.resolve(type_id)
        named = self._btf.type(type_id)
        while isinstance(inner, Array):
            counts += f"[{inner.count or ''}]" if not counts else f"[{inner.count}]"
            named = self._btf.type(inner.element)
            inner_id, inner = self._btf.resolve(inner.element)
        size_of_one = self._btf.size_bytes(inner_id)
        if isinstance(inner, Composite):
            return _Field(name, bit_offset, size * 8, False, self._nested(name, inner_id, inner, named, counts, depth))
        scalar = self._scalar(inner, size_of_one)
        if scalar is None:  # of no size that C has
            counts += f"[{size_of_one}]"
        word = scalar or "ecli_u8"
        return _Field(name, bit_offset, size * 8, False, f"{word} {name}{counts}")

    def _nested(self, name: str, type_id: int, inner: Composite, named: object, counts: str, depth: int) -> str:
        tag = inner.name or (named.name if isinstance(named, Typedef) else "")
        if tag:
            return f"{inner.keyword} {self._composite(type_id, inner, tag)} {name}{counts}"
        fields = [self._field(m.name, m.type_id, m.bit_offset, m.bit_size, depth + 1) for m in inner.members]
        indent = "\t" * (depth + 1)
        body = "\n".join(self._body(inner.keyword, fields, inner.size_bytes, indent))
        return f"{inner.keyword} {{\n{body}\n{indent[1:]}}} __attribute__((packed)) {name}{counts}".rstrip()

    def _scalar(self, bare: object, size: int) -> str | None:
        """Return the type of a member of some size; ``None`` where C has none."""
        if isinstance(bare, Enum):
            self._enum(bare)
        if isinstance(bare, Float):
            return {4: "float", 8: "double"}.get(size)
        if isinstance(bare, Int) and bare.size_bytes == 1 and bare.name in ("char", "signed char"):
            return "char" if bare.name == "char" else "ecli_s8"
        if isinstance(bare, (Int, Enum, Pointer)) and size in (1, 2, 4, 8):
            signed = isinstance(bare, (Int, Enum)) and bare.signed
            return f"ecli_{'s' if signed else 'u'}{size * 8}"
        return None

    def _enum(self, enum: Enum) -> None:
        lines = []
        for raw_name, value in enum.enumerators[:_MAX_ENUMERATORS]:
            name = identifier(raw_name)
            if name not in self._enumerators:
                self._enumerators.add(name)
                text = f"(-{2**63 - 1}LL - 1)" if value == -(2**63) else f"{value}{'ULL' if value >= 2**63 else ''}"
                lines.append(f"\t{name} = {text},")
        if lines:
            comment = f" /* enum {identifier(enum.name)} */" if enum.name else ""
            self._blocks.append("\n".join([f"enum {{{comment}", *lines, "};"]) + "\n")


def _gap(start: int, end: int, indent: str) -> list[str]:
    """Return members for the bits between two positions."""
    lines = []
    if start < end and start % 8:
        step = min(end, (start + 7) & ~7) - start
        lines.append(f"{indent}ecli_u8 : {step};")
        start += step
    if (end - start) // 8:
        lines.append(f"{indent}ecli_u8 _gap_{start // 8}[{(end - start) // 8}];")
        start += (end - start) // 8 * 8
    if start < end:
        lines.append(f"{indent}ecli_u8 : {end - start};")
    return lines
