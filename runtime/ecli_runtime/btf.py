"""BTF, the kernel's type format: ``.BTF`` bytes in, types out (Documentation/bpf/btf.rst, include/uapi/linux/btf.h).

Types are decoded when they are asked for: an event needs a dozen out of the hundreds that an object has.
"""

from __future__ import annotations

import struct

from ecli_runtime.errors import BtfError
from ecli_schemas.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Literal, TypeAlias

MAGIC = 0xEB9F
MAX_RESOLVE_DEPTH = 32  # libbpf's MAX_RESOLVE_DEPTH (btf.c)


class Void(Record):
    """Type 0: no value."""


class Int(Record):
    """An integer; ``bool`` and ``char`` too.

    Attributes:
        size_bytes: Storage size.
        bit_count: Bits of value; fewer than the storage only in BTF that describes bitfields the old way.
        bit_offset: Where the value starts in the storage, the old way too.
    """

    name: str
    size_bytes: int
    signed: bool
    boolean: bool
    bit_count: int
    bit_offset: int


class Float(Record):
    """``float`` (4 bytes), ``double`` (8), ``long double`` (10 to 16)."""

    name: str
    size_bytes: int


class Pointer(Record):
    """A pointer; 8 bytes in every BPF object."""

    target: int


class Array(Record):
    """``element[count]``; a flexible array member has count 0."""

    element: int
    count: int


class Member(Record):
    """Member of a struct or union.

    Attributes:
        name: Empty for an anonymous struct or union.
        type_id: Its type.
        bit_offset: From the start of the struct.
        bit_size: Width of a bitfield; 0 when it is none.
    """

    name: str
    type_id: int
    bit_offset: int
    bit_size: int


class Composite(Record):
    """A struct or union.

    Attributes:
        keyword: ``struct`` or ``union``.
    """

    keyword: Literal["struct", "union"]
    name: str
    size_bytes: int
    members: tuple[Member, ...]


class Enum(Record):
    """An enum of 1 to 8 bytes; ``BTF_KIND_ENUM64`` too. Values are signed when the enum is."""

    name: str
    size_bytes: int
    signed: bool
    enumerators: tuple[tuple[str, int], ...]


class Forward(Record):
    """A struct or union that was declared and never defined."""

    keyword: Literal["struct", "union"]
    name: str


class Typedef(Record):
    """``typedef target name``."""

    name: str
    target: int


class Qualifier(Record):
    """``const``, ``volatile``, ``restrict``, or a type tag (``name`` is the tag, else empty)."""

    keyword: Literal["const", "volatile", "restrict", "type_tag"]
    name: str
    target: int


class Func(Record):
    """A function; ``linkage`` is 0 static, 1 global, 2 extern."""

    name: str
    proto: int
    linkage: int


class FuncProto(Record):
    """A function's type: return type and (name, type id) of each parameter."""

    result: int
    parameters: tuple[tuple[str, int], ...]


class Var(Record):
    """A global variable; ``linkage`` is 0 static, 1 global, 2 extern."""

    name: str
    type_id: int
    linkage: int


class SectionVar(Record):
    """Where a data section holds a variable: ``type_id`` is that of the :class:`Var`."""

    type_id: int
    byte_offset: int
    size_bytes: int


class DataSection(Record):
    """A data section, ``.maps`` and ``license`` included. Offsets are right once libbpf has opened the object."""

    name: str
    size_bytes: int
    variables: tuple[SectionVar, ...]


class DeclTag(Record):
    """``__attribute__((btf_decl_tag("name")))`` on a type, member or parameter (``component``; -1: the whole)."""

    name: str
    target: int
    component: int


if TYPE_CHECKING:
    Type: TypeAlias = (
        "Void | Int | Float | Pointer | Array | Composite | Enum | Forward | Typedef | Qualifier | Func | FuncProto | Var"
        " | DataSection | DeclTag"
    )
    # What remains when typedefs and qualifiers are taken off.
    Bare: TypeAlias = (
        "Void | Int | Float | Pointer | Array | Composite | Enum | Forward | Func | FuncProto | Var | DataSection | DeclTag"
    )

# enum of include/uapi/linux/btf.h
(
    KIND_UNKN,
    KIND_INT,
    KIND_PTR,
    KIND_ARRAY,
    KIND_STRUCT,
    KIND_UNION,
    KIND_ENUM,
    KIND_FWD,
    KIND_TYPEDEF,
    KIND_VOLATILE,
    KIND_CONST,
    KIND_RESTRICT,
    KIND_FUNC,
    KIND_FUNC_PROTO,
    KIND_VAR,
    KIND_DATASEC,
    KIND_FLOAT,
    KIND_DECL_TAG,
    KIND_TYPE_TAG,
    KIND_ENUM64,
) = range(20)

# Bytes after the 12 of struct btf_type: a fixed part, and a part for each of its vlen entries.
_FIXED = {KIND_INT: 4, KIND_ARRAY: 12, KIND_VAR: 4, KIND_DECL_TAG: 4}
_PER_ENTRY = {KIND_STRUCT: 12, KIND_UNION: 12, KIND_ENUM: 8, KIND_FUNC_PROTO: 8, KIND_DATASEC: 12, KIND_ENUM64: 12}
_REFERRING = frozenset((KIND_PTR, KIND_TYPEDEF, KIND_VOLATILE, KIND_CONST, KIND_RESTRICT, KIND_FUNC, KIND_VAR))
_REFERRING |= {KIND_DECL_TAG, KIND_TYPE_TAG}
_QUALIFIERS = {KIND_VOLATILE: "volatile", KIND_CONST: "const", KIND_RESTRICT: "restrict", KIND_TYPE_TAG: "type_tag"}


class Btf:
    """The types of one object, by id.

    Args:
        raw: A whole ``.BTF`` section.

    Attributes:
        byteorder: Of the object.
        types_at: Where the types begin in the section, in bytes.

    Raises:
        BtfError: It is malformed. Single types are checked when they are decoded.
    """

    def __init__(self, raw: bytes) -> None:
        if len(raw) < 24:
            raise BtfError(f"BTF is {len(raw)} bytes long, its header alone has 24")
        if struct.unpack_from("<H", raw)[0] == MAGIC:
            self.byteorder: Literal["little", "big"] = "little"
        elif struct.unpack_from(">H", raw)[0] == MAGIC:
            self.byteorder = "big"
        else:
            raise BtfError(f"not BTF: magic is 0x{raw[:2].hex()}")
        self._prefix = "<" if self.byteorder == "little" else ">"
        version, _flags, header_len, type_off, type_len, str_off, str_len = self._unpack("BBIIIII", raw, 2)
        if version != 1:
            raise BtfError(f"BTF version {version} is not known", "a newer ecli-py may know it")
        types_at, strings_at = header_len + type_off, header_len + str_off
        if header_len < 24 or types_at + type_len > len(raw) or strings_at + str_len > len(raw):
            raise BtfError("BTF is truncated: its header names sections that lie outside of it")
        self.types_at = types_at
        self._types = raw[types_at : types_at + type_len]
        self._strings = raw[strings_at : strings_at + str_len]
        if not self._strings or self._strings[-1]:
            raise BtfError("BTF string section does not end with a NUL")
        self._offsets, self._kinds = self._index()
        self._decoded: dict[int, Type] = {0: Void()}

    def _unpack(self, layout: str, data: bytes, byte_offset: int) -> tuple[int, ...]:
        return struct.unpack_from(self._prefix + layout, data, byte_offset)

    def _index(self) -> tuple[list[int], bytearray]:
        """Return offset and kind of each type in the type section; entry 0 stands for void."""
        offsets, kinds = [0], bytearray(1)
        types, at, end = self._types, 0, len(self._types)
        read_info = struct.Struct(self._prefix + "4xI").unpack_from
        while at < end:
            if end - at < 12:
                raise BtfError(f"BTF type {len(offsets)} is truncated")
            (info,) = read_info(types, at)
            kind = info >> 24 & 0x1F
            if not 0 < kind <= KIND_ENUM64:
                raise BtfError(f"BTF type {len(offsets)} has kind {kind}, which is not known", "a newer ecli-py may know it")
            offsets.append(at)
            kinds.append(kind)
            at += 12 + _FIXED.get(kind, 0) + _PER_ENTRY.get(kind, 0) * (info & 0xFFFF)
        if at != end:
            raise BtfError(f"BTF type {len(offsets) - 1} is truncated")
        return offsets, kinds

    def section(self) -> bytes:
        """Return a ``.BTF`` section with these types."""
        header = struct.pack(
            self._prefix + "HBBIIIII", MAGIC, 1, 0, 24, 0, len(self._types), len(self._types), len(self._strings)
        )
        return header + self._types + self._strings

    def __len__(self) -> int:
        """Return the number of types, void (id 0) included."""
        return len(self._offsets)

    def types(self) -> Iterator[tuple[int, Type]]:
        """Walk all types but void, in order of their ids."""
        for type_id in range(1, len(self)):
            yield type_id, self.type(type_id)

    def type(self, type_id: int) -> Type:
        """Return a type.

        Raises:
            BtfError: There is no such id, or the type is malformed.
        """
        found = self._decoded.get(type_id)
        if found is None:
            if not 0 < type_id < len(self._offsets):
                raise BtfError(f"BTF has no type {type_id}")
            found = self._decoded[type_id] = self._decode(type_id)
        return found

    def string(self, byte_offset: int) -> str:
        """Return the text at an offset in the string section, to which ``.BTF.ext`` refers, too.

        Raises:
            BtfError: There is none.
        """
        end = self._strings.find(b"\0", byte_offset)
        if byte_offset >= len(self._strings) or end < 0:
            raise BtfError(f"BTF string offset {byte_offset} is outside of the string section")
        return self._strings[byte_offset:end].decode("utf-8", "replace")

    def _decode(self, type_id: int) -> Type:
        at = self._offsets[type_id]
        name_off, info, size = self._unpack("III", self._types, at)  # size is a type id in the kinds that have no size
        kind, vlen, kind_flag = info >> 24 & 0x1F, info & 0xFFFF, bool(info >> 31)
        name = self.string(name_off)
        at += 12
        if kind == KIND_INT:
            (encoding,) = self._unpack("I", self._types, at)
            flags = encoding >> 24
            if not 0 < size <= 16:  # not only powers of two, which is how the kernel sees it (btf_int_check_meta)
                raise BtfError(f"BTF type {type_id}: integer {name!r} has {size} bytes")
            bit_count, bit_offset = encoding & 0xFF, encoding >> 16 & 0xFF
            if not 0 < bit_count <= size * 8 - bit_offset:
                raise BtfError(f"BTF type {type_id}: integer {name!r} has {bit_count} bits from bit {bit_offset} of {size} bytes")
            return Int(name, size, bool(flags & 1), bool(flags & 4), bit_count, bit_offset)
        if kind == KIND_PTR:
            return Pointer(size)
        if kind == KIND_ARRAY:
            element, _index_type, count = self._unpack("III", self._types, at)
            return Array(element, count)
        if kind in (KIND_STRUCT, KIND_UNION):
            members = []
            for name_at, member_type, offset in self._entries("III", at, vlen):
                # With the kind flag the offset's top byte is the width of a bitfield.
                bit_offset, bit_size = (offset & 0xFFFFFF, offset >> 24) if kind_flag else (offset, 0)
                members.append(Member(self.string(name_at), member_type, bit_offset, bit_size))
            return Composite("struct" if kind == KIND_STRUCT else "union", name, size, tuple(members))
        if kind == KIND_ENUM:
            layout = "Ii" if kind_flag else "II"
            enumerators = tuple((self.string(name_at), value) for name_at, value in self._entries(layout, at, vlen))
            return Enum(name, self._enum_size(type_id, size), kind_flag, enumerators)
        if kind == KIND_ENUM64:
            enumerators = tuple(
                (self.string(name_at), _signed64(value) if kind_flag else value)
                for name_at, value in ((n, high << 32 | low) for n, low, high in self._entries("III", at, vlen))
            )
            return Enum(name, self._enum_size(type_id, size), kind_flag, enumerators)
        if kind == KIND_FWD:
            return Forward("union" if kind_flag else "struct", name)
        if kind == KIND_TYPEDEF:
            return Typedef(name, size)
        if kind in _QUALIFIERS:
            return Qualifier(_QUALIFIERS[kind], name, size)  # type: ignore[arg-type]
        if kind == KIND_FUNC:
            return Func(name, size, vlen)
        if kind == KIND_FUNC_PROTO:
            return FuncProto(size, tuple((self.string(name_at), kind_id) for name_at, kind_id in self._entries("II", at, vlen)))
        if kind == KIND_VAR:
            return Var(name, size, self._unpack("I", self._types, at)[0])
        if kind == KIND_DATASEC:
            return DataSection(name, size, tuple(SectionVar(*entry) for entry in self._entries("III", at, vlen)))
        if kind == KIND_FLOAT:
            return Float(name, size)
        return DeclTag(name, size, self._unpack("i", self._types, at)[0])

    def _entries(self, layout: str, at: int, count: int) -> Iterator[tuple[int, ...]]:
        entry = struct.Struct(self._prefix + layout)
        return entry.iter_unpack(self._types[at : at + entry.size * count])

    def _enum_size(self, type_id: int, size_bytes: int) -> int:
        if size_bytes not in (1, 2, 4, 8):
            raise BtfError(f"BTF type {type_id}: an enum of {size_bytes} bytes")
        return size_bytes

    def check(self) -> None:
        """Check what libbpf takes for granted before 1.3: each type is well-formed and refers to types that there are.

        Raises:
            BtfError: One does not.
        """
        for type_id, found in self.types():
            for target in _references(found):
                if not 0 <= target < len(self):
                    raise BtfError(f"BTF type {type_id} refers to type {target}, which there is not")

    def byte_offset(self, type_id: int) -> int:
        """Return where a type begins, in bytes from the first one."""
        return self._offsets[type_id]

    def reference_offsets(self, type_id: int) -> range | tuple[int, ...]:
        """Return where a type has the ids of others, in bytes from the first type."""
        at, kind = self._offsets[type_id], self._kinds[type_id]
        (info,) = self._unpack("4xI", self._types, at)
        count = info & 0xFFFF
        if kind in (KIND_STRUCT, KIND_UNION):
            return range(at + 16, at + 16 + 12 * count, 12)
        if kind == KIND_DATASEC:
            return range(at + 12, at + 12 + 12 * count, 12)
        if kind == KIND_FUNC_PROTO:  # result, then parameters
            return (at + 8, *range(at + 16, at + 16 + 8 * count, 8))
        if kind == KIND_ARRAY:
            return (at + 12, at + 16)
        return (at + 8,) if kind in _REFERRING else ()

    def resolve(self, type_id: int) -> tuple[int, Bare]:
        """Take typedefs and qualifiers off a type; return the id and the type that remain.

        Raises:
            BtfError: They go in a circle or more than 32 deep.
        """
        for _ in range(MAX_RESOLVE_DEPTH):
            found = self.type(type_id)
            if not isinstance(found, (Typedef, Qualifier)):
                return type_id, found
            type_id = found.target
        raise BtfError(f"BTF type {type_id}: typedefs and qualifiers go more than {MAX_RESOLVE_DEPTH} deep")

    def size_bytes(self, type_id: int) -> int:
        """Return ``sizeof`` a type.

        Raises:
            BtfError: It has none (void, a function, a forward declaration), or arrays nest too deep.
        """
        count = 1
        for _ in range(MAX_RESOLVE_DEPTH):
            bare_id, bare = self.resolve(type_id)
            if isinstance(bare, Array):
                count *= bare.count
                type_id = bare.element
            elif isinstance(bare, Pointer):
                return 8 * count
            elif isinstance(bare, (Int, Float, Composite, Enum, DataSection)):
                return bare.size_bytes * count
            else:
                raise BtfError(f"BTF type {bare_id} has no size")
        raise BtfError(f"BTF type {type_id}: arrays nest more than {MAX_RESOLVE_DEPTH} deep")

    def find(self, name: str, *kinds: int) -> int | None:
        """Return the id of the first type of that name and one of these kinds (``KIND_STRUCT``…), or ``None``."""
        wanted = name.encode() + b"\0"
        for type_id in self._of_kind(*kinds):
            (name_off,) = self._unpack("I", self._types, self._offsets[type_id])
            if self._strings.startswith(wanted, name_off):
                return type_id
        return None

    def names(self, *kinds: int) -> list[str]:
        """Return the names of all types of these kinds, in order of their ids, anonymous ones left out."""
        found = (self.string(self._unpack("I", self._types, self._offsets[i])[0]) for i in self._of_kind(*kinds))
        return [name for name in found if name]

    def named(self, *kinds: int) -> Iterator[tuple[int, str]]:
        """Walk id and name of all types of these kinds that have a name."""
        for type_id in self._of_kind(*kinds):
            (name_at,) = self._unpack("I", self._types, self._offsets[type_id])
            if name_at:
                yield type_id, self.string(name_at)

    def data_sections(self) -> Iterator[DataSection]:
        """Walk the data sections."""
        for type_id in self._of_kind(KIND_DATASEC):
            found = self.type(type_id)
            if isinstance(found, DataSection):
                yield found

    def decl_tags(self) -> Iterator[DeclTag]:
        """Walk the declaration tags."""
        for type_id in self._of_kind(KIND_DECL_TAG):
            found = self.type(type_id)
            if isinstance(found, DeclTag):
                yield found

    def _of_kind(self, *kinds: int) -> Iterator[int]:
        return (type_id for type_id, kind in enumerate(self._kinds) if kind in kinds)


def _references(found: Type) -> Iterator[int]:
    """Yield the ids of the types that a type refers to."""
    if isinstance(found, (Pointer, Typedef, Qualifier, DeclTag)):
        yield found.target
    elif isinstance(found, Array):
        yield found.element
    elif isinstance(found, Composite):
        yield from (member.type_id for member in found.members)
    elif isinstance(found, Func):
        yield found.proto
    elif isinstance(found, FuncProto):
        yield found.result
        yield from (type_id for _name, type_id in found.parameters)
    elif isinstance(found, Var):
        yield found.type_id
    elif isinstance(found, DataSection):
        yield from (variable.type_id for variable in found.variables)


def _signed64(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value
