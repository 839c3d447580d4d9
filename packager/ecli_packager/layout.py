"""The layout of an event type as JSON, so that a reader with no BTF parser can decode it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ecli_packager.ctypes_text import type_text
from ecli_runtime.btf import Array, Btf, Composite, Enum, Float, Int, Pointer
from ecli_runtime.decode.plan import MAX_DEPTH
from ecli_runtime.errors import BtfError
from ecli_schemas.dialects import MAX_EXACT_INTEGER

if TYPE_CHECKING:
    from ecli_schemas.model import Json


def layout(btf: Btf, type_id: int, depth: int = 0) -> dict[str, Json]:
    """Return a type as nested JSON: ``kind``, ``type`` (C text), ``size`` in bytes and what the kind needs besides.

    ======== ==================================================================================================
    kind     more keys
    ======== ==================================================================================================
    int      ``signed``
    bool
    float
    pointer
    enum     ``signed``, ``enumerators``: name → value (text beyond 2^53 - 1)
    array    ``count`` (0: flexible), ``element``: a layout
    struct   ``members``: ``name``, ``bit_offset``, ``bit_size`` (bitfields only), ``layout``
    union    as struct
    ======== ==================================================================================================

    Raises:
        BtfError: The type is incomplete or nests too deep.
    """
    if depth > MAX_DEPTH:
        raise BtfError(f"types nest more than {MAX_DEPTH} deep")
    _, bare = btf.resolve(type_id)
    common: dict[str, Json] = {"type": type_text(btf, type_id), "size": btf.size_bytes(type_id)}
    if isinstance(bare, Int):
        return {"kind": "bool", **common} if bare.boolean else {"kind": "int", "signed": bare.signed, **common}
    if isinstance(bare, Float):
        return {"kind": "float", **common}
    if isinstance(bare, Pointer):
        return {"kind": "pointer", **common}
    if isinstance(bare, Enum):
        # Integers that JSON numbers cannot carry exactly are text.
        values: dict[str, Json] = {name: v if abs(v) <= MAX_EXACT_INTEGER else str(v) for name, v in bare.enumerators}
        return {"kind": "enum", "signed": bare.signed, "enumerators": values, **common}
    if isinstance(bare, Array):
        return {"kind": "array", "count": bare.count, "element": layout(btf, bare.element, depth + 1), **common}
    if isinstance(bare, Composite):
        members: list[Json] = []
        for member in bare.members:
            described: dict[str, Json] = {"name": member.name, "bit_offset": member.bit_offset}
            if member.bit_size:
                described["bit_size"] = member.bit_size
            members.append({**described, "layout": layout(btf, member.type_id, depth + 1)})
        return {"kind": bare.keyword, "members": members, **common}
    raise BtfError(f"{type_text(btf, type_id)} is incomplete")
