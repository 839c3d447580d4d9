"""The CO-RE relocations of an object, read from its ``.BTF.ext`` (Documentation/bpf/btf.rst, 4.2). The object is untrusted."""

from __future__ import annotations

import struct

from ecli_runtime.btf import MAGIC, Btf
from ecli_runtime.code import instruction_layout, section_bytes
from ecli_runtime.errors import BtfError
from ecli_schemas.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

# enum bpf_core_relo_kind, include/uapi/linux/bpf.h; the names are libbpf's (core_relo_kind_str).
KINDS = (
    *("byte_off", "byte_sz", "field_exists", "signed", "lshift_u64", "rshift_u64"),
    *("local_type_id", "target_type_id", "type_exists", "type_size", "enumval_exists", "enumval_value", "type_matches"),
)
FIELD_KINDS = frozenset(KINDS[:6])
TYPE_KINDS = frozenset(("local_type_id", "target_type_id", "type_exists", "type_size", "type_matches"))
ENUMERATOR_KINDS = frozenset(("enumval_exists", "enumval_value"))
EXISTENCE_KINDS = frozenset(("field_exists", "type_exists", "enumval_exists", "type_matches"))  # absence is an answer

_MAX_STEP_COUNT = 64  # BPF_CORE_SPEC_MAX_LEN
_HEADER = "HBBIIIIIII"  # struct btf_ext_header up to core_relo_len


class Relocation(Record):
    """One instruction that depends on the kernel's types.

    Attributes:
        section: Name of the section that holds it.
        byte_offset: Of the instruction, in that section.
        type_id: The type that it is about, in the object's BTF.
        steps: Into the type: index of an array's element first, then of members and elements.
        kind: What is asked; one of :data:`KINDS`.
    """

    section: str
    byte_offset: int
    type_id: int
    steps: tuple[int, ...]
    kind: str


def relocations(data: bytes, btf: Btf) -> list[Relocation]:
    """Return the CO-RE relocations of an object, in the order of the file.

    Args:
        data: The object, for which :func:`ecli_runtime.elf.check_header` holds.
        btf: Its types.

    Raises:
        ObjectError: Its section headers are damaged.
        BtfError: Its relocations are.
    """
    raw = section_bytes(data, ".BTF.ext") or b""
    try:
        return list(_read(raw, btf, instruction_layout(data)[0]))
    except (struct.error, ValueError, IndexError) as error:
        raise BtfError("the CO-RE relocations of the package's object are damaged", "build the package again") from error


def _read(raw: bytes, btf: Btf, prefix: str) -> Iterator[Relocation]:
    header = struct.Struct(prefix + _HEADER)
    if len(raw) < header.size:  # older than CO-RE
        return
    magic, _version, _flags, header_size, *_infos, at, size_bytes = header.unpack_from(raw)
    if magic != MAGIC or header_size < header.size or not size_bytes:
        return
    at += header_size
    end = at + size_bytes
    (record_size,) = struct.unpack_from(prefix + "I", raw, at)
    at += 4
    record = struct.Struct(prefix + "IIII")
    if record_size < record.size or end > len(raw):
        raise ValueError
    while at < end:
        name_at, count = struct.unpack_from(prefix + "II", raw, at)
        at += 8
        if count > (end - at) // record_size:
            raise ValueError
        section = btf.string(name_at)
        for place in range(at, at + count * record_size, record_size):
            byte_offset, type_id, access_at, kind = record.unpack_from(raw, place)
            steps = tuple(map(int, btf.string(access_at).split(":", _MAX_STEP_COUNT)))
            if min(steps) < 0:
                raise ValueError
            yield Relocation(section, byte_offset, type_id, steps, KINDS[kind])
        at += count * record_size
