"""What DWARF knows and BTF does not: which types and variables the author declared, and where."""

from __future__ import annotations

from dataclasses import dataclass, field
from io import BytesIO
from pathlib import PurePosixPath
from typing import Any

from elftools.elf.elffile import ELFFile


@dataclass(frozen=True)
class Struct:
    """A struct or union that the author declared.

    Attributes:
        c_name: How C names it: ``struct event``, or ``event_t`` for a typedef of an anonymous struct.
        size_bytes: ``sizeof`` it.
        file: Where it is declared.
        line: And on which line.
    """

    c_name: str
    size_bytes: int
    file: str = ""
    line: int = 0


@dataclass
class Declarations:
    """What the author's own files declare.

    Attributes:
        structs: In the order of declaration.
        lines: Variable or function name → (file, line) of its declaration.
    """

    structs: list[Struct] = field(default_factory=list)
    lines: dict[str, tuple[str, int]] = field(default_factory=dict)


def read_declarations(data: bytes, foreign: tuple[str, ...]) -> Declarations:
    """Read the top-level declarations out of an object that was compiled with ``-g`` and not yet linked.

    Args:
        data: The object.
        foreign: Directories, as the object names them, whose files are not the author's.
    """
    found = Declarations()
    # Relocation would change nothing: eBPF objects keep addends in place (REL), and DWARF refers to sections, whose value is 0.
    # Doing it all the same takes two thirds of the time.
    dwarf = ELFFile(BytesIO(data)).get_dwarf_info(relocate_dwarf_sections=False)
    for unit in dwarf.iter_CUs():
        files = _Files(dwarf, unit, foreign)
        for die in unit.get_top_DIE().iter_children():
            file = files.authors_own(die)
            if file is None:
                continue
            name = _text(die, "DW_AT_name")
            if die.tag in ("DW_TAG_structure_type", "DW_TAG_union_type") and name:
                size = die.attributes.get("DW_AT_byte_size")
                keyword = "struct" if die.tag == "DW_TAG_structure_type" else "union"
                if size is not None:
                    found.structs.append(Struct(f"{keyword} {name}", size.value, file, _line(die)))
            elif die.tag == "DW_TAG_typedef" and name and "DW_AT_type" in die.attributes:
                target = die.get_DIE_from_attribute("DW_AT_type")
                if target.tag in ("DW_TAG_structure_type", "DW_TAG_union_type") and not _text(target, "DW_AT_name"):
                    size = target.attributes.get("DW_AT_byte_size")
                    if size is not None:
                        found.structs.append(Struct(name, size.value, file, _line(die)))
            elif die.tag in ("DW_TAG_variable", "DW_TAG_subprogram") and name:
                found.lines.setdefault(name, (file, _line(die)))
    found.structs.sort(key=lambda struct: (struct.file, struct.line))  # DWARF has them in the order of their use
    return found


class _Files:
    """The file table of one compilation unit."""

    def __init__(self, dwarf: Any, unit: Any, foreign: tuple[str, ...]) -> None:
        program = dwarf.line_program_for_CU(unit)
        header = program.header
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
        name = self._names[index]
        path = PurePosixPath(name)
        if path.name == "vmlinux.h" or any(path.is_relative_to(directory) for directory in self._foreign):
            return None
        return name


def _line(die: Any) -> int:
    attribute = die.attributes.get("DW_AT_decl_line")
    return attribute.value if attribute else 0


def _text(die: Any, attribute: str) -> str:
    value = die.attributes.get(attribute)
    return value.value.decode("utf-8", "replace") if value else ""
