"""What a program does with its context and with packets, and what it returns: followed through its byte code.

Each register and each spilled one is known by what it may hold: the context, what was loaded from the context (the pointers to
a packet are), other memory, a value that lets pass what the program judges, or anything. Whatever cannot be followed counts as
anything, so an answer may say more than is true and hardly ever less. That holds of numbers, too, that libbpf writes into the
code when it loads it (CO-RE relocations).

Instructions: RFC 9669; program types and their contexts: include/uapi/linux/bpf.h.
"""

from __future__ import annotations

import struct

from ecli_runtime.helpers import NUMBERS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from typing import TypeAlias

    from ecli_runtime.code import CodeSection

    Registers: TypeAlias = list[int]
    Slots: TypeAlias = dict[int, int]
    Place: TypeAlias = tuple[int, int]  # index of a section, and of an instruction in it

# What a value may be; a set of these.
CONTEXT = 1
LOADED = 2  # loaded from the context
POINTER = 4  # to a map's value, a ring buffer's record, and so on
STACK = 8
PASS = 16  # a constant that lets pass
UNKNOWN = 32
_POINTERS = CONTEXT | LOADED | POINTER | STACK

# Instructions; each is passed a few times. Large programs have some ten thousands.
MAX_STEP_COUNT = 500_000
_STACK_SIZE_BYTES = 512  # MAX_BPF_STACK
_MAX_DEPTH = 16  # the kernel allows 8 frames (MAX_CALL_FRAMES)

_LD, _LDX, _ST, _STX, _ALU, _JMP, _JMP32, _ALU64 = range(8)
_EQUAL, _NOT_EQUAL = (0x15, 0x16), (0x55, 0x56)  # jumps that compare with an immediate value, of 64 and of 32 bits
_LD_IMM64, _CALL, _EXIT, _JA, _JA32 = 0x18, 0x85, 0x95, 0x05, 0x06
_DW_MEM = 0x78  # mode and size of a load or store of 8 bytes
_ATOMIC = 0xC0
_ATOMIC_FETCH, _LOAD_ACQUIRE, _CMPXCHG = 0x01, 0x100, 0xF1
_PSEUDO_CALL, _PSEUDO_KFUNC_CALL = 1, 2
_FRAME_POINTER = 10

_RETURN_POINTERS = frozenset(
    NUMBERS[f"bpf_{name}"]
    for name in (
        *("map_lookup_elem", "map_lookup_percpu_elem", "ringbuf_reserve", "get_local_storage", "sk_storage_get"),
        *("inode_storage_get", "task_storage_get", "cgrp_storage_get", "dynptr_data", "per_cpu_ptr", "this_cpu_ptr"),
    )
)
_FIB_LOOKUP = NUMBERS["bpf_fib_lookup"]  # writes to its second argument, which may be in a packet
_TAKE_CALLBACKS = frozenset(
    NUMBERS[f"bpf_{name}"] for name in ("for_each_map_elem", "timer_set_callback", "find_vma", "loop", "user_ringbuf_drain")
)


class Flow:
    """Follows one program.

    Args:
        sections: The object's code.
        layout: Format of an instruction.
        passing: Return values that change nothing.
        budget: Steps that are left for all programs of an object, in a list of one: following them takes from it.
        relocated: Section and index of the instructions whose numbers are others when the code is loaded.

    Attributes:
        passes: It returns nothing but passing values.
        complete: Everything was followed; if not, the other answers count for nothing.
        context_written_at: Section and index of an instruction that may store into its context; ``None``: there is none.
        packet_written_at: Of one that may store through a pointer that it has from its context, or from where it cannot be told.
        loaded_read_at: Of one that loads through a pointer that it has from its context.
        verdict_at: Of an instruction that sets a value to return that does not pass, or else of one that returns it.
    """

    def __init__(
        self,
        sections: Mapping[int, CodeSection],
        layout: str,
        passing: Collection[int],
        budget: list[int],
        relocated: Collection[tuple[int, int]] = (),
    ) -> None:
        self.passes = True
        self.context_written_at: Place | None = None
        self.packet_written_at: Place | None = None
        self.loaded_read_at: Place | None = None
        self.verdict_at: Place | None = None
        self._verdict_at: Place | None = None
        self._relocated = relocated
        self._at: Place = (0, 0)
        self.complete = True
        self._sections, self._passing, self._budget = sections, passing, budget
        self._unpack = struct.Struct(layout).unpack_from
        self._little = layout[0] == "<"
        self._results: dict[tuple[int, int, tuple[int, ...]], int | None] = {}
        self._heads: dict[int, frozenset[int]] = {}
        self._depth = 0

    def follow(self, section: int, index: int) -> None:
        """Follow the program that begins at an instruction of a section."""
        if self._function(section, index, (CONTEXT, UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN)) & ~PASS:
            self.passes = False

    def _function(self, section: int, start: int, arguments: tuple[int, ...]) -> int:
        """Follow a function and return what it may return."""
        key = (section, start, arguments)
        if key in self._results:
            known = self._results[key]
            if known is None:  # recursion
                self.complete = False
            return UNKNOWN if known is None else known
        if self._depth >= _MAX_DEPTH or section not in self._sections:
            self.complete = False
            return UNKNOWN
        self._results[key] = None
        self._depth += 1
        result = self._run(self._sections[section], start, arguments)
        self._depth -= 1
        self._results[key] = result
        return result

    def _jump_targets(self, section: CodeSection) -> frozenset[int]:
        """Return the instructions that a jump leads to."""
        found = self._heads.get(section.index)
        if found is None:
            unpack, code = self._unpack, section.code
            targets = set()
            for index in range(len(code) // 8):
                opcode, _registers, offset, immediate = unpack(code, index * 8)
                if opcode & 7 in (_JMP, _JMP32) and opcode not in (_CALL, _EXIT):
                    targets.add(index + 1 + (immediate if opcode == _JA32 else offset))
            found = self._heads[section.index] = frozenset(targets)
        return found

    def _run(self, section: CodeSection, start: int, arguments: tuple[int, ...]) -> int:
        code, count, unpack = section.code, len(section.code) // 8, self._unpack
        if count > MAX_STEP_COUNT:
            self.complete = False
            return UNKNOWN
        heads = self._jump_targets(section)
        states: dict[int, tuple[Registers, Slots]] = {}
        result = 0
        pending: list[tuple[int, Registers, Slots]] = [(start, [UNKNOWN, *arguments, *[UNKNOWN] * 4, STACK], {})]
        while pending:
            index, registers, slots = pending.pop()
            while True:
                self._budget[0] -= 1
                if self._budget[0] < 0 or not 0 <= index < count:
                    self.complete = False
                    return UNKNOWN
                if index in heads:
                    before = states.get(index)
                    if before is not None:
                        registers, slots = _join(before, (registers, slots))
                        if (registers, slots) == before:
                            break
                    states[index] = (registers, slots)
                    registers = list(registers)
                opcode, fields, offset, immediate = unpack(code, index * 8)
                here = self._at = (section.index, index)
                low, high = fields & 0xF, fields >> 4
                destination, source = (low, high) if self._little else (high, low)
                kind = opcode & 7
                if destination > _FRAME_POINTER or source > _FRAME_POINTER:
                    self.complete = False
                    return UNKNOWN
                if opcode == _LD_IMM64:
                    self._load_immediate(section, index, destination, source, immediate, registers)
                    index += 1
                elif kind in (_ALU, _ALU64):
                    if destination == 0 and opcode & 0xF8 == 0xB0 and self._depth == 1 and immediate not in self._passing:
                        self._verdict_at = self._verdict_at or here
                    registers[destination] = self._compute(opcode, registers[destination], registers[source], offset, immediate)
                elif kind == _LDX:
                    registers[destination] = self._load(opcode, source, registers[source], offset, slots)
                elif kind in (_ST, _STX):
                    value = self._constant(immediate) if kind == _ST else registers[source]
                    slots = self._store(opcode, destination, source, value, offset, immediate, registers, slots)
                elif opcode == _CALL:
                    slots = self._call(section, index, source, immediate, registers, slots)
                elif opcode == _EXIT:
                    result |= registers[0]
                    if self._depth == 1 and registers[0] & ~PASS:
                        self.verdict_at = self._verdict_at or here
                    break
                elif opcode in (_JA, _JA32):
                    index += immediate if opcode == _JA32 else offset
                elif kind == _LD:  # from a packet, the old way: the value is in register 0
                    registers[:6] = [UNKNOWN] * 6
                elif opcode & 0xF8 in (0x80, 0x88, 0x08):  # calls and jumps through a register
                    self.complete = False
                    return UNKNOWN
                else:
                    taken = list(registers)
                    if opcode in _EQUAL:
                        taken[destination] = self._constant(immediate)
                    elif opcode in _NOT_EQUAL:
                        registers[destination] = self._constant(immediate)
                    pending.append((index + 1 + offset, taken, slots))
                index += 1
        return result

    def _constant(self, value: int) -> int:
        return PASS if value in self._passing else UNKNOWN

    def _load_immediate(
        self, section: CodeSection, index: int, destination: int, source: int, immediate: int, registers: Registers
    ) -> None:
        target = section.targets.get(index)
        if target is not None and target.section in self._sections:  # a function that a helper will call
            self._function(target.section, (target.byte_offset + immediate) // 8, (POINTER,) * 5)
        (high,) = struct.unpack_from("<i" if self._little else ">i", section.code.ljust(index * 8 + 16, b"\0"), index * 8 + 12)
        is_small = high == (-1 if immediate < 0 else 0)
        number = self._constant(immediate) if is_small and self._at not in self._relocated else UNKNOWN
        registers[destination] = POINTER if target is not None or source else number

    def _compute(self, opcode: int, left: int, right: int, offset: int, immediate: int) -> int:
        operation, by_register = opcode & 0xF0, opcode & 8
        if operation == 0xB0:  # a move; with an offset it extends a sign, or changes the address space
            if not by_register:
                return UNKNOWN if self._at in self._relocated else self._constant(immediate)
            return UNKNOWN if offset else right
        operand = right if by_register else 0
        if operation == 0x00:
            kept = 0
            for each in (left, operand):
                if each & _POINTERS:
                    kept |= each & (_POINTERS | UNKNOWN)
            return kept or UNKNOWN
        if operation == 0x10 and left & _POINTERS and not operand & _POINTERS:
            return left & (_POINTERS | UNKNOWN)
        return UNKNOWN  # the verifier allows no other arithmetic with pointers

    def _load(self, opcode: int, source: int, base: int, offset: int, slots: Slots) -> int:
        if source == _FRAME_POINTER:
            return UNKNOWN if self._at in self._relocated else slots.get(offset, UNKNOWN) if opcode & 0xF8 == _DW_MEM else UNKNOWN
        if base & LOADED:
            self.loaded_read_at = self.loaded_read_at or self._at
        if base & CONTEXT:
            return LOADED if base == CONTEXT else LOADED | UNKNOWN
        return UNKNOWN

    def _store(
        self,
        opcode: int,
        destination: int,
        source: int,
        value: int,
        offset: int,
        immediate: int,
        registers: Registers,
        slots: Slots,
    ) -> Slots:
        is_atomic = opcode & 7 == _STX and opcode & 0xE0 == _ATOMIC
        if is_atomic and immediate == _LOAD_ACQUIRE:
            registers[destination] = self._load(opcode & 0x18, source, value, offset, {})
            return slots
        base = registers[destination]
        if destination == _FRAME_POINTER and self._at in self._relocated:
            slots = {}
        elif destination == _FRAME_POINTER:
            slots = {at: held for at, held in slots.items() if abs(at - offset) >= 8}
            if opcode & 0xF8 == _DW_MEM and not is_atomic and -_STACK_SIZE_BYTES <= offset < 0:
                slots[offset] = value
        elif base & STACK:
            slots = {}
        if base & CONTEXT:
            self.context_written_at = self.context_written_at or self._at
        if base & (LOADED | UNKNOWN):
            self.packet_written_at = self.packet_written_at or self._at
        if is_atomic and immediate & _ATOMIC_FETCH:
            registers[0 if immediate == _CMPXCHG else source] = UNKNOWN
        return slots

    def _call(self, section: CodeSection, index: int, source: int, immediate: int, registers: Registers, slots: Slots) -> Slots:
        target = section.targets.get(index)
        result = UNKNOWN
        if target is not None and not target.section:
            result = POINTER  # of a kfunc, if it is used as one
            if any(each & LOADED for each in registers[1:6]):  # it may write through any pointer that it is given
                self.packet_written_at = self.packet_written_at or self._at
            if target.name == "bpf_throw":
                self.passes = False
        elif source == _PSEUDO_CALL:
            # The immediate counts instructions, from the one after the call or from the target's (libbpf, reloc_prog_funcs).
            start = index + immediate + 1 if target is None else target.byte_offset // 8 + immediate + 1
            passed = [POINTER if each & STACK else each for each in registers[1:6]]
            if any(each & STACK for each in registers[1:6]):
                slots = {}
            result = self._function(section.index if target is None else target.section, start, tuple(passed))
        elif source != _PSEUDO_KFUNC_CALL:
            if immediate in _RETURN_POINTERS:
                result = POINTER
            if immediate in _TAKE_CALLBACKS:
                slots = {}
            if immediate == _FIB_LOOKUP and registers[2] & (LOADED | UNKNOWN):
                self.packet_written_at = self.packet_written_at or self._at
        registers[:6] = [result, *[UNKNOWN] * 5]
        return slots


def _join(one: tuple[Registers, Slots], other: tuple[Registers, Slots]) -> tuple[Registers, Slots]:
    registers = [left | right for left, right in zip(one[0], other[0], strict=True)]
    slots = {at: held | other[1][at] for at, held in one[1].items() if at in other[1]}
    return registers, slots
