"""What eBPF byte code says about events: at which call, through which map, how many bytes, and where they come from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from io import BytesIO

from elftools.elf.elffile import ELFFile

from ecli_packager.instructions import (
    ARGUMENT_REGISTERS,
    CALL,
    CLASS_ST,
    CLASS_STX,
    Function,
    Instruction,
    functions,
)
from ecli_packager.interpreter import (
    DYNPTR_HELPERS,
    EVENT_HELPERS,
    MAP_DELETE_ELEM,
    READING_HELPERS,
    RINGBUF_RESERVE,
    RINGBUF_RESERVE_DYNPTR,
    RINGBUF_SUBMIT,
    States,
    is_given,
    is_subprogram_call,
    run_interpreter,
)
from ecli_packager.values import (
    ByteOrder,
    Const,
    Contents,
    Frame,
    Known,
    MapAddress,
    Record,
    Stack,
    Values,
    read,
)


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


def event_calls(data: bytes, with_contents: bool = False) -> list[EventCall]:
    """Return the calls that make events, in all programs of an object that is not linked yet; with contents it takes longer."""
    elf = ELFFile(BytesIO(data))
    byteorder: ByteOrder = "little" if elf.little_endian else "big"
    return interpret(functions(elf), byteorder if with_contents else None)


def interpret(functions: list[Function], contents: ByteOrder | None = None) -> list[EventCall]:
    """Return the calls that make events, in the order of the code; with their contents if the byte order is given."""
    interpreter = run_interpreter(functions, contents)
    found: dict[EventCall, None] = {}
    for function in functions:
        for states in interpreter.states(function):
            found.update(dict.fromkeys(_events(function, states)))
    return list(found)


def emptied_maps(data: bytes) -> frozenset[str]:
    """Return the maps that the programs of an object delete entries of, as far as known."""

    def deleted(code: Instruction) -> Iterable[int]:
        return (1,) if code.opcode == CALL and (code.source, code.immediate) == (0, MAP_DELETE_ELEM) else ()

    return _names_in(data, deleted)


def written_variables(data: bytes) -> frozenset[str]:
    """Return the global variables that the programs of an object write to, themselves or through a helper, as far as known."""
    return _names_in(data, _written_through)


def _names_in(data: bytes, registers: Callable[[Instruction], Iterable[int]]) -> frozenset[str]:
    """Return the maps and variables whose addresses are in some registers of each instruction."""
    found = functions(ELFFile(BytesIO(data)))
    interpreter = run_interpreter(found, None)
    return frozenset(
        name
        for function in found
        for states in interpreter.states(function)
        for index, state in states
        for register in registers(function.code[index])
        for name in _names(state.registers.get(register, frozenset()))
    )


def _written_through(code: Instruction) -> Iterable[int]:
    """Return the registers with addresses that an instruction writes to."""
    if code.opcode & 7 in (CLASS_ST, CLASS_STX):
        return (code.destination,)
    writes = code.opcode == CALL and (code.source or code.immediate not in READING_HELPERS)
    return ARGUMENT_REGISTERS if writes and not is_subprogram_call(code) else ()


def _events(function: Function, states: States) -> Iterator[EventCall]:
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


def _copies(function: Function, states: States, address: Values) -> frozenset[tuple[int, int]]:
    return frozenset(
        (function.start + index * 8, register)
        for index, state in states
        for register, values in state.registers.items()
        if address and values == address
    )


def _submitted(function: Function, states: States) -> dict[int, Contents]:
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
        frozenset(each.value for each in sizes if isinstance(each, Const)) if not is_given(sizes) else frozenset(),
        frozenset(function.frame(index, each) if isinstance(each, Stack) else each for each in origins),
        function.name,
        function.start + (index + 1) * 8,
        frozenset(register for register, values in registers.items() if origins and values == origins) | given,
    )
