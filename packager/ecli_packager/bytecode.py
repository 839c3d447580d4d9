"""What eBPF byte code says about events: at which call, through which map, how many bytes, and where they come from.

A small abstract interpreter: it follows constants, addresses of maps, of map values and of the stack through registers, spills,
branches and calls of subprograms until nothing changes any more. A subprogram is run once for each set of arguments that it is
given, so what one caller passes is not mixed with what another does. What it cannot follow it does not know, and says so.

Instruction format: Documentation/bpf/standardization/instruction-set.rst (RFC 9669).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from io import BytesIO
from typing import NamedTuple, TypeVar

from elftools.elf.elffile import ELFFile
from elftools.elf.relocation import RelocationSection
from elftools.elf.sections import Symbol, SymbolTableSection

from ecli_packager.values import (
    Address,
    Argument,
    ByteOrder,
    Const,
    Contents,
    Frame,
    Known,
    MapAddress,
    MapValue,
    Memory,
    Record,
    Result,
    Stack,
    Values,
    forget,
    read,
    store,
)

CLASS_LD, CLASS_LDX, CLASS_ST, CLASS_STX, CLASS_ALU, CLASS_JMP, CLASS_JMP32, CLASS_ALU64 = range(8)
CALL, EXIT, LD_IMM64, JA, JA32 = 0x85, 0x95, 0x18, 0x05, 0x06
MODE_MEM, SIZE_DW = 0x60, 0x18
SOURCE_REGISTER = 0x08  # BPF_X
MOV = 0xB0
FRAME_POINTER = 10
ARGUMENT_REGISTERS = range(1, 6)
PSEUDO_CALL = 1  # source register of a call: of a subprogram

R_BPF_64_64, R_BPF_64_32 = 1, 10  # relocations of a 64-bit load and of a call; LLVM's BPF ABI

# Helpers by number (___BPF_FUNC_MAPPER in include/uapi/linux/bpf.h).
MAP_DELETE_ELEM, RINGBUF_RESERVE, RINGBUF_SUBMIT, RINGBUF_RESERVE_DYNPTR = 3, 131, 132, 198
# Those that return the address of a value in the map that is their first argument: bpf_map_lookup_elem and its per-CPU kind, and
# those of the storage of control groups, sockets, inodes and tasks.
LOOKUP_HELPERS = frozenset((1, 81, 107, 145, 156, 195, 210))
READING_HELPERS = frozenset((1, 2, 3, 25, 111, 121, 130, RINGBUF_SUBMIT, 195))  # of maps and events: they write to no argument
# Those that make events → registers that hold the map, the data (0: it is the result) and the size.
EVENT_HELPERS = {
    25: (2, 4, 5),  # bpf_perf_event_output(ctx, map, flags, data, size)
    111: (2, 4, 5),  # bpf_skb_output
    121: (2, 4, 5),  # bpf_xdp_output
    130: (1, 2, 3),  # bpf_ringbuf_output(map, data, size, flags)
    RINGBUF_RESERVE: (1, 0, 2),  # bpf_ringbuf_reserve(map, size, flags)
    RINGBUF_RESERVE_DYNPTR: (1, 0, 2),  # bpf_ringbuf_reserve_dynptr(map, size, flags, dynptr)
}
# Those that fill the space behind a dynptr → registers that hold the offset there, the data (0: it is the result) and the size.
DYNPTR_HELPERS = {
    202: (2, 3, 4),  # bpf_dynptr_write(dynptr, offset, data, size, flags)
    203: (2, 0, 3),  # bpf_dynptr_data(dynptr, offset, size)
}


MAX_VALUES = 8  # more possibilities than this are as good as none
MAX_STATES = 8  # of one instruction; more are joined
MAX_CONTEXTS = 32  # for a subprogram that is called in more ways than this, the ways are joined


@dataclass(frozen=True)
class EventCall:
    """A call that makes an event.

    Attributes:
        maps: Names of the maps that it may go through; empty when the code does not tell.
        sizes_bytes: Possible sizes of the event; empty when they are not constant.
        origins: Where its bytes may be from, as far as known.
        function: The function that calls.
        byte_offset: Of the instruction after the call, from the start of the function's section.
        holders: Registers that hold the address of its bytes before the call; none where it reserves them.
        copies: Where else the function has that address: byte offset of an instruction, and a register before it.
        contents: Its bytes, where they were asked for and as far as they are constants: at the call, or when a record that it
            reserves is submitted.
    """

    maps: frozenset[str]
    sizes_bytes: frozenset[int]
    origins: frozenset[Known] = frozenset()
    function: str = ""
    byte_offset: int = 0
    holders: frozenset[int] = frozenset()
    copies: frozenset[tuple[int, int]] = frozenset()
    contents: Contents = ()

    @property
    def functions(self) -> set[str]:
        """The functions whose variables tell about the event: the one that calls, and those whose stack it is from."""
        return {self.function} | {origin.function for origin in self.origins if isinstance(origin, Frame)}


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


@dataclass(frozen=True)
class State:
    """What is known before an instruction: registers, 8-byte stack slots by offset, and bytes of what may become events."""

    registers: dict[int, frozenset[Known]] = field(default_factory=dict)
    slots: dict[int, frozenset[Known]] = field(default_factory=dict)
    memory: Memory = field(default_factory=dict)

    @cached_property
    def maps(self) -> _Maps:
        """Which register holds the address of which map. Ways that differ in this are not joined: each map has its own events."""
        return frozenset((at, each) for at, known in self.registers.items() for each in known if isinstance(each, MapAddress))

    def with_memory(self, memory: Memory) -> State:
        """Return the same state but for its memory."""
        return State(self.registers, self.slots, memory)

    def join(self, other: State) -> State:
        """Return what holds whichever of the two ways was taken."""
        return State(_join(self.registers, other.registers), _join(self.slots, other.slots), _join(self.memory, other.memory))


_Maps = frozenset[tuple[int, MapAddress]]
_States = list[tuple[int, State]]  # before the instruction of an index, in its order; several for one that differ in their maps
_K = TypeVar("_K")
_V = TypeVar("_V")


def _join(one: dict[_K, frozenset[_V]], other: dict[_K, frozenset[_V]]) -> dict[_K, frozenset[_V]]:
    both = {key: one[key] | other[key] for key in one.keys() & other.keys()}
    return {key: values for key, values in both.items() if len(values) <= MAX_VALUES}


def event_calls(data: bytes, with_contents: bool = False) -> list[EventCall]:
    """Return the calls that make events, in all programs of an object that is not linked yet; with contents it takes longer."""
    elf = ELFFile(BytesIO(data))
    byteorder: ByteOrder = "little" if elf.little_endian else "big"
    return interpret(_functions(elf), byteorder if with_contents else None)


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


def interpret(functions: list[Function], contents: ByteOrder | None = None) -> list[EventCall]:
    """Return the calls that make events, in the order of the code; with their contents if the byte order is given."""
    interpreter = _interpreter(functions, contents)
    found: dict[EventCall, None] = {}
    for function in functions:
        for states in interpreter.states(function):
            found.update(dict.fromkeys(_events(function, states)))
    return list(found)


def emptied_maps(data: bytes) -> frozenset[str]:
    """Return the maps that the programs of an object delete entries of, as far as known."""
    functions = _functions(ELFFile(BytesIO(data)))
    interpreter = _interpreter(functions, None)
    return frozenset(
        name
        for function in functions
        for states in interpreter.states(function)
        for index, state in states
        if (code := function.code[index]).opcode == CALL and (code.source, code.immediate) == (0, MAP_DELETE_ELEM)
        for name in _names(state.registers.get(1, frozenset()))
    )


def written_variables(data: bytes) -> frozenset[str]:
    """Return the global variables that the programs of an object write to, themselves or through a helper, as far as known."""
    functions = _functions(ELFFile(BytesIO(data)))
    interpreter = _interpreter(functions, None)
    return frozenset(
        name
        for function in functions
        for states in interpreter.states(function)
        for index, state in states
        for register in _written_through(function.code[index])
        for name in _names(state.registers.get(register, frozenset()))
    )


def _written_through(code: Instruction) -> Iterable[int]:
    """Return the registers with addresses that an instruction writes to."""
    if code.opcode & 7 in (CLASS_ST, CLASS_STX):
        return (code.destination,)
    writes = code.opcode == CALL and (code.source or code.immediate not in READING_HELPERS)
    return ARGUMENT_REGISTERS if writes and not _is_subprogram_call(code) else ()


def _interpreter(functions: list[Function], contents: ByteOrder | None) -> _Interpreter:
    called = {
        instruction.symbol for function in functions for instruction in function.code.values() if _is_subprogram_call(instruction)
    }
    interpreter = _Interpreter({function.name: function for function in functions}, contents)
    for function in functions:
        if function.name not in called:
            interpreter.enter(function.name, {})
    interpreter.run()
    return interpreter


def _is_subprogram_call(instruction: Instruction) -> bool:
    return instruction.opcode == CALL and instruction.source == PSEUDO_CALL


def _is_given(values: frozenset[Known]) -> bool:
    return any(isinstance(value, (Argument, Result)) for value in values)


Arguments = frozenset[tuple[int, frozenset[Known]]]


@dataclass
class _Context:
    """A function with one set of arguments.

    Attributes:
        function: The function.
        entry: Its state at entry.
        result: What it may return; empty: it has not returned yet.
        callers: The contexts that call it so, by identity.
    """

    function: Function
    entry: State
    result: Values = frozenset()
    callers: dict[int, _Context] = field(default_factory=dict)


class _Interpreter:
    """Runs functions until neither their entry states nor their results change.

    Args:
        functions: By name.
        contents: Byte order, if what events hold is to be followed, too.
    """

    def __init__(self, functions: dict[str, Function], contents: ByteOrder | None) -> None:
        self._functions = functions
        self._contents = contents
        self._contexts: dict[str, dict[Arguments | None, _Context]] = {name: {} for name in functions}
        self._dirty: list[_Context] = []

    def run(self) -> None:
        """Run what has to be run, until nothing has."""
        while self._dirty:
            self._states(self._dirty.pop(0))

    def states(self, function: Function) -> Iterator[_States]:
        """Yield the states before each instruction that can be reached, for each way that a function is called."""
        for context in list(self._contexts[function.name].values()):
            yield self._states(context)

    def enter(self, name: str | None, arguments: dict[int, frozenset[Known]]) -> _Context | None:
        """Return the context of a function with these arguments; a new one will be run."""
        if name is None or name not in self._functions:
            return None
        contexts = self._contexts[name]
        given = {register: frozenset[Known]({Argument(register)}) for register in ARGUMENT_REGISTERS}
        entry = State({**given, **arguments, FRAME_POINTER: frozenset({Stack(0)})})
        key: Arguments | None = frozenset(arguments.items())
        if key not in contexts and len(contexts) >= MAX_CONTEXTS:
            key = None
            entry = contexts[key].entry.join(entry) if key in contexts else entry
        if key not in contexts:
            contexts[key] = _Context(self._functions[name], entry)
            self._dirty.append(contexts[key])
        elif contexts[key].entry != entry:
            contexts[key].entry = entry
            self._dirty.append(contexts[key])
        return contexts[key]

    def _states(self, context: _Context) -> _States:
        states: dict[tuple[int, _Maps | None], State] = {}
        kinds: dict[int, int] = {}  # index → states there
        code = context.function.code
        pending = [(min(code), context.entry)] if code else []
        while pending:
            index, state = pending.pop()
            key = index, state.maps if kinds.get(index, 0) < MAX_STATES or (index, state.maps) in states else None
            before = states.get(key)
            joined = state if before is None else before.join(state)
            if joined == before or index not in code:
                continue
            kinds[index] = kinds.get(index, 0) + (before is None)
            states[key] = joined
            instruction = code[index]
            if instruction.opcode == EXIT:
                result = joined.registers.get(0)
                self._leave(context, None if result is None or _is_given(result) else result)
                continue
            after = self._after(context, index, instruction, joined)
            if after is not None:
                pending += [(each, after) for each in _successors(index, instruction)]
        return sorted(((index, state) for (index, _maps), state in states.items()), key=lambda each: each[0])

    def _after(self, context: _Context, index: int, instruction: Instruction, state: State) -> State | None:
        if _is_subprogram_call(instruction):
            arguments: dict[int, frozenset[Known]] = {
                register: frozenset(context.function.frame(index, each) if isinstance(each, Stack) else each for each in values)
                for register, values in state.registers.items()
                if register in ARGUMENT_REGISTERS and not _is_given(values)
            }
            if self._contents:  # which it may change
                pointers = frozenset().union(*(state.registers.get(each, frozenset()) for each in ARGUMENT_REGISTERS))
                state = state.with_memory(forget(state.memory, pointers))
            callee = self.enter(instruction.symbol, arguments)
            if callee is None:
                return _after_call(state, None)
            callee.callers[id(context)] = context
            # As long as it has not returned, nothing comes after.
            return None if callee.result == frozenset() else _after_call(state, callee.result)
        if instruction.opcode == CALL:
            result = _helper_result(index, instruction, state)
            if self._contents:
                state = state.with_memory(_memory_after_helper(instruction, state))
                if instruction.source == 0 and instruction.immediate == RINGBUF_RESERVE:
                    result = frozenset({Record(context.function.name, index, 0)})
                    state = state.with_memory(forget(state.memory, result))  # of the one before, in a loop
            return _after_call(state, result)
        after = _execute(instruction, state)
        if self._contents and instruction.opcode & 7 in (CLASS_ST, CLASS_STX):
            after = after.with_memory(_memory_after_store(instruction, state, self._contents))
        return after

    def _leave(self, context: _Context, values: Values) -> None:
        joined = None if context.result is None or values is None else context.result | values
        if joined != context.result:
            context.result = joined
            self._dirty += context.callers.values()


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
    return State(registers, state.slots, state.memory)


def _memory_after_helper(instruction: Instruction, state: State) -> Memory:
    """Return what is known after a helper has written to what its arguments point to: as much as the next argument says."""
    memory, registers = state.memory, state.registers
    for register in ARGUMENT_REGISTERS if instruction.source or instruction.immediate not in READING_HELPERS else ():
        sizes = [each.value for each in registers.get(register + 1, ()) if isinstance(each, Const)]
        memory = forget(memory, registers.get(register), sizes[0] if len(sizes) == 1 else None)
    return memory


def _memory_after_store(instruction: Instruction, state: State, byteorder: ByteOrder) -> Memory:
    opcode, destination, source, offset, immediate, _symbol = instruction
    size_bytes = {0x00: 4, 0x08: 2, 0x10: 1, 0x18: 8}[opcode & 0x18]
    value: Values = frozenset({Const(immediate)})
    if opcode & 7 == CLASS_STX:
        value = state.registers.get(source) if opcode & 0xE0 == MODE_MEM else None
    addresses = frozenset(
        each._replace(byte_offset=each.byte_offset + offset)
        for each in state.registers.get(destination, ())
        if isinstance(each, Address)
    )
    return store(state.memory, addresses, value, size_bytes, byteorder)


def _helper_result(index: int, instruction: Instruction, state: State) -> Values:
    if instruction.source == 0 and instruction.immediate in LOOKUP_HELPERS:
        maps = state.registers.get(1, frozenset())
        found = frozenset(MapValue(each.name, 0, index) for each in maps if isinstance(each, MapAddress))
        return found or frozenset({Result(index)})
    return frozenset({Result(index)})


def _execute(instruction: Instruction, state: State) -> State:
    """Return the state after an instruction that neither jumps nor calls."""
    opcode, destination, source, offset, immediate, symbol = instruction
    registers, slots = dict(state.registers), dict(state.slots)
    kind = opcode & 7
    value: Values = None
    if opcode == LD_IMM64:
        value = frozenset({MapAddress(symbol)}) if symbol else frozenset({Const(immediate)})
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
        return State(registers, slots, state.memory)
    if kind in (CLASS_LD, CLASS_LDX, CLASS_ALU, CLASS_ALU64):
        registers.pop(destination, None)
        if value:
            registers[destination] = value
    return State(registers, slots, state.memory)


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
    if opcode == CLASS_ALU64 | SOURCE_REGISTER and (arrays := _whole(left) or _whole(right)):  # an element of a global array
        return arrays
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
            elif opcode & 0xF0 == 0 and isinstance(one, Address):
                found.add(one._replace(byte_offset=one.byte_offset + other.value))
            else:
                return None
    return frozenset(found)


def _whole(values: Values) -> Values:
    return values if values and all(isinstance(each, MapAddress) for each in values) else None


def _events(function: Function, states: _States) -> Iterator[EventCall]:
    dynptrs: dict[Known, EventCall] = {}  # address of a dynptr on the stack → the call that reserves what it is of
    filled = set()  # dynptrs that are written in one piece, or whose first piece is all whose size is known
    reserved = []
    submitted = _submitted(function, states)
    for index, state in states:
        instruction, registers = function.code[index], state.registers
        if instruction.opcode != CALL or instruction.source != 0:
            continue
        helper = instruction.immediate
        if helper in EVENT_HELPERS:
            map_register, data_register, size_register = EVENT_HELPERS[helper]
            maps = registers.get(map_register, frozenset())
            call = _event(function, index, registers, _names(maps), data_register, size_register)
            if len(call.sizes_bytes) == 1:
                (size_bytes,) = call.sizes_bytes
                held = read(state.memory, registers.get(data_register), size_bytes)
                held = submitted.get(index, ()) if helper == RINGBUF_RESERVE else held
                call = replace(call, contents=held[:size_bytes])
            call = replace(call, copies=_copies(function, states, registers.get(data_register)))
            if helper == RINGBUF_RESERVE_DYNPTR:
                pointers = registers.get(4, frozenset())
                dynptrs.update(dict.fromkeys(pointers, call))
                reserved.append((pointers, call))
            else:
                yield call
        elif helper in DYNPTR_HELPERS:
            offset_register, data_register, size_register = DYNPTR_HELPERS[helper]
            for pointer in registers.get(1, frozenset()) & dynptrs.keys():
                whole = dynptrs[pointer]
                call = _event(function, index, registers, whole.maps, data_register, size_register)
                first = registers.get(offset_register) == frozenset({Const(0)})
                if first and call.sizes_bytes and whole.sizes_bytes in (frozenset(), call.sizes_bytes):
                    filled.add(pointer)
                    yield call
    yield from (call for pointers, call in reserved if not pointers & filled)


def _copies(function: Function, states: _States, address: Values) -> frozenset[tuple[int, int]]:
    return frozenset(
        (function.start + index * 8, register)
        for index, state in states
        for register, values in state.registers.items()
        if address and values == address
    )


def _submitted(function: Function, states: _States) -> dict[int, Contents]:
    """Return what the records that a function reserves and submits hold then, by the index of the call that reserves."""
    found: dict[int, Contents] = {}
    for index, state in states:
        instruction = function.code[index]
        if instruction.opcode != CALL or instruction.source or instruction.immediate != RINGBUF_SUBMIT:
            continue
        for record in state.registers.get(1, ()):
            if isinstance(record, Record) and record.function == function.name:
                size_bytes = 1 + max((at for base, at in state.memory if base == record), default=-1)
                held = read(state.memory, frozenset({record}), size_bytes)
                found[record.call] = _either(found[record.call], held) if record.call in found else held
    return found


def _either(one: Contents, other: Contents) -> Contents:
    return tuple(a | b if a and b else None for a, b in zip(one, other, strict=False))


def _names(maps: frozenset[Known]) -> frozenset[str]:
    return frozenset(each.name for each in maps if isinstance(each, MapAddress))


def _event(
    function: Function,
    index: int,
    registers: dict[int, frozenset[Known]],
    maps: frozenset[str],
    data_register: int,
    size_register: int,
) -> EventCall:
    origins = registers.get(data_register, frozenset()) if data_register else frozenset()
    given = frozenset({data_register} if data_register else ())
    sizes = registers.get(size_register, frozenset())
    return EventCall(
        maps,
        frozenset(each.value for each in sizes if isinstance(each, Const)) if not _is_given(sizes) else frozenset(),
        frozenset(function.frame(index, each) if isinstance(each, Stack) else each for each in origins),
        function.name,
        function.start + (index + 1) * 8,
        frozenset(register for register, values in registers.items() if origins and values == origins) | given,
    )
