"""C names of BTF types, both ways."""

from __future__ import annotations

from ecli_packager.ctypes_text import type_text
from ecli_runtime.btf import KIND_ENUM, KIND_FLOAT, KIND_INT, KIND_STRUCT, KIND_TYPEDEF, KIND_UNION, Array, Btf, Composite


def find_type(btf: Btf, c_name: str) -> int | None:
    """Return the id of a type that C names so (``struct event``, ``event_t``, ``unsigned int``), or ``None``."""
    keyword, _, rest = c_name.partition(" ")
    kind = {"struct": KIND_STRUCT, "union": KIND_UNION, "enum": KIND_ENUM}.get(keyword)
    return btf.find(rest, kind) if kind else btf.find(c_name, KIND_TYPEDEF, KIND_INT, KIND_FLOAT)


def nameable(btf: Btf, type_id: int) -> tuple[str, int] | None:
    """Return C name and size of a type that can be referred to by name; ``None`` for others and for void."""
    if not type_id:
        return None
    name = type_text(btf, type_id)
    return (name, btf.size_bytes(type_id)) if find_type(btf, name) is not None else None


def value_type(btf: Btf, type_id: int) -> tuple[str, int] | None:
    """Return C name and size of the type of a map's values, as :func:`nameable`; ``None`` also for a struct of nothing but bytes.

    Such a struct is room to build something in, and says nothing about what that is.
    """
    _, bare = btf.resolve(type_id)
    if isinstance(bare, Composite) and len(bare.members) == 1:
        _, member = btf.resolve(bare.members[0].type_id)
        if isinstance(member, Array) and btf.size_bytes(member.element) == 1:
            return None
    return nameable(btf, type_id)
