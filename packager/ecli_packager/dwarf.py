"""What DWARF knows and BTF does not: which types and variables the author declared, where, and what local variables hold.

DWARF is read without applying relocations: eBPF objects keep addends in place (REL), and DWARF refers to sections, whose value
is 0, so relocation would change nothing and take two thirds of the time. Addresses hence count from the start of the section
that holds the function.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from elftools.dwarf.dwarf_expr import DWARFExprParser
from elftools.dwarf.locationlists import BaseAddressEntry, LocationEntry, LocationExpr, LocationParser
from elftools.elf.elffile import ELFFile

_COMPOSITES = ("DW_TAG_structure_type", "DW_TAG_union_type")
_QUALIFIERS = ("DW_TAG_const_type", "DW_TAG_volatile_type", "DW_TAG_restrict_type")
_STACK_OPERATIONS = ("DW_OP_breg10", "DW_OP_fbreg")  # r10 is the frame pointer
MAX_TYPE_DEPTH = 32


@dataclass(frozen=True)
class Struct:
    """A struct or union that the author declared.

    Attributes:
        c_name: How C names it: ``struct event``, or ``event_t`` for a typedef of an anonymous struct.
        size_bytes: ``sizeof`` it.
        file: Where it is declared.
        line: And on which line.
        members: Path of each member (``pid``, ``at.a`` of a struct without a name) → (file, line) of its declaration.
    """

    c_name: str
    size_bytes: int
    file: str = ""
    line: int = 0
    members: Mapping[str, tuple[str, int]] = field(default_factory=dict, compare=False, repr=False)


class Place(NamedTuple):
    """Where a variable is while a piece of code runs.

    Attributes:
        begin: Where the code begins, in bytes from the start of the section.
        end: And where it ends.
        register: The register that holds the variable, or ``None``.
        stack_offset: Bytes from the lowest address of the stack frame, or ``None``.
    """

    begin: int
    end: int
    register: int | None = None
    stack_offset: int | None = None


@dataclass(frozen=True)
class Local:
    """A local variable, or one of a function that was inlined.

    Attributes:
        c_name: Its type; of a pointer the type that it points to.
        size_bytes: ``sizeof`` that type.
        pointer: It is a pointer.
        places: Where it is.
        plain: The type is a number, an enum or an array, not a struct or union.
    """

    c_name: str
    size_bytes: int
    pointer: bool
    places: tuple[Place, ...]
    plain: bool = False


@dataclass
class Declarations:
    """What the author's own files declare.

    Attributes:
        structs: In the order of declaration.
        lines: Variable or function name → (file, line) of its declaration.
        locals: Function name → its variables, for the functions that were asked for.
        globals: Global variable → C name and size of its type, of the elements of an array.
    """

    structs: list[Struct] = field(default_factory=list)
    lines: dict[str, tuple[str, int]] = field(default_factory=dict)
    locals: dict[str, list[Local]] = field(default_factory=dict)
    globals: dict[str, tuple[str, int]] = field(default_factory=dict)

    @property
    def names(self) -> set[str]:
        """C names of all types that are known: those declared, and those of local variables."""
        return {struct.c_name for struct in self.structs} | {each.c_name for group in self.locals.values() for each in group}

    @classmethod
    def merge(cls, parts: Iterable[Declarations]) -> Declarations:
        """Return what several sources declare together; a struct of a shared header counts once."""
        whole = cls()
        for part in parts:
            whole.structs += [struct for struct in part.structs if struct not in whole.structs]
            whole.lines = {**part.lines, **whole.lines}
            whole.locals.update(part.locals)
            whole.globals.update(part.globals)
        return whole


def read_declarations(data: bytes, foreign: tuple[str, ...], functions: Collection[str] = ()) -> Declarations:
    """Read declarations out of an object that was compiled with ``-g`` and not yet linked.

    Args:
        data: The object.
        foreign: Directories, as the object names them, whose files are not the author's.
        functions: Functions whose local variables are wanted.
    """
    found = Declarations()
    dwarf = ELFFile(BytesIO(data)).get_dwarf_info(relocate_dwarf_sections=False)
    for unit in dwarf.iter_CUs():
        files = _Files(dwarf, unit, foreign)
        for die in unit.get_top_DIE().iter_children():
            name = _text(die, "DW_AT_name")
            if die.tag == "DW_TAG_subprogram" and name in functions and "DW_AT_low_pc" in die.attributes:
                found.locals[name] = list(_Locals(dwarf, unit).walk(die))
            file = files.authors_own(die)
            if file is None or not name:
                continue
            line = _line(die)
            if die.tag in _COMPOSITES or (die.tag == "DW_TAG_typedef" and _is_anonymous_composite(_target(die))):
                named = _name_type(die)
                if named is not None:
                    found.structs.append(Struct(*named, file, line, dict(_members(files, _strip(die), ""))))
            elif die.tag in ("DW_TAG_variable", "DW_TAG_subprogram"):
                found.lines.setdefault(name, (file, _first_line(die, line)))
                if die.tag == "DW_TAG_variable" and (named := _name_type(_element(_target(die)))):
                    found.globals[name] = named
    found.structs.sort(key=lambda struct: (struct.file, struct.line))  # DWARF has them in the order of their use
    return found


class _Files:
    """The file table of one compilation unit."""

    def __init__(self, dwarf: Any, unit: Any, foreign: tuple[str, ...]) -> None:
        header = dwarf.line_program_for_CU(unit).header
        self._first = 0 if header.version >= 5 else 1  # DWARF 5 numbers files and directories from 0
        self._foreign = foreign
        directories = [entry.decode() for entry in header["include_directory"]]
        self._names = []
        for entry in header["file_entry"]:
            index = entry.dir_index - self._first
            directory = directories[index] if 0 <= index < len(directories) else "."
            self._names.append(str(PurePosixPath(directory) / entry.name.decode()))

    def authors_own(self, die: Any) -> str | None:
        """Return the file that declares an entry, or ``None`` if it is not the author's."""
        attribute = die.attributes.get("DW_AT_decl_file")
        index = attribute.value - self._first if attribute else -1
        if not 0 <= index < len(self._names):
            return None
        path = PurePosixPath(self._names[index])
        if path.name == "vmlinux.h" or any(path.is_relative_to(directory) for directory in self._foreign):
            return None
        return self._names[index]


class _Locals:
    """The variables of functions of one compilation unit."""

    def __init__(self, dwarf: Any, unit: Any) -> None:
        self._version = unit["version"]
        self._locations = LocationParser(dwarf.location_lists())
        self._expressions = DWARFExprParser(unit.structs)

    def walk(self, die: Any) -> Iterator[Local]:
        """Yield the variables below an entry, those of inlined functions included."""
        for child in die.iter_children():
            if child.tag in ("DW_TAG_variable", "DW_TAG_formal_parameter") and "DW_AT_location" in child.attributes:
                local = self._local(child)
                if local is not None:
                    yield local
            elif child.tag in ("DW_TAG_lexical_block", "DW_TAG_inlined_subroutine"):
                yield from self.walk(child)

    def _local(self, die: Any) -> Local | None:
        origin = die
        while "DW_AT_abstract_origin" in origin.attributes:
            origin = origin.get_DIE_from_attribute("DW_AT_abstract_origin")
        found = _strip(_target(origin))
        pointer = found is not None and found.tag == "DW_TAG_pointer_type"
        target = _target(found) if pointer else _target(origin)
        named = _name_type(target)
        if named is None:
            return None
        bare = _strip(target)
        return Local(*named, pointer, tuple(self._places(die)), plain=bare is not None and bare.tag not in _COMPOSITES)

    def _places(self, die: Any) -> Iterator[Place]:
        places = self._locations.parse_from_attribute(die.attributes["DW_AT_location"], self._version, die)
        if isinstance(places, LocationExpr):
            yield from self._place(0, 1 << 62, places.loc_expr)
            return
        base = 0
        for place in places:
            if isinstance(place, BaseAddressEntry):
                base = place.base_address
            elif isinstance(place, LocationEntry):
                start = 0 if place.is_absolute else base
                yield from self._place(start + place.begin_offset, start + place.end_offset, place.loc_expr)

    def _place(self, begin: int, end: int, expression: list[int]) -> Iterator[Place]:
        operations = self._expressions.parse_expr(expression)
        if len(operations) == 1 and operations[0].op_name.startswith("DW_OP_reg"):
            yield Place(begin, end, register=int(operations[0].op_name.removeprefix("DW_OP_reg")))
            return
        before = 0  # bytes of the variable that are elsewhere
        for operation in operations:
            if operation.op_name in _STACK_OPERATIONS:
                yield Place(begin, end, stack_offset=operation.args[0] - before)
                return
            if operation.op_name == "DW_OP_piece":
                before += operation.args[0]


def _name_type(die: Any) -> tuple[str, int] | None:
    """Return a type as C names it (``struct event``, ``u64``, ``char[16]``), and its size; ``None`` for what cannot be named."""
    outer = ""
    for _ in range(MAX_TYPE_DEPTH):
        if die is None:
            return None
        name = _text(die, "DW_AT_name")
        if die.tag in _COMPOSITES or die.tag == "DW_TAG_enumeration_type":
            keyword = {"DW_TAG_structure_type": "struct", "DW_TAG_union_type": "union"}.get(die.tag, "enum")
            size = die.attributes.get("DW_AT_byte_size")
            c_name = f"{keyword} {name}" if name else outer
            return (c_name, size.value) if c_name and size is not None else None
        if die.tag == "DW_TAG_base_type":
            return outer or name, die.attributes["DW_AT_byte_size"].value
        if die.tag == "DW_TAG_array_type":
            return _name_array(die, outer)
        if die.tag == "DW_TAG_typedef":
            outer = outer or name
        elif die.tag not in _QUALIFIERS:
            return None
        die = _target(die)
    return None


def _element(die: Any) -> Any:
    bare = _strip(die)
    return _target(bare) if bare is not None and bare.tag == "DW_TAG_array_type" else die


def _name_array(die: Any, typedef: str) -> tuple[str, int] | None:
    element = _name_type(_target(die))
    counts = [
        child.attributes["DW_AT_count"].value if "DW_AT_count" in child.attributes else 0
        for child in die.iter_children()
        if child.tag == "DW_TAG_subrange_type"
    ]
    if element is None or "[" in element[0]:
        return None
    return typedef or element[0] + "".join(f"[{count}]" for count in counts), element[1] * math.prod(counts)


def _members(files: _Files, die: Any, outside: str) -> Iterator[tuple[str, tuple[str, int]]]:
    """Yield path and place of the members that the author's files declare in a struct or union."""
    for child in die.iter_children():
        if child.tag != "DW_TAG_member":
            continue
        name, file = _text(child, "DW_AT_name"), files.authors_own(child)
        path = f"{outside}.{name}" if outside and name else outside or name
        if name and file is not None:
            yield path, (file, _line(child))
        element = _strip(_element(_target(child)), typedefs=False)
        if element is not None and element.tag in _COMPOSITES and not _text(element, "DW_AT_name"):
            yield from _members(files, element, path)


def _is_anonymous_composite(die: Any) -> bool:
    die = _strip(die, typedefs=False)
    return die is not None and die.tag in _COMPOSITES and not _text(die, "DW_AT_name")


def _strip(die: Any, typedefs: bool = True) -> Any:
    """Take qualifiers, and typedefs, off a type."""
    for _ in range(MAX_TYPE_DEPTH):
        if die is None or not (die.tag in _QUALIFIERS or (typedefs and die.tag == "DW_TAG_typedef")):
            return die
        die = _target(die)
    return None


def _target(die: Any) -> Any:
    """Return the type that an entry refers to, or ``None`` (void)."""
    return die.get_DIE_from_attribute("DW_AT_type") if "DW_AT_type" in die.attributes else None


def _first_line(die: Any, line: int) -> int:
    """Return the line that the declaration of a variable or function begins on: of a map's anonymous struct the first."""
    target = _target(die)
    if die.tag == "DW_TAG_variable" and _is_anonymous_composite(target) and 0 < _line(target) < line:
        return _line(target)
    return line


def _line(die: Any) -> int:
    attribute = die.attributes.get("DW_AT_decl_line")
    return attribute.value if attribute else 0


def _text(die: Any, attribute: str) -> str:
    value = die.attributes.get(attribute)
    return value.value.decode("utf-8", "replace") if value else ""
