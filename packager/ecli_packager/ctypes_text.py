"""BTF types written as C, for people and for upstream's metadata."""

from __future__ import annotations

from ecli_runtime.btf import Array, Btf, Composite, Enum, Forward, FuncProto, Pointer, Qualifier, Typedef, Void

MAX_DEPTH = 32


def type_text(btf: Btf, type_id: int, depth: int = 0) -> str:
    """Return a type as C names it, qualifiers left out: ``unsigned int``, ``char[16]``, ``struct event *``, ``pid_t``."""
    found = btf.type(type_id)
    if depth > MAX_DEPTH:
        return "..."
    if isinstance(found, Qualifier):
        return type_text(btf, found.target, depth + 1)
    if isinstance(found, Pointer):
        target = type_text(btf, found.target, depth + 1)
        if "(" in target:
            return target.replace("(", "(*)(", 1)
        return target + ("*" if target.endswith("*") else " *")
    if isinstance(found, Array):
        element = type_text(btf, found.element, depth + 1)
        base, bracket, rest = element.partition("[")
        return f"{base}[{found.count}]{bracket}{rest}"
    if isinstance(found, (Composite, Forward)):
        return f"{found.keyword} {found.name}".strip()
    if isinstance(found, Enum):
        return f"enum {found.name}".strip()
    if isinstance(found, Void):
        return "void"
    if isinstance(found, FuncProto):
        parameters = ", ".join(type_text(btf, parameter, depth + 1) for _name, parameter in found.parameters)
        return f"{type_text(btf, found.result, depth + 1)} ({parameters})"
    if isinstance(found, Typedef):
        return found.name
    name = found.name
    return "bool" if name == "_Bool" else name


def member_text(btf: Btf, type_id: int) -> str:
    """Return a member's type as upstream's metadata has it: ``composite`` and ``enum`` for those kinds, else C."""
    found = btf.type(type_id)
    if isinstance(found, Composite):
        return "composite"
    return "enum" if isinstance(found, Enum) else type_text(btf, type_id)
