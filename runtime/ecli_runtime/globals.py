"""Global variables of an object: where they are, and values to and from their bytes."""

from __future__ import annotations

import struct

from ecli_runtime.btf import Array, Enum, Float, Int, Var
from ecli_runtime.errors import BtfError, OptionError
from ecli_schemas.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import TypeAlias

    from ecli_runtime.btf import Btf

    Value: TypeAlias = "bool | int | float | str"

LINKAGE_STATIC = 0
KCONFIG = ".kconfig"  # filled from the running kernel's configuration when the object is loaded


class Global(Record):
    """A global variable.

    Attributes:
        name: C name.
        section: ``.rodata``, ``.data``, ``.bss``, a dotted variant of them, or ``.kconfig``.
        type_id: Its type in the object's BTF.
        byte_offset: Where the section holds it.
        size_bytes: ``sizeof`` it.
    """

    name: str
    section: str
    type_id: int
    byte_offset: int
    size_bytes: int


def find_globals(btf: Btf) -> Iterator[Global]:
    """Walk the non-static variables of the data sections, in the order of their addresses."""
    for section in btf.data_sections():
        if section.name.startswith((".rodata", ".data", ".bss", KCONFIG)):
            for entry in sorted(section.variables, key=lambda each: each.byte_offset):
                variable = btf.type(entry.type_id)
                if isinstance(variable, Var) and variable.linkage != LINKAGE_STATIC:
                    yield Global(variable.name, section.name, variable.type_id, entry.byte_offset, entry.size_bytes)


def is_settable(btf: Btf, type_id: int) -> bool:
    """Tell whether a value of this type can be given on a command line: a scalar, an enum, or text."""
    _, bare = btf.resolve(type_id)
    return isinstance(bare, (Int, Enum)) or (isinstance(bare, Float) and bare.size_bytes in (4, 8)) or _is_text(btf, bare)


def is_bool(btf: Btf, type_id: int) -> bool:
    """Tell whether a type is ``bool``."""
    bare = btf.resolve(type_id)[1]
    return isinstance(bare, Int) and bare.boolean


def kind_of_value(btf: Btf, type_id: int) -> str:
    """Return what stands for a value of a type in help: ``N``, ``NUMBER`` or ``TEXT``."""
    bare = btf.resolve(type_id)[1]
    return "N" if isinstance(bare, (Int, Enum)) else "NUMBER" if isinstance(bare, Float) else "TEXT"


def parse_value(btf: Btf, type_id: int, text: str) -> Value:
    """Turn what a user typed into a value of a type.

    Integers may be decimal, ``0x``, ``0o`` or ``0b``; an enum takes a name or a number; a bool ``true``, ``yes``, ``on``, ``1``
    or their opposites.

    Raises:
        OptionError: It is no such value; whether it fits is for :func:`pack_value` to say.
    """
    _, bare = btf.resolve(type_id)
    if _is_text(btf, bare):
        return text
    if isinstance(bare, Int) and bare.boolean:
        word = text.lower()
        if word in ("true", "yes", "on", "1"):
            return True
        if word in ("false", "no", "off", "0"):
            return False
        raise OptionError(f"expected true or false, got {text!r}")
    if isinstance(bare, Float):
        try:
            return float(text)
        except ValueError:
            raise OptionError(f"expected a number, got {text!r}") from None
    if isinstance(bare, Enum):
        values = dict(bare.enumerators)
        if text in values:
            return values[text]
    try:
        return int(text, 0) if not text.lstrip("+-").isdigit() else int(text)
    except ValueError:
        if isinstance(bare, Enum):
            names = ", ".join(name for name, _ in bare.enumerators)
            raise OptionError(f"expected one of {names}, got {text!r}") from None
        raise OptionError(f"expected an integer, got {text!r}") from None


def bounds(integer: Int | Enum) -> tuple[int, int]:
    """Return the least and the greatest value of a type."""
    bits = integer.size_bytes * 8
    return (-(1 << bits - 1), (1 << bits - 1) - 1) if integer.signed else (0, (1 << bits) - 1)


def pack_value(btf: Btf, type_id: int, value: object) -> bytes:
    """Return the bytes of a value, as long as the type; text is padded with NUL.

    Raises:
        OptionError: The value is of another kind, or does not fit.
    """
    _, bare = btf.resolve(type_id)
    prefix = "<" if btf.byteorder == "little" else ">"
    if isinstance(bare, Int) and bare.boolean:
        if not isinstance(value, bool) and value not in (0, 1):
            raise OptionError(f"expected true or false, got {value!r}")
        return int(bool(value)).to_bytes(bare.size_bytes, btf.byteorder)
    if isinstance(bare, Enum) and isinstance(value, str):
        values = dict(bare.enumerators)
        if value not in values:
            raise OptionError(f"expected one of {', '.join(values)}, got {value!r}")
        value = values[value]
    if isinstance(bare, (Int, Enum)):
        if isinstance(value, bool) or not isinstance(value, int):
            raise OptionError(f"expected an integer, got {value!r}")
        low, high = bounds(bare)
        if not low <= value <= high:
            raise OptionError(f"expected an integer from {low} to {high}, got {value}")
        return value.to_bytes(bare.size_bytes, btf.byteorder, signed=bare.signed)
    if isinstance(bare, Float):
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise OptionError(f"expected a number, got {value!r}")
        try:
            return struct.pack(prefix + ("f" if bare.size_bytes == 4 else "d"), value)
        except OverflowError:
            raise OptionError(f"{value} does not fit into {bare.name}") from None
    if _is_text(btf, bare) and isinstance(bare, Array):
        if not isinstance(value, str):
            raise OptionError(f"expected text, got {value!r}")
        try:
            data = value.encode("utf-8", "surrogateescape")
        except UnicodeEncodeError:
            raise OptionError(f"expected text, got {value!r}, which is none in UTF-8") from None
        if len(data) >= bare.count:
            raise OptionError(f"expected at most {bare.count - 1} bytes of text, got {len(data)}")
        if b"\0" in data:
            raise OptionError("text must not hold a NUL byte")
        return data.ljust(bare.count, b"\0")
    raise BtfError(f"a variable of BTF type {type_id} cannot be set")


def _is_text(btf: Btf, bare: object) -> bool:
    if not isinstance(bare, Array):
        return False
    _, element = btf.resolve(bare.element)
    return isinstance(element, Int) and element.size_bytes == 1 and element.name == "char"
