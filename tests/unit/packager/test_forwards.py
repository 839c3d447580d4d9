"""Forward declarations in the order of their names, and what refers to them."""

from __future__ import annotations

import struct

import pytest

from ecli_packager.forwards import relocation_offsets, sort_forwards
from ecli_runtime.btf import Btf, Composite, Forward, Pointer
from tests.btf_builder import BtfBuilder


def elf(byteorder: str, sections: dict[str, bytes]) -> bytes:
    """Return an ELF file of 64 bits with these sections."""
    prefix = "<" if byteorder == "little" else ">"
    names = b"\0" + b"".join(name.encode() + b"\0" for name in (*sections, ".shstrtab"))
    content = {**sections, ".shstrtab": names}
    headers, data = bytes(64), b""
    for name, each in content.items():
        at = 64 + len(data)
        headers += struct.pack(f"{prefix}IIQQQQIIQQ", names.index(name.encode()), 1, 0, 0, at, len(each), 0, 0, 1, 0)
        data += each
    ident = b"\x7fELF\2" + bytes([1 if byteorder == "little" else 2]) + b"\1" + bytes(9)
    head = struct.pack(f"{prefix}HHIQQQIHHHHHH", 1, 247, 1, 0, 0, 64 + len(data), 0, 64, 0, 0, 64, len(content) + 1, len(content))
    return ident + head + data + headers


@pytest.mark.parametrize("byteorder", ["little", "big"])
def test_what_refers_to_them_follows(byteorder: str) -> None:
    builder = BtfBuilder(byteorder)
    zebra, ant = builder.forward("zebra"), builder.forward("ant")
    to_zebra, to_ant = builder.pointer(zebra), builder.pointer(ant)
    owner = builder.struct("owner", 16, ("z", to_zebra, 0), ("a", to_ant, 64))
    number = struct.Struct("<I" if byteorder == "little" else ">I")
    relocation = b"".join(map(number.pack, (16, 1, 1, 8, zebra, 1, 0)))
    extension = bytes(4) + b"".join(map(number.pack, (32, 0, 0, 0, 0, 0, len(relocation)))) + relocation

    data = elf(byteorder, {".BTF": builder.section(), ".BTF.ext": extension})
    changed = sort_forwards(data)
    btf = Btf(changed[64 : 64 + len(builder.section())])
    assert [each.name for _id, each in btf.types() if isinstance(each, Forward)] == ["ant", "zebra"]
    found = btf.type(owner)
    assert isinstance(found, Composite)
    for member, name in zip(found.members, ("zebra", "ant"), strict=True):
        pointer = btf.type(member.type_id)
        assert isinstance(pointer, Pointer)
        assert btf.type(pointer.target) == Forward("struct", name)
    content = changed[64 + len(builder.section()) :][: len(extension)]
    (at,) = relocation_offsets(content, number)
    (type_id,) = number.unpack_from(content, at + 4)
    assert btf.type(type_id) == Forward("struct", "zebra")
    assert sort_forwards(changed) == changed


def test_an_object_without_types_stays_as_it_is() -> None:
    data = elf("little", {".text": b"x"})
    assert sort_forwards(data) == data
