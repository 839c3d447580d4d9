"""Which instructions of a program can be reached on a kernel, where the answers to its relocations decide the branches.

What is made an invalid instruction, or calls what a kernel has not, is harmless as long as nothing leads there: the kernel's
verifier walks only what can be reached, with the same constants. This is no verifier: it knows constants and nothing else, and
where it does not know a value both ways count as possible.
"""

from __future__ import annotations

import struct

from ecli_runtime.helpers import NUMBERS
from ecli_runtime.portability.values import MASK32, MASK64, Data, Frame, Pointer, compute, join, jumps, load

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import TypeAlias

    from ecli_runtime.code import CodeSection, Target
    from ecli_runtime.core.records import Relocation
    from ecli_runtime.portability.values import Value

    Registers: TypeAlias = "tuple[Value, ...]"
    Slots: TypeAlias = "dict[int, Value]"
    # Section and index of an instruction.
    Place: TypeAlias = tuple[int, int]

MAX_STEP_COUNT = 1_000_000
_MAX_DEPTH = 16

_LD_IMM64, _CALL, _EXIT, _JA, _JA32 = 0x18, 0x85, 0x95, 0x05, 0x06
_LD, _LDX, _ST, _STX, _ALU, _JMP, _JMP32, _ALU64 = range(8)
_PSEUDO_CALL, _PSEUDO_KFUNC_CALL = 1, 2
_ATOMIC = 0xC0
_SIZES = {0x00: 4, 0x08: 2, 0x10: 1, 0x18: 8}


class Patch:
    """What relocations make of one instruction.

    Args:
        value: Offset or immediate that it gets.
        problem: Why it is made invalid: what the relocation asks for, or in words; ``None``: it is not.
    """

    def __init__(self, value: int | None, problem: Relocation | str | None = None) -> None:
        self.value, self.problem = value, problem


class Reached:
    """What a program does where it can be reached, each with one place where it does.

    Attributes:
        invalid: Instructions that relocations have made invalid.
        helpers: Numbers of helpers that it calls.
        kfuncs: Names of kernel functions that it calls.
        features: Names of features of byte code (:mod:`ecli_runtime.portability.facts`) that it uses.
        symbols: Names of maps, variables and externs whose addresses it loads.
        results: What it may return, as far as that is known; ``None``: anything.
        complete: Everything was followed.
    """

    def __init__(self) -> None:
        self.results: list[Value] = []
        self.invalid: dict[Place, Patch] = {}
        self.helpers: dict[int, Place] = {}
        self.kfuncs: dict[str, Place] = {}
        self.features: dict[str, Place] = {}
        self.symbols: dict[str, Place] = {}
        self.complete = True


class Walk:
    """Walks one program.

    Args:
        sections: The object's code.
        layout: Format of an instruction.
        patches: What relocations make of instructions.
        value_of: What loading the address of a symbol gives: of an extern one, or of data.
        reached: Where what is found is noted.
        global_functions: First instructions of those, which the verifier walks by themselves, for any arguments.
    """

    def __init__(
        self,
        sections: Mapping[int, CodeSection],
        layout: str,
        patches: Mapping[Place, Patch],
        value_of: Callable[[Target, int], Value],
        reached: Reached,
        global_functions: frozenset[Place] = frozenset(),
    ) -> None:
        self._sections, self._patches, self._value_of, self.reached = sections, patches, value_of, reached
        self._global_functions = global_functions
        self._unpack = struct.Struct(layout).unpack_from
        self._order = layout[0]
        self._left = MAX_STEP_COUNT
        self._results: dict[tuple[int, int, Registers], Value] = {}
        self._depth = 0

    def follow(self, section: int, index: int) -> None:
        """Follow the program that begins at an instruction of a section."""
        self._function(section, index, (Pointer(), None, None, None, None))

    def _function(self, section: int, start: int, arguments: Registers) -> Value:
        key = (section, start, arguments)
        if key not in self._results:
            self._results[key] = None
            if self._depth >= _MAX_DEPTH or section not in self._sections:
                self.reached.complete = False
                return None
            self._depth += 1
            self._results[key] = self._run(self._sections[section], start, arguments)
            self._depth -= 1
        return self._results[key]

    def _run(self, section: CodeSection, start: int, arguments: Registers) -> Value:
        states: dict[int, tuple[Registers, Slots]] = {}
        results: list[Value] = []
        pending: list[tuple[int, Registers, Slots]] = [(start, (None, *arguments, *[None] * 4, Frame(0)), {})]
        count = len(section.code) // 8
        while pending:
            index, registers, slots = pending.pop()
            self._left -= 1
            if self._left < 0 or not 0 <= index < count:
                self.reached.complete = False
                return None
            before = states.get(index)
            if before is not None:
                registers, slots = _join(before, (registers, slots))
                if (registers, slots) == before:
                    continue
            states[index] = (registers, slots)
            opcode, fields, offset, immediate = self._unpack(section.code, index * 8)
            if opcode == _EXIT:
                results.append(registers[0])
                if self._depth == 1:
                    self.reached.results.append(registers[0])
                continue
            patch = self._patches.get((section.index, index))
            if patch is not None and patch.problem is not None:
                self.reached.invalid[section.index, index] = patch
                continue  # the verifier goes no further
            pending.extend(self._step(section, index, (opcode, fields, offset, immediate), patch, registers, dict(slots)))
        result = results[0] if results else None
        for each in results[1:]:
            result = join(result, each)
        return None if isinstance(result, Frame) else result

    def _step(
        self,
        section: CodeSection,
        index: int,
        instruction: tuple[int, int, int, int],
        patch: Patch | None,
        before: Registers,
        slots: Slots,
    ) -> list[tuple[int, Registers, Slots]]:
        """Return where an instruction leads, with what is known there."""
        opcode, fields, offset, immediate = instruction
        low, high = fields & 0xF, fields >> 4
        destination, source = (low, high) if self._order == "<" else (high, low)
        kind, registers, patched = opcode & 7, list(before), patch.value if patch is not None else None
        if destination > 10 or source > 10:
            self.reached.complete = False
            return []
        if opcode == _LD_IMM64:
            registers[destination] = self._address(section, index, source, immediate, patched)
            return [(index + 2, tuple(registers), slots)]
        if kind in (_ALU, _ALU64):
            self._note_arithmetic(opcode, offset, section, index)
            number = (immediate if patched is None else patched) & MASK64
            operand = registers[source] if opcode & 8 else number
            registers[destination] = compute(opcode, registers[destination], operand, offset)
        elif kind == _LDX:
            registers[destination] = self._load(section, index, opcode, registers[source], offset, slots)
        elif kind in (_ST, _STX):
            value = immediate & MASK64 if kind == _ST else registers[source]
            self._store(section, index, instruction, destination, source, value, registers, slots)
        elif opcode == _CALL:
            self._call(section, index, source, immediate, registers, slots)
        elif opcode in (_JA, _JA32):
            if opcode == _JA32:
                self._note("long_jumps", section, index)
            return [(index + 1 + (immediate if opcode == _JA32 else offset), before, slots)]
        elif kind == _LD:  # from a packet, the old way
            registers[:6] = [None] * 6
        elif opcode & 0xF0 == 0xE0:  # may_goto
            self._note("may_goto", section, index)
            return [(index + 1 + offset, before, slots), (index + 1, before, slots)]
        elif opcode & 0xF8 in (0x80, 0x88, 0x08):  # calls and jumps through a register
            self.reached.complete = False
            return []
        else:
            return self._branch(opcode, index, offset, immediate, destination, source, registers, slots)
        return [(index + 1, tuple(registers), slots)]

    @staticmethod
    def _branch(
        opcode: int, index: int, offset: int, immediate: int, destination: int, source: int, registers: list[Value], slots: Slots
    ) -> list[tuple[int, Registers, Slots]]:
        right = registers[source] if opcode & 8 else immediate & MASK64
        left = registers[destination]
        is_taken = jumps(opcode, left, right)
        ways = []
        for goes, target in ((True, index + 1 + offset), (False, index + 1)):
            if is_taken is None or is_taken == goes:
                known = list(registers)
                is_equal = (opcode in (0x15, 0x1D) and goes) or (opcode in (0x55, 0x5D) and not goes)
                if is_equal and isinstance(right, int) and left is None:
                    known[destination] = right
                ways.append((target, tuple(known), dict(slots)))
        return ways

    def _address(self, section: CodeSection, index: int, source: int, immediate: int, patched: int | None) -> Value:
        if patched is not None:
            return patched & MASK64
        target = section.targets.get(index)
        if target is None:
            if source:
                return Pointer()
            high: int = self._unpack(section.code, index * 8 + 8)[3] if index * 8 + 16 <= len(section.code) else 0
            return (immediate & MASK32) | (high & MASK32) << 32
        if target.section in self._sections:  # a function that a helper will call
            self._note("callbacks", section, index)
            self._function(target.section, (target.byte_offset + immediate) // 8, (None,) * 5)
            return Pointer()
        self.reached.symbols.setdefault(target.name, (section.index, index))
        return self._value_of(target, immediate)

    def _load(self, section: CodeSection, index: int, opcode: int, base: Value, offset: int, slots: Slots) -> Value:
        size, mode = _SIZES[opcode & 0x18], opcode & 0xE0
        if mode == 0x80:
            self._note("sign_extension", section, index)
        if isinstance(base, Frame):
            return slots.get(base.offset + offset) if base.offset is not None and size == 8 else None
        if isinstance(base, Data):
            return load(base, offset, size, self._order, mode == 0x80)
        return None

    def _store(
        self,
        section: CodeSection,
        index: int,
        instruction: tuple[int, int, int, int],
        destination: int,
        source: int,
        value: Value,
        registers: list[Value],
        slots: Slots,
    ) -> None:
        opcode, _fields, offset, immediate = instruction
        is_atomic = opcode & 7 == _STX and opcode & 0xE0 == _ATOMIC
        base, size = registers[destination], _SIZES[opcode & 0x18]
        if is_atomic:
            if immediate in (0x100, 0x110):
                self._note("load_acquire", section, index)
            elif immediate:  # anything but an addition whose result nobody asks for
                self._note("atomics", section, index)
            registers[0 if immediate == 0xF1 else source] = None
        if isinstance(base, Frame):
            if base.offset is None:
                slots.clear()
                return
            at = base.offset + offset
            for other in [each for each in slots if at - 8 < each < at + size]:
                del slots[other]
            if size == 8 and not is_atomic:
                slots[at] = value

    def _call(self, section: CodeSection, index: int, source: int, immediate: int, registers: list[Value], slots: Slots) -> None:
        target = section.targets.get(index)
        result: Value = None
        passed = tuple(None if isinstance(each, Frame) else each for each in registers[1:6])
        if any(isinstance(each, Frame) for each in registers[1:6]):
            slots.clear()  # what is called may write there
        if target is not None and not target.section:
            self.reached.kfuncs.setdefault(target.name, (section.index, index))
        elif source == _PSEUDO_CALL:
            start = index + immediate + 1 if target is None else target.byte_offset // 8 + immediate + 1
            where = section.index if target is None else target.section
            if (where, start) in self._global_functions:
                self._function(where, start, (None,) * 5)
            else:
                result = self._function(where, start, passed)
        elif source != _PSEUDO_KFUNC_CALL:
            self.reached.helpers.setdefault(immediate, (section.index, index))
            if immediate in _WITH_CALLBACKS:
                slots.clear()
        registers[:6] = [result, *[None] * 5]

    def _note_arithmetic(self, opcode: int, offset: int, section: CodeSection, index: int) -> None:
        operation = opcode & 0xF0
        if operation == 0xB0 and opcode & 8 and offset:
            self._note("sign_extension" if offset in (8, 16, 32) else "address_spaces", section, index)
        elif operation in (0x30, 0x90) and offset:
            self._note("signed_division", section, index)
        elif opcode == 0xD7:
            self._note("byte_swaps", section, index)

    def _note(self, feature: str, section: CodeSection, index: int) -> None:
        self.reached.features.setdefault(feature, (section.index, index))


_WITH_CALLBACKS = frozenset(
    NUMBERS[f"bpf_{name}"] for name in ("for_each_map_elem", "timer_set_callback", "find_vma", "loop", "user_ringbuf_drain")
)


def _join(one: tuple[Registers, Slots], other: tuple[Registers, Slots]) -> tuple[Registers, Slots]:
    registers = tuple(join(left, right) for left, right in zip(one[0], other[0], strict=True))
    slots = {at: join(held, other[1][at]) for at, held in one[1].items() if at in other[1]}
    return registers, slots
