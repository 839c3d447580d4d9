"""BTF written by hand, type by type, so that tests need no compiler."""

from __future__ import annotations

import struct


class BtfBuilder:
    """Collects types and returns their ids; ``section()`` is the section."""

    def __init__(self, byteorder: str = "little") -> None:
        self.prefix = "<" if byteorder == "little" else ">"
        self.strings = bytearray(1)
        self.types = bytearray()
        self.count = 0

    def name(self, text: str) -> int:
        if not text:
            return 0
        at = len(self.strings)
        self.strings += text.encode() + b"\0"
        return at

    def add(self, kind: int, name: str, size: int, vlen: int = 0, flag: bool = False, extra: bytes = b"") -> int:
        info = kind << 24 | vlen | flag << 31
        self.types += struct.pack(self.prefix + "III", self.name(name), info, size) + extra
        self.count += 1
        return self.count

    def pack(self, layout: str, *values: int) -> bytes:
        return struct.pack(self.prefix + layout, *values)

    def integer(self, name: str, size: int, signed: bool = False, boolean: bool = False) -> int:
        encoding = (signed | boolean << 2) << 24 | size * 8
        return self.add(1, name, size, extra=self.pack("I", encoding))

    def pointer(self, target: int) -> int:
        return self.add(2, "", target)

    def array(self, element: int, count: int) -> int:
        return self.add(3, "", 0, extra=self.pack("III", element, element, count))

    def struct(self, name: str, size: int, *members: tuple[str, int, int] | tuple[str, int, int, int], kind: int = 4) -> int:
        """Members are (name, type id, bit offset) or, for a bitfield, (name, type id, bit offset, bits)."""
        bitfields = any(len(member) == 4 for member in members)
        extra = b"".join(
            self.pack("III", self.name(member[0]), member[1], member[2] | (member[3] << 24 if len(member) == 4 else 0))
            for member in members
        )
        return self.add(kind, name, size, len(members), bitfields, extra)

    def union(self, name: str, size: int, *members: tuple[str, int, int]) -> int:
        return self.struct(name, size, *members, kind=5)

    def enum(self, name: str, size: int, values: dict[str, int], signed: bool = False) -> int:
        layout = "Ii" if signed else "II"
        extra = b"".join(self.pack(layout, self.name(label), value) for label, value in values.items())
        return self.add(6, name, size, len(values), signed, extra)

    def enum64(self, name: str, values: dict[str, int], signed: bool = False) -> int:
        extra = b"".join(
            self.pack("III", self.name(label), value & 0xFFFFFFFF, value >> 32 & 0xFFFFFFFF) for label, value in values.items()
        )
        return self.add(19, name, 8, len(values), signed, extra)

    def forward(self, name: str) -> int:
        return self.add(7, name, 0)

    def typedef(self, name: str, target: int) -> int:
        return self.add(8, name, target)

    def const(self, target: int) -> int:
        return self.add(10, "", target)

    def floating(self, name: str, size: int) -> int:
        return self.add(16, name, size)

    def var(self, name: str, type_id: int, linkage: int = 1) -> int:
        return self.add(14, name, type_id, extra=self.pack("I", linkage))

    def data_section(self, name: str, size: int, *variables: tuple[int, int, int]) -> int:
        return self.add(15, name, size, len(variables), extra=b"".join(self.pack("III", *each) for each in variables))

    def section(self) -> bytes:
        header = self.pack("HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(self.types), len(self.types), len(self.strings))
        return header + bytes(self.types) + bytes(self.strings)
