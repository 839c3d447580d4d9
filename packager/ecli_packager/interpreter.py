"""A small abstract interpreter of eBPF byte code.

It follows constants, addresses of maps, of map values and of the stack through registers, spills, branches and calls of
subprograms until nothing changes any more. A subprogram is run once for each set of arguments that it is given, so what one
caller passes is not mixed with what another does. What it cannot follow it does not know, and says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeVar

from ecli_packager.instructions import (
    ARGUMENT_REGISTERS,
    CALL,
    CLASS_ALU,
    CLASS_ALU64,
    CLASS_JMP,
    CLASS_JMP32,
    CLASS_LD,
    CLASS_LDX,
    CLASS_ST,
    CLASS_STX,
    EXIT,
    FRAME_POINTER,
    JA,
    JA32,
    LD_IMM64,
    MODE_MEM,
    MOV,
    PSEUDO_CALL,
    SIZE_DW,
    SOURCE_REGISTER,
    Function,
    Instruction,
)
from ecli_packager.values import (
    Address,
    Argument,
    ByteOrder,
    Const,
    Known,
    MapAddress,
    MapValue,
    Memory,
    Record,
    Result,
    Stack,
    Values,
    forget,
    store,
)

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
States = list[tuple[int, State]]  # before the instruction of an index, in its order; several for one that differ in their maps
_K = TypeVar("_K")
_V = TypeVar("_V")


def _join(one: dict[_K, frozenset[_V]], other: dict[_K, frozenset[_V]]) -> dict[_K, frozenset[_V]]:
    both = {key: one[key] | other[key] for key in one.keys() & other.keys()}
    return {key: values for key, values in both.items() if len(values) <= MAX_VALUES}


def run_interpreter(functions: list[Function], contents: ByteOrder | None) -> Interpreter:
    """Return the interpreter of an object's functions when nothing changes any more; programs are what none of them calls.

    Args:
        functions: All of them.
        contents: Byte order, if what events hold is to be followed, too.
    """
    called = {
        instruction.symbol for function in functions for instruction in function.code.values() if is_subprogram_call(instruction)
    }
    interpreter = Interpreter({function.name: function for function in functions}, contents)
    for function in functions:
        if function.name not in called:
            interpreter.enter(function.name, {})
    interpreter.run()
    return interpreter


def is_subprogram_call(instruction: Instruction) -> bool:
    """Tell whether an instruction calls another function of the object."""
    return instruction.opcode == CALL and instruction.source == PSEUDO_CALL


def is_given(values: frozenset[Known]) -> bool:
    """Tell whether a register may hold what the function was given, or what a helper returned: nothing is known of it."""
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


class Interpreter:
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

    def states(self, function: Function) -> Iterator[States]:
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

    def _states(self, context: _Context) -> States:
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
                self._leave(context, None if result is None or is_given(result) else result)
                continue
            after = self._after(context, index, instruction, joined)
            if after is not None:
                pending += [(each, after) for each in _successors(index, instruction)]
        return sorted(((index, state) for (index, _maps), state in states.items()), key=lambda each: each[0])

    def _after(self, context: _Context, index: int, instruction: Instruction, state: State) -> State | None:
        if is_subprogram_call(instruction):
            arguments: dict[int, frozenset[Known]] = {
                register: frozenset(context.function.frame(index, each) if isinstance(each, Stack) else each for each in values)
                for register, values in state.registers.items()
                if register in ARGUMENT_REGISTERS and not is_given(values)
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
