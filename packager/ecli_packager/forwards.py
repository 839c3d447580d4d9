"""Forward declarations in the BTF of an object, put into the order of their names.

clang writes them in the order of addresses in its memory (``FixupDerivedTypes`` in LLVM's BTFDebug.cpp is a map of pointers).
That depends on the length of the paths on its command line, and equal sources shall give equal bytes in any directory.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from io import BytesIO

from elftools.elf.elffile import ELFFile

from ecli_runtime.btf import Btf, Forward

_TYPE_SIZE_BYTES = 12  # of struct btf_type, which is all that a forward declaration has


def sort_forwards(data: bytes) -> bytes:
    """Return an object, not yet linked, with its forward declarations in order; all that refers to them follows."""
    elf = ELFFile(BytesIO(data))
    section = elf.get_section_by_name(".BTF")
    if section is None:
        return data
    btf = Btf(section.data())
    found = {type_id: each for type_id, each in btf.types() if isinstance(each, Forward)}
    order = sorted(found, key=lambda type_id: (found[type_id].name, found[type_id].keyword))
    moved = {old: new for old, new in zip(order, found, strict=True) if old != new}
    if not moved:
        return data
    changed = bytearray(data)
    number = struct.Struct("<I" if elf.little_endian else ">I")
    start = section["sh_offset"] + btf.types_at
    for old, new in moved.items():
        source, target = (start + btf.byte_offset(type_id) for type_id in (old, new))
        changed[target : target + _TYPE_SIZE_BYTES] = data[source : source + _TYPE_SIZE_BYTES]
    places = [start + at for type_id in range(1, len(btf)) for at in btf.reference_offsets(type_id)]
    extension = elf.get_section_by_name(".BTF.ext")
    if extension is not None:
        content = extension.data()
        places += [extension["sh_offset"] + at + 4 for at in relocation_offsets(content, number)]
    for place in places:
        (type_id,) = number.unpack_from(changed, place)
        number.pack_into(changed, place, moved.get(type_id, type_id))
    return bytes(changed)


def relocation_offsets(content: bytes, number: struct.Struct) -> Iterator[int]:
    """Yield where the CO-RE relocations are in a ``.BTF.ext`` section.

    Each is a ``struct bpf_core_relo`` (include/uapi/linux/bpf.h): offset of the instruction, type id, access path, kind.

    Args:
        content: The section.
        number: Layout of its numbers, ``u32`` in the byte order of the object.
    """
    (header_size,) = number.unpack_from(content, 4)
    if header_size < 32:  # of before CO-RE
        return
    start, size = (number.unpack_from(content, at)[0] for at in (24, 28))
    at, end = header_size + start, header_size + start + size
    if at >= end:
        return
    (record_size,) = number.unpack_from(content, at)
    at += 4
    while at < end:
        (count,) = number.unpack_from(content, at + 4)  # behind the name of the section
        at += 8
        yield from range(at, at + count * record_size, record_size)
        at += count * record_size
