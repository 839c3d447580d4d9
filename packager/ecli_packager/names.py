"""C names of BTF types, both ways."""

from __future__ import annotations

import re

from ecli_packager.ctypes_text import type_text
from ecli_runtime.btf import KIND_ENUM, KIND_FLOAT, KIND_INT, KIND_STRUCT, KIND_TYPEDEF, KIND_UNION, Array, Btf, Composite

_INTEGER_WORDS = {"signed", "unsigned", "short", "int", "long", "char"}


def find_type(btf: Btf, c_name: str) -> int | None:
    """Return the id of a type that C names so (``struct event``, ``event_t``, ``unsigned int``, ``char[16]``), or ``None``."""
    if c_name.endswith("]"):
        arrays = (type_id for type_id, found in btf.types() if isinstance(found, Array))
        return next((type_id for type_id in arrays if type_text(btf, type_id) == c_name), None)
    keyword, _, rest = c_name.partition(" ")
    kind = {"struct": KIND_STRUCT, "union": KIND_UNION, "enum": KIND_ENUM}.get(keyword)
    return btf.find(rest, kind) if kind else btf.find(c_name, KIND_TYPEDEF, KIND_INT, KIND_FLOAT)


def canonical(c_name: str) -> str:
    """Return the name of a type as BTF spells it: ``char [16]`` is ``char[16]``, ``long unsigned int`` ``unsigned long``."""
    base, bracket, rest = c_name.partition("[")
    words = base.split()
    if set(words) <= _INTEGER_WORDS:
        sign = [word for word in words if word == "unsigned" or (word == "signed" and "char" in words)]
        size = [word for word in words if word in ("short", "long", "char")]
        words = sign + (size or ["int"])
    return " ".join(words) + re.sub(r"\s", "", bracket + rest)


def nameable(btf: Btf, type_id: int) -> tuple[str, int] | None:
    """Return C name and size of a type that can be referred to by name; ``None`` for others and for void."""
    if not type_id:
        return None
    name = type_text(btf, type_id)
    return (name, btf.size_bytes(type_id)) if find_type(btf, name) is not None else None


def composite(btf: Btf, type_id: int) -> str | None:
    """Return the C name of a struct or union that can be referred to by name; ``None`` for other types and for void."""
    named = nameable(btf, type_id)
    return named[0] if named and isinstance(btf.resolve(type_id)[1], Composite) else None


def type_at(btf: Btf, type_id: int, byte_offset: int, as_array: bool = False) -> tuple[str, int] | None:
    """Return C name and size of the outermost type, of those with a name, that begins at an offset in another one; or ``None``.

    An array of bytes, or a struct of nothing else, is room to build something in, and does not count.

    Args:
        btf: The object's types.
        type_id: The other one.
        byte_offset: Where in it.
        as_array: Of an array of structs that begins there the whole is meant, else the first of them.
    """
    while type_id and not _is_bytes(btf, type_id):
        _, bare = btf.resolve(type_id)
        if isinstance(bare, Array):
            if as_array and byte_offset == 0 and isinstance(btf.resolve(bare.element)[1], Composite):
                return nameable(btf, type_id)
            type_id, byte_offset = bare.element, byte_offset % btf.size_bytes(bare.element)
            continue
        members = bare.members if isinstance(bare, Composite) else ()
        if byte_offset == 0 and not (len(members) == 1 and _is_bytes(btf, members[0].type_id)):
            return nameable(btf, type_id)
        places = [(each.type_id, byte_offset - each.bit_offset // 8) for each in members]
        inside = ((target, offset) for target, offset in places if 0 <= offset < btf.size_bytes(target))
        type_id, byte_offset = next(inside, (0, 0))
    return None


def _is_bytes(btf: Btf, type_id: int) -> bool:
    _, bare = btf.resolve(type_id)
    return isinstance(bare, Array) and btf.size_bytes(bare.element) <= 1
