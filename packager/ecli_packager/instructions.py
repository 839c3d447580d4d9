"""The instructions of an object's programs, function by function, with what each refers to.

Instruction format: Documentation/bpf/standardization/instruction-set.rst (RFC 9669).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from elftools.elf.elffile import ELFFile
from elftools.elf.relocation import RelocationSection
from elftools.elf.sections import Symbol, SymbolTableSection

from ecli_packager.values import Frame, Stack

CLASS_LD, CLASS_LDX, CLASS_ST, CLASS_STX, CLASS_ALU, CLASS_JMP, CLASS_JMP32, CLASS_ALU64 = range(8)
CALL, EXIT, LD_IMM64, JA, JA32 = 0x85, 0x95, 0x18, 0x05, 0x06
MODE_MEM, SIZE_DW = 0x60, 0x18
SOURCE_REGISTER = 0x08  # BPF_X
MOV = 0xB0
FRAME_POINTER = 10
ARGUMENT_REGISTERS = range(1, 6)
PSEUDO_CALL = 1  # source register of a call: of a subprogram

R_BPF_64_64, R_BPF_64_32 = 1, 10  # relocations of a 64-bit load and of a call; LLVM's BPF ABI


class Instruction(NamedTuple):
    """One instruction; ``symbol`` is what its relocation refers to."""

    opcode: int
    destination: int
    source: int
    offset: int
    immediate: int
    symbol: str | None


@dataclass
class Function:
    """A program or subprogram.

    Attributes:
        name: Its symbol.
        start: Byte offset in its section.
        code: Instructions by index; the second half of a 64-bit load is absent.
    """

    name: str
    start: int
    code: dict[int, Instruction]

    @cached_property
    def frame_bytes(self) -> int:
        """Size of its stack frame: to the lowest address that the code mentions."""
        lowest, pointer = 0, -1  # the register that the frame pointer has just been copied to
        for instruction in self.code.values():
            opcode, destination, source, offset, immediate, _symbol = instruction
            base = {CLASS_ST: destination, CLASS_STX: destination, CLASS_LDX: source}.get(opcode & 7)
            if base == FRAME_POINTER:
                lowest = min(lowest, offset)
            elif opcode == CLASS_ALU64 and destination == pointer:
                lowest = min(lowest, immediate)
            pointer = destination if opcode == CLASS_ALU64 | MOV | SOURCE_REGISTER and source == FRAME_POINTER else -1
        return -lowest + 7 & ~7

    def frame(self, index: int, value: Stack) -> Frame:
        """Return what an address on the stack is to others, when the call at an index passes it on."""
        return Frame(self.name, self.start + (index + 1) * 8, value.byte_offset + self.frame_bytes)


def functions(elf: ELFFile) -> list[Function]:
    """Return the programs and subprograms of an object."""
    table = elf.get_section_by_name(".symtab")
    if not isinstance(table, SymbolTableSection):
        return []
    symbols = list(table.iter_symbols())
    found = []
    for index, section in enumerate(elf.iter_sections()):
        if not section["sh_flags"] & 4 or not section["sh_size"]:  # SHF_EXECINSTR
            continue
        starts = [each for each in symbols if each["st_shndx"] == index and each["st_info"]["type"] == "STT_FUNC"]
        instructions = list(_instructions(section.data(), _targets(elf, section.name, table, symbols), elf.little_endian))
        for each in starts:
            first, last = each["st_value"] // 8, (each["st_value"] + each["st_size"]) // 8
            code = {at - first: instruction for at, instruction in instructions if first <= at < last}
            found.append(Function(each.name, each["st_value"], code))
    return found


def _targets(elf: ELFFile, section: str, table: SymbolTableSection, symbols: list[Symbol]) -> Callable[[int, int], str | None]:
    """Return the function that tells which symbol the instruction at a byte offset, with an immediate, refers to."""
    relocations = elf.get_section_by_name(".rel" + section)
    entries = {}
    if isinstance(relocations, RelocationSection):
        entries = {entry["r_offset"]: entry for entry in relocations.iter_relocations()}
    places = {(each["st_shndx"], each["st_value"]): each.name for each in symbols if each["st_info"]["type"] != "STT_SECTION"}

    def target(byte_offset: int, immediate: int) -> str | None:
        entry = entries.get(byte_offset)
        if entry is None:
            return None
        symbol = table.get_symbol(entry["r_info_sym"])
        if symbol["st_info"]["type"] != "STT_SECTION":
            return symbol.name
        # A static map or function is named by its section and its place there (a call counts in instructions, less one).
        place = (immediate + 1) * 8 if entry["r_info_type"] == R_BPF_64_32 else immediate
        return places.get((symbol["st_shndx"] if symbol["st_shndx"] != "SHN_UNDEF" else None, place))

    return target


def _instructions(
    code: bytes, target: Callable[[int, int], str | None], little_endian: bool
) -> Iterator[tuple[int, Instruction]]:
    words = list(struct.iter_unpack("<BBhi" if little_endian else ">BBhi", code))
    for index, (opcode, registers, offset, value) in enumerate(words):
        if opcode == 0:  # second half of a 64-bit load
            continue
        low, high = registers & 0xF, registers >> 4
        destination, source = (low, high) if little_endian else (high, low)
        symbol = target(index * 8, value)
        is_wide = opcode == LD_IMM64 and symbol is None and index + 1 < len(words)
        immediate = (words[index + 1][3] & 0xFFFFFFFF) << 32 | value & 0xFFFFFFFF if is_wide else value
        yield index, Instruction(opcode, destination, source, offset, immediate, symbol)
