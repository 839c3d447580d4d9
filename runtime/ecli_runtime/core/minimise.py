"""The part of a kernel's BTF that some objects ask for: a few hundred bytes that stand for some megabytes.

libbpf resolves the objects' relocations against it exactly as against all of the kernel's types. It is right for that one kernel
alone: against another's, relocations are resolved just as silently, and programs read the wrong memory.
"""

from __future__ import annotations

import struct

from ecli_runtime.btf import (
    KIND_ARRAY,
    KIND_CONST,
    KIND_ENUM,
    KIND_ENUM64,
    KIND_FLOAT,
    KIND_FUNC_PROTO,
    KIND_FWD,
    KIND_INT,
    KIND_PTR,
    KIND_RESTRICT,
    KIND_STRUCT,
    KIND_TYPE_TAG,
    KIND_TYPEDEF,
    KIND_UNION,
    KIND_VOLATILE,
    MAGIC,
    Array,
    Btf,
    Composite,
    Enum,
    Float,
    Forward,
    FuncProto,
    Int,
    Pointer,
    Qualifier,
    Typedef,
)
from ecli_runtime.code import section_bytes
from ecli_runtime.core.records import ENUMERATOR_KINDS, FIELD_KINDS, relocations
from ecli_runtime.core.resolve import Resolver
from ecli_runtime.errors import BtfError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ecli_runtime.btf import Type
    from ecli_runtime.core.resolve import KernelTypes

_QUALIFIERS = {"const": KIND_CONST, "volatile": KIND_VOLATILE, "restrict": KIND_RESTRICT, "type_tag": KIND_TYPE_TAG}


def minimise(kernel: KernelTypes, objects: Iterable[bytes]) -> bytes:
    """Return a ``.BTF`` section with the types of a kernel that objects are relocated against; the same for the same input.

    Args:
        kernel: All types of the kernel.
        objects: ELF objects, for each of which :func:`ecli_runtime.elf.check_header` holds.

    Raises:
        BtfError: The types or relocations of an object are damaged.
        ObjectError: Its section headers are.
    """
    kept = _Kept(kernel.btf)
    for data in objects:
        types = section_bytes(data, ".BTF")
        if types is None:
            continue
        local = Btf(types)
        resolver = Resolver(local, kernel)
        for relocation in relocations(data, local):
            for path in resolver.resolve(relocation).paths:
                kept.keep(path.root)
                if relocation.kind in FIELD_KINDS or relocation.kind in ENUMERATOR_KINDS:
                    for owner, index in (*path.through, *[(step.type_id, step.index) for step in path.steps]):
                        kept.keep_part(owner, index)
                elif relocation.kind == "type_matches":
                    kept.keep_whole(path.root)
                else:
                    kept.keep_behind(path.root)
    return _Writer(kept).section()


class _Kept:
    """Types to keep: id → which of its members or enumerators.

    Args:
        btf: All types.
    """

    def __init__(self, btf: Btf) -> None:
        self.btf = btf
        self.parts: dict[int, set[int]] = {}
        self._behind: set[int] = set()
        self._whole: set[tuple[int, bool]] = set()

    def keep(self, type_id: int) -> None:
        """Keep a type with its name and size, and what typedefs and arrays are of; neither members nor what pointers refer to."""
        while type_id and type_id not in self.parts:
            found = self.btf.type(type_id)
            self.parts[type_id] = set()
            if isinstance(found, (Typedef, Qualifier)):
                type_id = found.target
            elif isinstance(found, Array):
                type_id = found.element
            else:
                return

    def keep_part(self, type_id: int, index: int) -> None:
        """Keep a member or enumerator; of anything else, which has none, the type."""
        self.keep(type_id)
        found = self.btf.type(type_id)
        if isinstance(found, (Composite, Enum)):
            self.parts[type_id].add(index)
        if isinstance(found, Composite):
            self.keep(found.members[index].type_id)

    def keep_behind(self, type_id: int) -> None:
        """Keep a type and what it refers to, members apart: what tells whether it is the same as another of its name."""
        if type_id in self._behind:
            return
        self._behind.add(type_id)
        self.keep(type_id)
        for each in _targets(self.btf.type(type_id)):
            self.keep_behind(each)

    def keep_whole(self, type_id: int, pointed: bool = False) -> None:
        """Keep a type with all of its members; of structs behind pointers the name."""
        if (type_id, pointed) in self._whole:
            return
        self._whole.add((type_id, pointed))
        self.keep(type_id)
        found = self.btf.type(type_id)
        if isinstance(found, Enum):
            self.parts[type_id].update(range(len(found.enumerators)))
        elif isinstance(found, Composite) and not pointed:
            for index, member in enumerate(found.members):
                self.keep_part(type_id, index)
                self.keep_whole(member.type_id)
        for each in _targets(found):
            self.keep_whole(each, pointed or isinstance(found, Pointer))


def _targets(found: Type) -> tuple[int, ...]:
    if isinstance(found, (Pointer, Typedef, Qualifier)):
        return (found.target,)
    if isinstance(found, Array):
        return (found.element,)
    if isinstance(found, FuncProto):
        return (found.result, *(type_id for _name, type_id in found.parameters))
    return ()


class _Writer:
    """Writes kept types as BTF. What was not kept is void to those that refer to it."""

    def __init__(self, kept: _Kept) -> None:
        self._btf, self._parts = kept.btf, kept.parts
        self._prefix = "<" if kept.btf.byteorder == "little" else ">"
        self._ids = {old: new for new, old in enumerate(sorted(kept.parts), 1)}
        self._strings, self._places = bytearray(1), {"": 0}

    def section(self) -> bytes:
        """Return header, types and strings (Documentation/bpf/btf.rst)."""
        types = b"".join(self._encode(self._btf.type(type_id), sorted(self._parts[type_id])) for type_id in self._ids)
        header = self._pack("HBBIIIII", MAGIC, 1, 0, 24, 0, len(types), len(types), len(self._strings))
        return header + types + bytes(self._strings)

    def _encode(self, found: Type, parts: list[int]) -> bytes:
        head: Callable[..., bytes] = self._head
        if isinstance(found, Int):
            flags = found.signed | found.boolean << 2
            return head(found.name, KIND_INT, found.size_bytes) + self._pack(
                "I", flags << 24 | found.bit_offset << 16 | found.bit_count
            )
        if isinstance(found, Float):
            return head(found.name, KIND_FLOAT, found.size_bytes)
        if isinstance(found, Pointer):
            return head("", KIND_PTR, self._id(found.target))
        if isinstance(found, Array):
            return head("", KIND_ARRAY, 0) + self._pack("III", self._id(found.element), 0, found.count)
        if isinstance(found, Composite):
            members = [found.members[index] for index in parts]
            has_bitfields = any(each.bit_size for each in found.members)
            kind = KIND_STRUCT if found.keyword == "struct" else KIND_UNION
            return head(found.name, kind, found.size_bytes, len(members), has_bitfields) + b"".join(
                self._pack("III", self._string(each.name), self._id(each.type_id), each.bit_size << 24 | each.bit_offset)
                for each in members
            )
        if isinstance(found, Enum):
            return self._encode_enum(found, parts)
        if isinstance(found, Forward):
            return head(found.name, KIND_FWD, 0, 0, found.keyword == "union")
        if isinstance(found, Typedef):
            return head(found.name, KIND_TYPEDEF, self._id(found.target))
        if isinstance(found, Qualifier):
            return head(found.name, _QUALIFIERS[found.keyword], self._id(found.target))
        if isinstance(found, FuncProto):
            return head("", KIND_FUNC_PROTO, self._id(found.result), len(found.parameters)) + b"".join(
                self._pack("II", 0, self._id(type_id)) for _name, type_id in found.parameters
            )
        raise BtfError(f"a type cannot be relocated against a {type(found).__name__}")

    def _encode_enum(self, found: Enum, parts: list[int]) -> bytes:
        chosen = [found.enumerators[index] for index in parts]
        is_wide = any(not -(1 << 31) <= value < 1 << 32 for _name, value in chosen)
        kind = KIND_ENUM64 if is_wide or found.size_bytes == 8 else KIND_ENUM
        entries = b""
        for name, value in chosen:
            low, high = value & 0xFFFFFFFF, value >> 32 & 0xFFFFFFFF
            entries += self._pack("II", self._string(name), low) + (self._pack("I", high) if kind == KIND_ENUM64 else b"")
        return self._head(found.name, kind, found.size_bytes, len(chosen), found.signed) + entries

    def _head(self, name: str, kind: int, size: int, count: int = 0, flag: bool = False) -> bytes:
        return self._pack("III", self._string(name), flag << 31 | kind << 24 | count, size)

    def _id(self, type_id: int) -> int:
        return self._ids.get(type_id, 0)

    def _string(self, text: str) -> int:
        if text not in self._places:
            self._places[text] = len(self._strings)
            self._strings += text.encode() + b"\0"
        return self._places[text]

    def _pack(self, layout: str, *values: int) -> bytes:
        return struct.pack(self._prefix + layout, *values)
