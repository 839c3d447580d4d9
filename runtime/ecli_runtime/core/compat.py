"""When a type of an object and one of a kernel are the same to CO-RE (``bpf_core_fields_are_compat`` and its kin)."""

from __future__ import annotations

from ecli_runtime.btf import Array, Btf, Composite, Enum, Float, Forward, FuncProto, Int, Pointer, Void

_MAX_DEPTH = 32


def essential(name: str) -> str:
    """Return a name without its flavour: ``task_struct___old`` → ``task_struct`` (``bpf_core_essential_name_len``)."""
    for at in range(len(name) - 5, -1, -1):
        if name[at + 1 : at + 4] == "___" and name[at] != "_" and name[at + 4] != "_":
            return name[: at + 1]
    return name


def same_kind(one: object, other: object) -> bool:
    """Tell whether two types are of one kind; enums of 32 and 64 bits are."""
    if isinstance(one, Composite) and isinstance(other, Composite):
        return one.keyword == other.keyword
    return type(one) is type(other)


def fields_fit(local: Btf, local_id: int, target: Btf, target_id: int) -> bool:
    """Tell whether a member may be read as another (``bpf_core_fields_are_compat``)."""
    for _ in range(_MAX_DEPTH):
        one, other = local.resolve(local_id)[1], target.resolve(target_id)[1]
        if isinstance(one, Composite) and isinstance(other, Composite):
            return True
        if not same_kind(one, other):
            return False
        if isinstance(one, (Pointer, Float)):
            return True
        if isinstance(one, (Forward, Enum)) and isinstance(other, (Forward, Enum)):
            return not one.name or not other.name or essential(one.name) == essential(other.name)
        if isinstance(one, Int) and isinstance(other, Int):
            return not one.bit_offset and not other.bit_offset
        if not isinstance(one, Array) or not isinstance(other, Array):
            return False
        local_id, target_id = one.element, other.element
    return False


def types_fit(local: Btf, local_id: int, target: Btf, target_id: int, depth: int = _MAX_DEPTH) -> bool:
    """Tell whether a type exists as another (``__bpf_core_types_are_compat``): names count only at the root, for its caller."""
    one, other = local.resolve(local_id)[1], target.resolve(target_id)[1]
    if not depth or not same_kind(one, other):
        return False
    if isinstance(one, (Void, Composite, Enum, Forward)):
        return True
    if isinstance(one, Int) and isinstance(other, Int):
        return not one.bit_offset and not other.bit_offset
    if isinstance(one, Pointer) and isinstance(other, Pointer):
        return types_fit(local, one.target, target, other.target, depth - 1)
    if isinstance(one, Array) and isinstance(other, Array):
        return types_fit(local, one.element, target, other.element, depth - 1)
    if isinstance(one, FuncProto) and isinstance(other, FuncProto) and len(one.parameters) == len(other.parameters):
        pairs = [(one.result, other.result), *((a[1], b[1]) for a, b in zip(one.parameters, other.parameters, strict=True))]
        return all(types_fit(local, a, target, b, depth - 1) for a, b in pairs)
    return False


def types_match(local: Btf, local_id: int, target: Btf, target_id: int, pointed: bool = False, depth: int = _MAX_DEPTH) -> bool:
    """Tell whether a type is the same as another, member for member (``__bpf_core_types_match``).

    Args:
        local: Types of the object.
        local_id: Its type.
        target: Types of the kernel.
        target_id: Its type.
        pointed: They are behind a pointer: a struct is then its name alone.
        depth: How deep to look.
    """
    one, other = local.resolve(local_id)[1], target.resolve(target_id)[1]
    if not depth or essential(getattr(one, "name", "")) != essential(getattr(other, "name", "")):
        return False
    if pointed and isinstance(one, (Composite, Forward)) and isinstance(other, (Composite, Forward)):
        return one.keyword == other.keyword
    if not same_kind(one, other):
        return False
    if isinstance(one, Forward) and isinstance(other, Forward):
        return one.keyword == other.keyword
    if isinstance(one, Enum) and isinstance(other, Enum):
        known = {essential(name) for name, _value in other.enumerators}
        fits = one.size_bytes == other.size_bytes and len(one.enumerators) <= len(other.enumerators)
        return fits and all(essential(name) in known for name, _value in one.enumerators)
    if isinstance(one, Composite) and isinstance(other, Composite):
        return len(one.members) <= len(other.members) and all(
            any(
                essential(mine.name) == essential(theirs.name)
                and types_match(local, mine.type_id, target, theirs.type_id, pointed, depth - 1)
                for theirs in other.members
            )
            for mine in one.members
        )
    if isinstance(one, Int) and isinstance(other, Int):
        return (one.size_bytes, one.signed) == (other.size_bytes, other.signed)
    if isinstance(one, Pointer) and isinstance(other, Pointer):
        return types_match(local, one.target, target, other.target, True, depth - 1)
    if isinstance(one, Array) and isinstance(other, Array):
        return one.count == other.count and types_match(local, one.element, target, other.element, pointed, depth - 1)
    if isinstance(one, FuncProto) and isinstance(other, FuncProto) and len(one.parameters) == len(other.parameters):
        pairs = [(one.result, other.result), *((a[1], b[1]) for a, b in zip(one.parameters, other.parameters, strict=True))]
        return all(types_match(local, a, target, b, pointed, depth - 1) for a, b in pairs)
    return isinstance(one, Void)
