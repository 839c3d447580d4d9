"""Imports and exports of a Wasm module with their types, read from its own sections.

wasmtime's C interface ends the whole process where it is asked for a type that it has no number for, such as ``v128`` in the
signature of a function; a module is hostile input, so its types are read here. Binary format: WebAssembly 2.0, section 5.
"""

from __future__ import annotations

from ecli_runtime.errors import WasmError
from ecli_schemas.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import TypeAlias

    Words: TypeAlias = tuple[str, ...]
    Signature: TypeAlias = tuple[Words, Words]

FUNCTION, TABLE, MEMORY, GLOBAL = "function", "table", "memory", "global"
_KINDS = (FUNCTION, TABLE, MEMORY, GLOBAL)
_VALUE_TYPES = {0x7F: "i32", 0x7E: "i64", 0x7D: "f32", 0x7C: "f64", 0x7B: "v128", 0x70: "funcref", 0x6F: "externref"}
_TYPES, _IMPORTS, _FUNCTIONS, _MEMORIES, _EXPORTS = 1, 2, 3, 5, 7
_FUNCTION_TYPE = 0x60
_HAS_MAXIMUM = 1


class Item(Record):
    """What a module imports or exports.

    Attributes:
        kind: ``function``, ``table``, ``memory`` or ``global``.
        signature: Of a function: words for its parameters and results.
        page_count: Of a memory: pages to begin with.
    """

    kind: str
    signature: Signature = ((), ())
    page_count: int = 0


class Interface(Record):
    """What a module has for others, and wants of them.

    Attributes:
        imports: Module and name of each import, and what it is.
        exports: What each name stands for.
    """

    imports: tuple[tuple[str, str, Item], ...]
    exports: Mapping[str, Item]


def read_interface(data: bytes) -> Interface:
    """Return imports and exports of a module that was found valid.

    Raises:
        WasmError: It has types that no program of ours could be given.
    """
    try:
        return _Reader(data).interface()
    except (IndexError, KeyError, UnicodeDecodeError) as error:
        raise WasmError("the module has types of functions that are not known", "build it for WebAssembly 2.0") from error


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 8
        self._types: list[Signature] = []
        self._functions: list[Signature] = []
        self._memories: list[int] = []
        self._imports: list[tuple[str, str, Item]] = []
        self._exports: dict[str, Item] = {}

    def interface(self) -> Interface:
        readers = {_TYPES: self._type, _IMPORTS: self._import, _MEMORIES: self._memory, _EXPORTS: self._export}
        while self._at < len(self._data):
            section, size = self._byte(), self._number()
            end = self._at + size
            if section == _FUNCTIONS:
                self._functions += [self._types[self._number()] for _ in range(self._number())]
            elif section in readers:
                for _ in range(self._number()):
                    readers[section]()
            self._at = end
        return Interface(tuple(self._imports), self._exports)

    def _byte(self) -> int:
        self._at += 1
        return self._data[self._at - 1]

    def _number(self) -> int:
        value = shift = 0
        while True:
            byte = self._byte()
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    def _name(self) -> str:
        size = self._number()
        self._at += size
        return self._data[self._at - size : self._at].decode()

    def _value_types(self) -> Words:
        return tuple([_VALUE_TYPES[self._byte()] for _ in range(self._number())])

    def _type(self) -> None:
        if self._byte() != _FUNCTION_TYPE:
            raise KeyError("a type that is no function's")
        self._types.append((self._value_types(), self._value_types()))

    def _limits(self) -> int:
        flags, least = self._byte(), self._number()
        if flags & _HAS_MAXIMUM:
            self._number()
        return least

    def _memory(self) -> None:
        self._memories.append(self._limits())

    def _import(self) -> None:
        module, name, kind = self._name(), self._name(), _KINDS[self._byte()]
        item = Item(kind)
        if kind == FUNCTION:
            item = Item(kind, self._types[self._number()])
            self._functions.append(item.signature)
        elif kind == MEMORY:
            self._memory()
        elif kind == TABLE:
            _VALUE_TYPES[self._byte()]
            self._limits()
        else:
            _VALUE_TYPES[self._byte()]
            self._byte()
        self._imports.append((module, name, item))

    def _export(self) -> None:
        name, kind, index = self._name(), _KINDS[self._byte()], self._number()
        if kind == FUNCTION:
            self._exports[name] = Item(kind, self._functions[index])
        elif kind == MEMORY:
            self._exports[name] = Item(kind, page_count=self._memories[index])
        else:
            self._exports[name] = Item(kind)
