"""Types as C, with offsets and sizes as comments."""

from __future__ import annotations

from ecli_py.render.plain import one_line
from ecli_runtime.btf import Array, Composite, Enum, Forward, FuncProto, Pointer, Qualifier, Typedef, Void
from ecli_runtime.decode.plan import make_plan, make_plan_of_members

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from ecli_runtime.btf import Btf

_INDENT = "    "
_MAX_ENUMERATOR_COUNT = 64
_MAX_DEPTH = 32  # of pointers to pointers, which no plan bounds


def declaration(btf: Btf, type_id: int, meanings: Mapping[str, str] | None = None) -> str:
    """Return the definition of a type: the enums that it uses, then itself, members of nested structs in place.

    Offsets count from the start of the type; those within an array's element are the first element's.

    Args:
        btf: The object's types.
        type_id: The type.
        meanings: Path of a member (``head.pid``; of elements of an array, that of the array) → what it stands for.

    Raises:
        BtfError: The type is malformed, cyclic, has no size, or is absurdly large.
    """
    make_plan(btf, type_id)  # refuses what could not be written out
    writer = _Writer(btf, meanings or {})
    named = btf.type(type_id)
    _, bare = btf.resolve(type_id)
    if isinstance(named, Typedef) and isinstance(bare, Composite):
        writer.add(type_id, one_line(named.name), 0, 0, prefix="typedef ")
    elif isinstance(bare, Composite):
        writer.add(type_id, "", 0, 0)
    else:
        writer.lines.append((f"{writer.declare(type_id, '')};", _bytes(btf.size_bytes(type_id))))
    return writer.text()


def declaration_of_members(btf: Btf, members: list[tuple[str, int, int]]) -> str:
    """Return the definition of a type that is described by (name, BTF type id, byte offset) of its members.

    Raises:
        BtfError: As :func:`declaration`.
    """
    plan = make_plan_of_members(btf, members)
    writer = _Writer(btf)
    writer.lines.append(("struct {", _bytes(plan.size_bytes)))
    for name, type_id, byte_offset in members:
        writer.add(type_id, one_line(name), byte_offset * 8, 1)
    writer.lines.append(("};", ""))
    return writer.text()


class _Writer:
    def __init__(self, btf: Btf, meanings: Mapping[str, str] | None = None) -> None:
        self.btf = btf
        self.meanings = meanings or {}
        self.enums: dict[str, None] = {}
        self.lines: list[tuple[str, str]] = []  # declaration, comment

    def text(self) -> str:
        width = max((len(left) for left, comment in self.lines if comment), default=0)
        lines = [f"{left.ljust(width)}  // {comment}" if comment else left for left, comment in self.lines]
        return "\n".join([*self.enums, *lines, ""])

    def add(
        self, type_id: int, name: str, bit_offset: int, depth: int, bit_size: int = 0, prefix: str = "", path: str = ""
    ) -> None:
        """Append a declaration; a struct or union, also one behind a typedef or in an array, with its members."""
        meaning = f", {self.meanings[path]}" if path in self.meanings else ""
        indent = _INDENT * depth
        place = "" if depth == 0 else f"at {bit_offset // 8}, "
        size = self.btf.size_bytes(type_id)
        inner, counts = self._without_arrays(type_id)
        _, bare = self.btf.resolve(inner)
        if isinstance(bare, Composite):
            named = self.btf.type(inner)
            tag = one_line(bare.name)
            comment = f"{place}{_bytes(size)}"
            if isinstance(named, Typedef) and not prefix:
                comment = f"{place}{one_line(named.name)}, {_bytes(size)}"
            self.lines.append((f"{indent}{prefix}{bare.keyword} {tag + ' ' if tag else ''}{{", comment + meaning))
            for member in bare.members:
                inside = f"{path}.{member.name}" if path and member.name else path or member.name
                at = bit_offset + member.bit_offset
                self.add(member.type_id, one_line(member.name), at, depth + 1, member.bit_size, path=inside)
            end = f" {name}{counts}" if name else ""
            self.lines.append((f"{indent}}}{end};", ""))
            return
        width = f" : {bit_size}" if bit_size else ""
        comment = f"{place}{_bytes(size)}"
        named, (bare_id, whole) = self.btf.type(type_id), self.btf.resolve(type_id)
        if isinstance(named, Typedef) and isinstance(whole, Array):
            comment = f"{place}{one_line(named.name)}, {_bytes(size)}"
            type_id = bare_id
        if bit_size:
            first = bit_offset % 8
            comment = f"at {bit_offset // 8}, {'bits' if bit_size > 1 else 'bit'} {first}"
            comment += f" to {first + bit_size - 1}" if bit_size > 1 else ""
        self.lines.append((f"{indent}{prefix}{self.declare(type_id, name)}{width};", comment + meaning))

    def _without_arrays(self, type_id: int) -> tuple[int, str]:
        """Return the element type of an array of any dimensions and its ``[2][3]``; other types as they are."""
        counts = ""
        while True:
            found = self.btf.type(type_id)
            bare = found
            if isinstance(found, (Typedef, Qualifier)):
                _, bare = self.btf.resolve(type_id)
            if not isinstance(bare, Array):
                return self._unqualified(type_id), counts
            counts += f"[{bare.count or ''}]"
            type_id = bare.element

    def _unqualified(self, type_id: int) -> int:
        for _ in range(_MAX_DEPTH):
            found = self.btf.type(type_id)
            if not isinstance(found, Qualifier):
                break
            type_id = found.target
        return type_id

    def declare(self, type_id: int, name: str, depth: int = 0) -> str:
        """Return a declaration of a name: C's declarators, from the inside out."""
        found = self.btf.type(type_id)
        if depth > _MAX_DEPTH:
            return f"... {name}".rstrip()
        if isinstance(found, Qualifier):
            return self.declare(found.target, name, depth + 1)
        if isinstance(found, Pointer):
            target = self.btf.type(self._unqualified(found.target))
            return self.declare(found.target, f"(*{name})" if isinstance(target, (Array, FuncProto)) else f"*{name}", depth + 1)
        if isinstance(found, Array):
            return self.declare(found.element, f"{name}[{found.count or ''}]", depth + 1)
        if isinstance(found, FuncProto):
            parameters = ", ".join(self.declare(parameter, "", depth + 1) for _name, parameter in found.parameters)
            return self.declare(found.result, f"{name}({parameters or 'void'})", depth + 1)
        if isinstance(found, Enum) and not found.name:
            return f"enum {{ {_enumerators(found)} }} {name}".rstrip()
        if isinstance(found, Typedef):
            _, bare = self.btf.resolve(type_id)
            if isinstance(bare, Enum):
                body = f"enum {one_line(bare.name) + ' ' if bare.name else ''}{{ {_enumerators(bare)} }}"
                self.enums[f"typedef {body} {one_line(found.name)};"] = None
        elif isinstance(found, Enum):
            self.enums[f"enum {one_line(found.name)} {{ {_enumerators(found)} }};"] = None
        return f"{_type_name(found)} {name}".rstrip()


def _type_name(found: object) -> str:
    if isinstance(found, Void):
        return "void"
    name = one_line(getattr(found, "name", ""))
    if isinstance(found, (Composite, Forward)):
        return f"{found.keyword} {name or '{ ... }'}"
    if isinstance(found, Enum):
        return f"enum {name}"
    return "bool" if name == "_Bool" else name


def _enumerators(enum: Enum) -> str:
    shown = [f"{one_line(name)} = {value}" for name, value in enum.enumerators[:_MAX_ENUMERATOR_COUNT]]
    return ", ".join(shown + (["..."] if len(enum.enumerators) > _MAX_ENUMERATOR_COUNT else []))


def _bytes(count: int) -> str:
    return f"{count} byte{'' if count == 1 else 's'}"
