"""Whether an object reads registers, which differ by machine: such an object is for the machine that it was built for."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from io import BytesIO

from elftools.elf.elffile import ELFFile

from ecli_packager.forwards import relocation_offsets
from ecli_runtime.btf import Array, Btf, Composite, Func, FuncProto, Pointer
from ecli_runtime.errors import BtfError

_STRUCTS = ("pt_regs", "user_pt_regs", "user_regs_struct")
_EXTERN = 2


def reads_registers(data: bytes, btf: Btf) -> bool:
    """Tell whether a linked object of little-endian BPF takes registers as an argument, or reads them out of the kernel's types.

    That the types which it reads have registers somewhere, as ``struct task_struct`` has, does not count.
    """
    functions = [found for _id, found in btf.types() if isinstance(found, Func) and found.linkage != _EXTERN]
    protos = [btf.type(each.proto) for each in functions]
    arguments = [type_id for proto in protos if isinstance(proto, FuncProto) for _name, type_id in proto.parameters]
    return any(_points_to_registers(btf, each) for each in arguments) or any(
        _passes_registers(btf, type_id, path) for type_id, path in _relocations(data, btf)
    )


def _points_to_registers(btf: Btf, type_id: int) -> bool:
    """Tell whether a type points to registers, or to a struct that begins with them as ``struct bpf_perf_event_data`` does."""
    pointer = btf.resolve(type_id)[1]
    target = btf.resolve(pointer.target)[1] if isinstance(pointer, Pointer) else None
    if not isinstance(target, Composite):
        return False
    return target.name in _STRUCTS or any(_is_registers(btf, member.type_id) for member in target.members)


def _is_registers(btf: Btf, type_id: int) -> bool:
    bare = btf.resolve(type_id)[1]
    return isinstance(bare, Composite) and bare.name in _STRUCTS


def _passes_registers(btf: Btf, type_id: int, path: list[int]) -> bool:
    """Tell whether an access goes through registers: the first index is that of the whole, each other one of a member."""
    for index in path[1:]:
        if _is_registers(btf, type_id):
            return True
        bare = btf.resolve(type_id)[1]
        if isinstance(bare, Composite) and index < len(bare.members):
            type_id = bare.members[index].type_id
        elif isinstance(bare, Array):
            type_id = bare.element
        else:
            return False
    return _is_registers(btf, type_id)


def _relocations(data: bytes, btf: Btf) -> Iterator[tuple[int, list[int]]]:
    """Yield type and access path (``0:3:1``, Documentation/bpf/llvm_reloc.rst) of each CO-RE relocation."""
    section = ELFFile(BytesIO(data)).get_section_by_name(".BTF.ext")
    content = section.data() if section else b""
    for at in relocation_offsets(content, struct.Struct("<I")) if content else ():
        type_id, path_offset = struct.unpack_from("<II", content, at + 4)
        yield type_id, _path(btf.string(path_offset))


def _path(text: str) -> list[int]:
    try:
        return [int(index) for index in text.split(":")]
    except ValueError as error:
        raise BtfError(f"{text!r} is no path of members") from error
