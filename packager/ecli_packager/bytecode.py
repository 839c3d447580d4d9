"""What eBPF byte code says about events: at which call, through which map, and how many bytes.

Instruction format: Documentation/bpf/standardization/instruction-set.rst (RFC 9669).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO

from elftools.elf.elffile import ELFFile
from elftools.elf.relocation import RelocationSection
from elftools.elf.sections import SymbolTableSection

CALL, LD_IMM64, MOV64_K, MOV32_K, MOV64_X, EXIT = 0x85, 0x18, 0xB7, 0xB4, 0xBF, 0x95
CLASS_LD, CLASS_LDX, CLASS_ST, CLASS_STX, CLASS_ALU, CLASS_JMP, CLASS_JMP32, CLASS_ALU64 = range(8)
R_BPF_64_64 = 1  # relocation of a 64-bit load; psABI of LLVM's BPF back end

# Helper number (___BPF_FUNC_MAPPER in include/uapi/linux/bpf.h) → registers that hold the map and the size of the event.
EVENT_HELPERS = {
    25: (2, 5),  # bpf_perf_event_output(ctx, map, flags, data, size)
    111: (2, 5),  # bpf_skb_output
    121: (2, 5),  # bpf_xdp_output
    130: (1, 3),  # bpf_ringbuf_output(map, data, size, flags)
    131: (1, 2),  # bpf_ringbuf_reserve(map, size, flags)
}


@dataclass(frozen=True)
class EventCall:
    """A call that makes an event.

    Attributes:
        map: Name of the map that the event goes through; ``None`` when the code does not name it in sight of the call.
        size_bytes: Size of the event; ``None`` when it is not a constant there.
    """

    map: str | None
    size_bytes: int | None


def event_calls(data: bytes) -> Iterator[EventCall]:
    """Walk the calls that make events, in all programs of an object before it is linked."""
    elf = ELFFile(BytesIO(data))
    for section in elf.iter_sections():
        if section["sh_flags"] & 4 and section["sh_size"]:  # SHF_EXECINSTR
            yield from section_calls(section.data(), _symbols(elf, section.name), elf.little_endian)


def _symbols(elf: ELFFile, section: str) -> dict[int, str]:
    """Return the symbol that each 64-bit load of a section refers to, by byte offset."""
    relocations = elf.get_section_by_name(".rel" + section)
    if not isinstance(relocations, RelocationSection):
        return {}
    table = elf.get_section(relocations["sh_link"])
    assert isinstance(table, SymbolTableSection)
    return {
        entry["r_offset"]: table.get_symbol(entry["r_info_sym"]).name
        for entry in relocations.iter_relocations()
        if entry["r_info_type"] == R_BPF_64_64
    }


def section_calls(code: bytes, symbols: dict[int, str], little_endian: bool) -> Iterator[EventCall]:
    """Follow constants and map addresses through straight code; what comes in over a jump is not known."""
    instructions = list(struct.iter_unpack("<BBhi" if little_endian else ">BBhi", code))
    targets = _jump_targets(instructions)
    registers: dict[int, int | str] = {}
    skip = False
    for index, (opcode, registers_byte, _offset, immediate) in enumerate(instructions):
        if skip:  # second half of a 64-bit load
            skip = False
            continue
        if index in targets:
            registers = {}
        # The destination is the low half of the byte in little-endian objects, the high half in big-endian ones.
        low, high = registers_byte & 0xF, registers_byte >> 4
        destination, source = (low, high) if little_endian else (high, low)
        kind = opcode & 7
        if opcode == CALL and source == 0 and immediate in EVENT_HELPERS:
            map_register, size_register = EVENT_HELPERS[immediate]
            name, size = registers.get(map_register), registers.get(size_register)
            yield EventCall(name if isinstance(name, str) else None, size if isinstance(size, int) else None)
        if opcode & 0xF7 == 0x85:  # any call clobbers the argument registers
            for register in range(6):
                registers.pop(register, None)
        elif opcode == LD_IMM64:
            skip = True
            registers[destination] = symbols.get(index * 8, immediate & 0xFFFFFFFF)
        elif opcode in (MOV64_K, MOV32_K):
            registers[destination] = immediate
        elif opcode == MOV64_X and source in registers:
            registers[destination] = registers[source]
        elif kind in (CLASS_ALU, CLASS_ALU64, CLASS_LDX, CLASS_LD):
            registers.pop(destination, None)


def _jump_targets(instructions: list[tuple[int, int, int, int]]) -> set[int]:
    targets = set()
    for index, (opcode, _registers, offset, immediate) in enumerate(instructions):
        if opcode & 7 in (CLASS_JMP, CLASS_JMP32) and opcode not in (CALL, EXIT):
            targets.add(index + 1 + (immediate if opcode == 0x06 else offset))  # 0x06: JA with a 32-bit offset
    return targets
