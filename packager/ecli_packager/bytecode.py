"""What eBPF byte code says about events: at which call, through which map, how many bytes, and where they come from.

A small abstract interpreter: it follows constants, addresses of maps, of map values and of the stack through registers, spills,
branches and calls of subprograms until nothing changes any more. What it cannot follow it does not know, and says so.

Instruction format: Documentation/bpf/standardization/instruction-set.rst (RFC 9669).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from io import BytesIO
from typing import NamedTuple

from elftools.elf.elffile import ELFFile
from elftools.elf.relocation import RelocationSection
from elftools.elf.sections import Symbol, SymbolTableSection

CLASS_LD, CLASS_LDX, CLASS_ST, CLASS_STX, CLASS_ALU, CLASS_JMP, CLASS_JMP32, CLASS_ALU64 = range(8)
CALL, EXIT, LD_IMM64, JA, JA32 = 0x85, 0x95, 0x18, 0x05, 0x06
MODE_MEM, SIZE_DW = 0x60, 0x18
SOURCE_REGISTER = 0x08  # BPF_X
MOV = 0xB0
FRAME_POINTER = 10
PSEUDO_CALL = 1  # source register of a call: of a subprogram

R_BPF_64_64, R_BPF_64_32 = 1, 10  # relocations of a 64-bit load and of a call; LLVM's BPF ABI

# Helpers by number (___BPF_FUNC_MAPPER in include/uapi/linux/bpf.h).
MAP_LOOKUP_ELEM, RINGBUF_RESERVE, MAP_LOOKUP_PERCPU_ELEM = 1, 131, 195
# Those that make events → registers that hold the map, the data (0: it is the result) and the size.
EVENT_HELPERS = {
    25: (2, 4, 5),  # bpf_perf_event_output(ctx, map, flags, data, size)
    111: (2, 4, 5),  # bpf_skb_output
    121: (2, 4, 5),  # bpf_xdp_output
    130: (1, 2, 3),  # bpf_ringbuf_output(map, data, size, flags)
    RINGBUF_RESERVE: (1, 0, 2),  # bpf_ringbuf_reserve(map, size, flags)
    198: (1, 0, 2),  # bpf_ringbuf_reserve_dynptr(map, size, flags, dynptr)
}


class Const(NamedTuple):
    """A number."""

    value: int


class MapAddress(NamedTuple):
    """The address of a map."""

    name: str


class MapValue(NamedTuple):
    """The address of a value in a map, plus some bytes."""

    map: str
    byte_offset: int


class Stack(NamedTuple):
    """An address on the stack, in bytes from the frame pointer (negative)."""

    byte_offset: int


Known = Const | MapAddress | MapValue | Stack
# What a register may hold; None: anything.
Values = frozenset[Known] | None

MAX_VALUES = 8  # more possibilities than this are as good as none


@dataclass(frozen=True)
class EventCall:
    """A call that makes an event.

    Attributes:
        maps: Names of the maps that it may go through; empty when the code does not tell.
        sizes_bytes: Possible sizes of the event; empty when they are not constant.
        origins: Where its bytes may be from, as far as known.
        function: The function that calls.
        byte_offset: Of the instruction after the call, from the start of the function's section.
    """

    maps: frozenset[str]
    sizes_bytes: frozenset[int]
    origins: frozenset[Known] = frozenset()
    function: str = ""
    byte_offset: int = 0


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


@dataclass(frozen=True)
class State:
    """What is known before an instruction: registers that are known, and known 8-byte stack slots by offset."""

    registers: dict[int, frozenset[Known]] = field(default_factory=dict)
    slots: dict[int, frozenset[Known]] = field(default_factory=dict)

    def join(self, other: State) -> State:
        """Return what holds whichever of the two ways was taken."""
        return State(_join(self.registers, other.registers), _join(self.slots, other.slots))


def _join(one: dict[int, frozenset[Known]], other: dict[int, frozenset[Known]]) -> dict[int, frozenset[Known]]:
    both = {key: one[key] | other[key] for key in one.keys() & other.keys()}
    return {key: values for key, values in both.items() if len(values) <= MAX_VALUES}


def event_calls(data: bytes) -> list[EventCall]:
    """Return the calls that make events, in all programs of an object that is not linked yet."""
    return interpret(_functions(ELFFile(BytesIO(data))))


def _functions(elf: ELFFile) -> list[Function]:
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
    words = struct.iter_unpack("<BBhi" if little_endian else ">BBhi", code)
    for index, (opcode, registers, offset, immediate) in enumerate(words):
        if opcode == 0:  # second half of a 64-bit load
            continue
        low, high = registers & 0xF, registers >> 4
        destination, source = (low, high) if little_endian else (high, low)
        yield index, Instruction(opcode, destination, source, offset, immediate, target(index * 8, immediate))


def interpret(functions: list[Function]) -> list[EventCall]:
    """Return the calls that make events, in the order of the code."""
    by_name = {function.name: function for function in functions}
    called = {
        instruction.symbol for function in functions for instruction in function.code.values() if _is_subprogram_call(instruction)
    }
    entries = {function.name: _entry({}) for function in functions if function.name not in called}
    results: dict[str, Values] = {}
    finder = _Interpreter(by_name, entries, results)
    while finder.step():
        pass
    found: list[EventCall] = []
    for function in functions:
        states = finder.states(function)
        for index in sorted(states):
            found += _events(function, index, function.code[index], states[index])
    return found


def _is_subprogram_call(instruction: Instruction) -> bool:
    return instruction.opcode == CALL and instruction.source == PSEUDO_CALL


def _entry(arguments: dict[int, frozenset[Known]]) -> State:
    return State({**arguments, FRAME_POINTER: frozenset({Stack(0)})})


class _Interpreter:
    """Runs functions until neither their entry states nor their results change."""

    def __init__(self, functions: dict[str, Function], entries: dict[str, State], results: dict[str, Values]) -> None:
        self._functions, self._entries, self._results = functions, entries, results
        self._dirty = list(entries)

    def step(self) -> bool:
        """Run one function; return whether any is left."""
        if not self._dirty:
            return False
        self.states(self._functions[self._dirty.pop()])
        return True

    def states(self, function: Function) -> dict[int, State]:
        """Return the state before each instruction that can be reached."""
        states: dict[int, State] = {}
        entry = self._entries.get(function.name)
        pending = [(min(function.code), entry)] if entry is not None and function.code else []
        while pending:
            index, state = pending.pop()
            before = states.get(index)
            joined = state if before is None else before.join(state)
            if joined == before or index not in function.code:
                continue
            states[index] = joined
            instruction = function.code[index]
            if instruction.opcode == EXIT:
                self._leave(function, joined.registers.get(0))
                continue
            after = self._after(function, instruction, joined)
            pending += [(each, after) for each in _successors(index, instruction)]
        return states

    def _after(self, function: Function, instruction: Instruction, state: State) -> State:
        if _is_subprogram_call(instruction):
            self._enter(function, instruction.symbol, state)
            return _after_call(state, self._results.get(instruction.symbol or ""))
        if instruction.opcode == CALL:
            return _after_call(state, _helper_result(instruction, state))
        return _execute(instruction, state)

    def _enter(self, caller: Function, name: str | None, state: State) -> None:
        if name is None or name not in self._functions:
            return
        # Addresses on the caller's stack mean nothing in the callee's frame.
        arguments = {
            register: values
            for register, values in state.registers.items()
            if 1 <= register <= 5 and not any(isinstance(value, Stack) for value in values)
        }
        before = self._entries.get(name)
        entry = _entry(arguments)
        joined = entry if before is None else before.join(entry)
        if joined != before:
            self._entries[name] = joined
            self._dirty += [name, caller.name]

    def _leave(self, function: Function, values: Values) -> None:
        before = self._results.get(function.name, values)
        joined = None if before is None or values is None else before | values
        if function.name not in self._results or joined != before:
            self._results[function.name] = joined
            self._dirty += [
                each.name
                for each in self._functions.values()
                if any(_is_subprogram_call(one) and one.symbol == function.name for one in each.code.values())
            ]


def _successors(index: int, instruction: Instruction) -> list[int]:
    opcode = instruction.opcode
    following = index + (2 if opcode == LD_IMM64 else 1)
    if opcode & 7 not in (CLASS_JMP, CLASS_JMP32) or opcode == CALL:
        return [following]
    if opcode == JA:
        return [index + 1 + instruction.offset]
    if opcode == JA32:
        return [index + 1 + instruction.immediate]
    return [following, index + 1 + instruction.offset]


def _after_call(state: State, result: Values) -> State:
    registers = {register: values for register, values in state.registers.items() if register > 5}
    if result:
        registers[0] = result
    return State(registers, state.slots)


def _helper_result(instruction: Instruction, state: State) -> Values:
    if instruction.source == 0 and instruction.immediate in (MAP_LOOKUP_ELEM, MAP_LOOKUP_PERCPU_ELEM):
        maps = state.registers.get(1, frozenset())
        return frozenset(MapValue(each.name, 0) for each in maps if isinstance(each, MapAddress)) or None
    return None


def _execute(instruction: Instruction, state: State) -> State:
    """Return the state after an instruction that neither jumps nor calls."""
    opcode, destination, source, offset, immediate, symbol = instruction
    registers, slots = dict(state.registers), dict(state.slots)
    kind = opcode & 7
    value: Values = None
    if opcode == LD_IMM64:
        value = frozenset({MapAddress(symbol)}) if symbol else frozenset({Const(immediate & 0xFFFFFFFF)})
    elif kind in (CLASS_ALU, CLASS_ALU64):
        operand = registers.get(source) if opcode & SOURCE_REGISTER else frozenset({Const(immediate)})
        value = operand if opcode & 0xF0 == MOV and not offset else _compute(opcode, registers.get(destination), operand)
    elif kind == CLASS_LDX:
        if opcode == CLASS_LDX | MODE_MEM | SIZE_DW and source == FRAME_POINTER:
            value = slots.get(offset)
    elif kind in (CLASS_ST, CLASS_STX):
        if destination == FRAME_POINTER:
            for slot in [each for each in slots if abs(each - offset) < 8]:
                del slots[slot]
            if opcode == CLASS_STX | MODE_MEM | SIZE_DW and source in registers:
                slots[offset] = registers[source]
        return State(registers, slots)
    if kind in (CLASS_LD, CLASS_LDX, CLASS_ALU, CLASS_ALU64):
        registers.pop(destination, None)
        if value:
            registers[destination] = value
    return State(registers, slots)


_ARITHMETIC: dict[int, Callable[[int, int], int]] = {
    0x00: lambda a, b: a + b,
    0x10: lambda a, b: a - b,
    0x20: lambda a, b: a * b,
    0x40: lambda a, b: a | b,
    0x50: lambda a, b: a & b,
    0x60: lambda a, b: a << (b & 63),
    0x70: lambda a, b: (a & 0xFFFFFFFFFFFFFFFF) >> (b & 63),
}


def _compute(opcode: int, left: Values, right: Values) -> Values:
    operation = _ARITHMETIC.get(opcode & 0xF0)
    if not left or not right or operation is None or len(left) * len(right) > MAX_VALUES:
        return None
    found: set[Known] = set()
    mask = 0xFFFFFFFF if opcode & 7 == CLASS_ALU else 0xFFFFFFFFFFFFFFFF
    for one in left:
        for other in right:
            if not isinstance(other, Const):
                return None
            if isinstance(one, Const):
                found.add(Const(operation(one.value, other.value) & mask))
            elif opcode & 0xF0 == 0 and isinstance(one, MapValue):
                found.add(MapValue(one.map, one.byte_offset + other.value))
            elif opcode & 0xF0 == 0 and isinstance(one, Stack):
                found.add(Stack(one.byte_offset + other.value))
            else:
                return None
    return frozenset(found)


def _events(function: Function, index: int, instruction: Instruction, state: State) -> Iterator[EventCall]:
    if instruction.opcode != CALL or instruction.source != 0 or instruction.immediate not in EVENT_HELPERS:
        return
    map_register, data_register, size_register = EVENT_HELPERS[instruction.immediate]
    registers = state.registers
    sizes = registers.get(size_register, frozenset())
    yield EventCall(
        frozenset(each.name for each in registers.get(map_register, frozenset()) if isinstance(each, MapAddress)),
        frozenset(each.value for each in sizes if isinstance(each, Const)),
        registers.get(data_register, frozenset()) if data_register else frozenset(),
        function.name,
        function.start + (index + 1) * 8,
    )
