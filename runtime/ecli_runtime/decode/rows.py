"""Line programs in plain Python: one function made for each program, which renders a whole run.

A row is one ``bytes % tuple``: the template has all that is constant, :mod:`struct` unpacks the rest, and what takes longer than
printing a number is looked up in a table of what was written for that value before. Values beside each other that tend to repeat
together (a process's id, name and control group) are looked up together. Generated code holds nothing but names that are made
here and numbers; whatever comes from a package is a constant beside it.
"""

from __future__ import annotations

from struct import Struct

from ecli_runtime.decode.lines import Cell, Loop, Text, Value, longest_value
from ecli_runtime.decode.writers import make_cell, make_column, make_writer
from ecli_runtime.read.run import HEADER_SIZE_BYTES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from ecli_runtime.decode.lines import LineProgram
    from ecli_runtime.decode.writers import Writer
    from ecli_runtime.read.run import Run

# An array of at most so many values becomes part of its row's template; a longer one is a loop.
_MAX_UNROLLED = 64
_MEMO_ENTRIES = 4096
_ALL_MEMO_ENTRIES = 1 << 16
# Longer strings are not kept: together they could fill the memory.
_MEMO_KEY_BYTES = 256
# Nor is what is written for neighbours, with the names between them.
_MEMO_TEXT_BYTES = 2048
# Rows after which a memo must have known three values out of five, or is given up; of neighbours nine out of ten, because what
# takes time is to write them all for one that is new.
_TRIAL_ROWS = 2048
_MISSES, _MISSES_OF_NEIGHBOURS = 0.4, 0.1
# Strides differ where samples end in a flexible array.
_MAX_LAYOUTS = 64

_LETTERS = {8: "b", 16: "h", 32: "i", 64: "q"}
_SIZES = {1: "B", 2: "H", 4: "I", 8: "Q"}
_RAW_KINDS = frozenset(("string", "port", "ipv4", "ipv6", "mac"))
# What may repeat together with its neighbours, if it has no more than 32 bits or is a text.
_NEIGHBOURS = frozenset(("int", "hex", "bool", "names", "flags", "dev", *_RAW_KINDS))


class PythonLines:
    """Renders runs of one program.

    Args:
        program: What to write.
        symbol: Names an address for instructions of kind ``symbol``; an empty text: it has no name.
        stack: Returns for an instruction of kind ``stack`` the function that writes it, given what holds the sample, and where
            that begins.

    Attributes:
        program: The program.
        direct: Instructions whose values hardly repeat, so that no memo is kept for them.
        apart: Instructions whose values hardly repeat together with what stands before them.
    """

    def __init__(
        self,
        program: LineProgram,
        symbol: Callable[[int], str] | None = None,
        stack: Callable[[Value], Callable[[bytes, int], bytes]] | None = None,
    ) -> None:
        self.program = program
        self._symbol, self._stack = symbol, stack
        self._is_shown: Callable[[bytes, int, int], bool] | None = None
        if program.where is not None:
            from ecli_runtime.decode.where import compile_predicate

            self._is_shown = compile_predicate(program.where, program.byteorder)
        self.direct: set[int] = set()
        self.apart: set[int] = set()
        self._rows = 0
        self.compile()

    def compile(self) -> None:
        """Make the function anew, with the memos that ``direct`` and ``apart`` leave."""
        compiler = _Compiler(self.program, self.direct, self.apart, self._symbol, self._stack)
        self._function, self._template, self._scope = compiler.compile()
        self._memos = compiler.memos
        for memo in self._memos.values():
            memo.limit = min(_MEMO_ENTRIES, _ALL_MEMO_ENTRIES // len(self._memos))
        self._are_new = True
        self._layouts: dict[int, list[Struct]] = {}

    def render(self, run: Run, prefix: bytes, limit: int) -> tuple[bytes, int, int]:
        """Return the lines of a run, how many there are, and how many live records were looked at.

        Args:
            run: Records that have the size of the plan's type or more.
            prefix: What stands at the beginning of each line.
            limit: The number of lines after which to stop; negative: all.
        """
        data, count, consumed = self._chosen(run, limit)
        if not count:
            return b"", 0, consumed
        stride = run.stride
        layout = self._layouts.get(stride)
        if layout is None:
            if len(self._layouts) >= _MAX_LAYOUTS:
                self._layouts.clear()
            layout = self._layouts[stride] = self._scope.structs(HEADER_SIZE_BYTES, stride)
        lines = self._function(data, count, stride, run.length, prefix.replace(b"%", b"%%") + self._template, layout)
        lines.append(b"")
        self._judge_memos(count)
        return b"\n".join(lines), count, consumed

    def _chosen(self, run: Run, limit: int) -> tuple[bytes, int, int]:
        """Return the records to show, one after the other, how many, and how many live ones were looked at to find them."""
        data, stride = run.data, run.stride
        is_shown = self._is_shown
        if is_shown is None and not run.mixed:
            count = run.count if limit < 0 else min(limit, run.count)
            return (data if count == run.count else data[: count * stride]), count, count
        length = run.length
        headers = memoryview(data).cast("I")[:: stride >> 2]
        chosen: list[bytes] = []
        consumed = 0
        for at, header in zip(range(0, len(data), stride), headers, strict=True):
            if len(chosen) == limit:
                break
            if header == length:
                consumed += 1
                if is_shown is None or is_shown(data, at + HEADER_SIZE_BYTES, length):
                    chosen.append(data[at : at + stride])
        return b"".join(chosen), len(chosen), consumed

    def _judge_memos(self, count: int) -> None:
        self._rows += count
        if self._rows < _TRIAL_ROWS:
            return
        # A new memo misses each value once, however often it will come.
        useless = [values for values, memo in self._memos.items() if memo.misses > self._rows * _allowed(values)]
        if self._are_new:
            useless, self._are_new = [], False
        for memo in self._memos.values():
            memo.misses = 0
        self._rows = 0
        if useless:
            self.direct.update(values[0] for values in useless if len(values) == 1)
            self.apart.update(values[len(values) // 2] for values in useless if len(values) > 1)
            self.compile()


def _allowed(values: tuple[int, ...]) -> float:
    return _MISSES if len(values) == 1 else _MISSES_OF_NEIGHBOURS


class _Memo(dict):  # type: ignore[type-arg]
    """What was written for a value, or for the bytes of some; forgets everything when it is full."""

    __slots__ = ("limit", "misses", "write")

    def __init__(self, write: Writer) -> None:
        super().__init__()
        self.write = write
        self.limit = _MEMO_ENTRIES
        self.misses = 0

    def __missing__(self, key: Any) -> bytes:
        self.misses += 1
        if len(self) >= self.limit:
            self.clear()
        text = self[key] = self.write(key)
        return text


class _Scope:
    """Variables that are unpacked from one stretch of bytes: a sample, or an element of an array.

    A format of :mod:`struct` reads from left to right. What overlaps (members of unions, bitfields) goes to further layers.
    """

    def __init__(self, byteorder: str) -> None:
        self._prefix = "<" if byteorder == "little" else ">"
        self._variables: dict[tuple[int, int, str], str] = {}
        # Strings that are written for all rows at once: (instruction, byte offset) → size.
        self.columns: dict[tuple[int, int], int] = {}
        self.uses_place = False  # of the stretch: variables `at`, and `end` of the payload

    def variable(self, byte_offset: int, size_bytes: int, letter: str) -> str:
        """Return the name of the variable that holds what is unpacked with a letter."""
        key = (byte_offset, size_bytes, letter)
        return self._variables.setdefault(key, f"v{len(self._variables)}")

    def _layers(self) -> list[list[tuple[int, int, str]]]:
        layers: list[list[tuple[int, int, str]]] = []
        for key in sorted(self._variables):
            for layer in layers:
                if layer[-1][0] + layer[-1][1] <= key[0]:
                    layer.append(key)
                    break
            else:
                layers.append([key])
        return layers

    def targets(self) -> list[str]:
        """Return what the layers, without the columns, are assigned to: ``v0, v1,``."""
        return ["".join(f"{self._variables[key]}, " for key in layer) for layer in self._layers()]

    def structs(self, start: int, size_bytes: int = 0) -> list[Struct]:
        """Return what unpacks the layers, from where ``start`` bytes precede the stretch; padded to a size, if any."""
        found = []
        columns = [[(offset, size, f"{size}s")] for (_index, offset), size in self.columns.items()]
        for layer in self._layers() + columns:
            at = -start
            parts = [self._prefix]
            for byte_offset, size, letter in layer:
                parts.append(f"{byte_offset - at}x{letter}")
                at = byte_offset + size
            parts.append(f"{max(size_bytes - start - at, 0)}x")
            found.append(Struct("".join(parts)))
        return found


class _Compiler:
    """Makes the functions of a program."""

    def __init__(
        self,
        program: LineProgram,
        direct: set[int],
        apart: set[int],
        symbol: Callable[[int], str] | None,
        stack: Callable[[Value], Callable[[bytes, int], bytes]] | None,
    ) -> None:
        self._stack = stack
        self._program = program
        self._code = program.code
        self._direct = direct
        self._apart = apart
        self._symbol = symbol
        self._order = program.byteorder
        self._rows = _Scope(self._order)
        self.memos: dict[tuple[int, ...], _Memo] = {}  # by the instructions whose values it holds
        self._globals: dict[str, Any] = {"__builtins__": {"int": int, "len": len, "range": range, "zip": zip}}

    def compile(self) -> tuple[Callable[..., list[bytes]], bytes, _Scope]:
        """Return the function from a run to lines without line feeds, its template, and the variables that it unpacks."""
        scope = self._rows
        template, arguments = self._row(scope, 0, len(self._code), 0)
        row = f"template % ({''.join(f'{each}, ' for each in arguments)})"
        if self._program.stripped:
            row = f"({row}).rstrip(b' ')"
        targets = scope.targets()
        iterators = [f"structs[{index}].iter_unpack(data)" for index in range(len(targets))]
        for index, offset in scope.columns:
            iterators.append(f"w{index}(structs[{len(targets)}].iter_unpack(data))")
            targets.append(f"c{index}_{offset}")
        if scope.uses_place:
            targets += ["at", "end"]
            iterators += ["range(8, 8 + len(data), stride)", "range(8 + length, 8 + length + len(data), stride)"]
        if not iterators:
            loop = "_ in range(count)"
        elif len(iterators) == 1:
            loop = f"{targets[0]} in {iterators[0]}"
        else:
            loop = f"{', '.join([f'({each})' for each in targets])} in zip({', '.join(iterators)})"
        function = self._define(
            "rows",
            "data, count, stride, length, template, structs",
            f"return [{row} for {loop}]",
        )
        return function, template, scope

    def _define(self, name: str, parameters: str, *body: str) -> Callable[..., Any]:
        source = f"def {name}({parameters}):\n" + "".join(f" {line}\n" for line in body)
        exec(source, self._globals)
        function: Callable[..., Any] = self._globals[name]
        return function

    def _row(self, scope: _Scope, first: int, last: int, base: int) -> tuple[bytes, list[str]]:
        """Return template and arguments of the instructions from an index to another.

        Args:
            scope: Where variables go.
            first: The first instruction.
            last: The one after the last.
            base: Byte offset in the scope that the instructions' offsets count from.
        """
        template: list[bytes] = []
        arguments: list[str] = []
        index = first
        while index < last:
            instruction = self._code[index]
            if scope is self._rows and not isinstance(instruction, Text):
                values, end, place = self._neighbours(index, last)
                if len(values) > 1:
                    template.append(b"%b")
                    arguments.append(self._together(scope, values, index, end, place, base))
                    index = end
                    continue
            index += 1
            if isinstance(instruction, Text):
                template.append(instruction.text.replace(b"%", b"%%"))
                continue
            if isinstance(instruction, Value):
                verb, argument = self._value(scope, index - 1, instruction, base, None)
                template.append(verb)
                arguments.append(argument)
                continue
            end = index + instruction.body
            if isinstance(instruction, Cell):
                parts = self._cell(scope, index, end, instruction, base)
            else:
                parts = self._loop(scope, index, end, instruction, base)
            template.append(parts[0])
            arguments += parts[1]
            index = end
        return b"".join(template), arguments

    def _neighbours(self, first: int, last: int) -> tuple[tuple[int, ...], int, range]:
        """Return the values from an instruction on that may repeat together, the end of their instructions, and their bytes."""
        values: list[int] = []
        index = end = first
        place = range(0)
        room = _MEMO_TEXT_BYTES
        while index < last and room > 0:
            instruction = self._code[index]
            if isinstance(instruction, Cell) and instruction.body == 1:
                room -= instruction.width
                index += 1
                instruction = self._code[index]
            if isinstance(instruction, Value):
                bits = instruction.bit_size
                room -= longest_value(instruction)
                begin, behind = instruction.bit_offset // 8, (instruction.bit_offset + bits + 7) // 8
                if values:
                    begin, behind = min(begin, place.start), max(behind, place.stop)
                if (
                    instruction.kind not in _NEIGHBOURS
                    or index in self._direct
                    or (values and index in self._apart)
                    or not bits > 0
                    or (bits > 32 and instruction.kind in ("int", "hex"))
                    or behind - begin > _MEMO_KEY_BYTES
                    or room < 0
                ):
                    break
                values.append(index)
                end, place = index + 1, range(begin, behind)
            elif isinstance(instruction, Text):
                room -= len(instruction.text)
            else:
                break
            index += 1
        return tuple(values), end, place

    def _together(self, scope: _Scope, values: tuple[int, ...], first: int, last: int, place: range, base: int) -> str:
        """Return the argument that writes values and what is between them, looked up by their bytes."""
        if values not in self.memos:
            write = self._element(first, last, -place.start)
            self.memos[values] = self._globals[f"g{first}"] = _Memo(lambda key: write(key, 0, 0))
        return f"g{first}[{scope.variable(base + place.start, len(place), f'{len(place)}s')}]"

    def _cell(self, scope: _Scope, first: int, last: int, cell: Cell, base: int) -> tuple[bytes, list[str]]:
        inner = self._code[first]
        if last - first == 1 and isinstance(inner, Value):
            verb, argument = self._value(scope, first, inner, base, cell)
            return verb, [argument]
        template, arguments = self._row(scope, first, last, base)
        self._globals[f"t{first}"] = template
        self._globals[f"c{first}"] = make_cell(cell)
        return b"%b", [f"c{first}(t{first} % ({''.join(f'{each}, ' for each in arguments)}))"]

    def _loop(self, scope: _Scope, first: int, last: int, loop: Loop, base: int) -> tuple[bytes, list[str]]:
        start = base + loop.byte_offset
        if loop.count is not None and loop.count * self._values(first, last) <= _MAX_UNROLLED:
            rows = [self._row(scope, first, last, start + index * loop.stride) for index in range(loop.count)]
            return b",".join(row[0] for row in rows), [argument for row in rows for argument in row[1]]
        self._element(first, last, 0)
        count = str(loop.count) if loop.count is not None else f"((end - at) // {loop.stride})"
        self._define(
            f"l{first}",
            "data, at, end",
            f"return b','.join([e{first}(data, at + i * {loop.stride}, end) for i in range({count})])",
        )
        scope.uses_place = True
        return b"%b", [f"l{first}(data, at + {start}, end)"]

    def _element(self, first: int, last: int, base: int) -> Callable[[bytes, int, int], bytes]:
        """Make a function ``eN`` that writes instructions for a stretch of bytes of its own."""
        element = _Scope(self._order)
        template, arguments = self._row(element, first, last, base)
        self._globals[f"t{first}"] = template
        self._globals[f"s{first}"] = element.structs(0)
        unpack = [f"{targets} = s{first}[{layer}].unpack_from(data, at)" for layer, targets in enumerate(element.targets())]
        return self._define(
            f"e{first}",
            "data, at, end",
            *unpack,
            f"return t{first} % ({''.join(f'{each}, ' for each in arguments)})",
        )

    def _values(self, first: int, last: int) -> int:
        """Return about how many values a loop's body writes for one element."""
        total = 0
        index = first
        while index < last:
            instruction = self._code[index]
            index += 1
            if isinstance(instruction, Loop):
                inner = self._values(index, index + instruction.body)
                total += inner * (instruction.count or 1)
                index += instruction.body
            else:
                total += 1
        return total

    def _value(self, scope: _Scope, index: int, value: Value, base: int, cell: Cell | None) -> tuple[bytes, str]:
        """Return the verb of the template and the argument that write a value, as a cell if one is given."""
        kind, bits = value.kind, value.bit_size
        if kind == "stack":  # it depends on other members, and on when it is asked for
            assert self._stack is not None
            write = self._stack(value)
            finish = make_cell(cell) if cell is not None else None
            self._globals[f"w{index}"] = write if finish is None else lambda data, at: finish(write(data, at))
            scope.uses_place = True
            return b"%b", f"w{index}(data, at)"
        if kind == "string" and bits and index in self._direct and scope is self._rows:
            self._globals[f"w{index}"] = make_column(value, cell)
            offset = base + value.bit_offset // 8
            scope.columns[index, offset] = bits // 8
            return b"%b", f"c{index}_{offset}"
        argument = self._read(scope, value, base)
        if kind == "hex" and cell is None:
            return b"%x", argument
        if kind == "int" and (bits > 32 or (cell is None and bits > 16) or index in self._direct):
            if cell is None:
                return b"%d", argument
            if not cell.limit and cell.right:
                return b"%%%dd" % cell.width, argument
        writer = make_writer(value, self._symbol)
        if cell is not None:
            writer = _in_cell(writer, make_cell(cell))
        # Equal floats may differ in their sign. Times hardly ever repeat.
        if kind in ("float", "time") or index in self._direct or (kind == "string" and not 0 < bits <= _MEMO_KEY_BYTES * 8):
            self._globals[f"w{index}"] = writer
            return b"%b", f"w{index}({argument})"
        if (index,) not in self.memos:
            self.memos[index,] = self._globals[f"m{index}"] = _Memo(writer)
        return b"%b", f"m{index}[{argument}]"

    def _read(self, scope: _Scope, value: Value, base: int) -> str:
        """Return the expression of a value."""
        start, skipped = divmod(value.bit_offset, 8)
        start += base
        bits = value.bit_size
        if value.kind in _RAW_KINDS:
            if not bits:
                scope.uses_place = True
                return f"data[at + {start} : end]"
            return scope.variable(start, bits // 8, f"{bits // 8}s")
        if value.kind == "float":
            return scope.variable(start, bits // 8, "f" if bits == 32 else "d")
        size_bytes = (skipped + bits + 7) // 8
        if not skipped and bits in _LETTERS:
            return scope.variable(start, size_bytes, _LETTERS[bits] if value.signed else _LETTERS[bits].upper())
        if size_bytes in _SIZES:
            whole = scope.variable(start, size_bytes, _SIZES[size_bytes])
        else:
            whole = f"int.from_bytes({scope.variable(start, size_bytes, f'{size_bytes}s')}, '{self._order}')"
        shift = skipped if self._order == "little" else size_bytes * 8 - skipped - bits
        unsigned = f"({whole} >> {shift} & {(1 << bits) - 1:#x})"
        return f"(({unsigned} ^ {1 << bits - 1:#x}) - {1 << bits - 1:#x})" if value.signed else unsigned


def _in_cell(write: Writer, cell: Callable[[bytes], bytes]) -> Writer:
    return lambda value: cell(write(value))
