"""Records of ``.BTF.ext``: what the compiler says of single instructions (Documentation/bpf/btf.rst, section 4.2)."""

from __future__ import annotations

import struct

from ecli_runtime.code import instruction_layout, section_bytes
from ecli_runtime.errors import BtfError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ecli_runtime.btf import Btf

_MAGIC = 0xEB9F  # include/uapi/linux/btf.h
# Where struct btf_ext_header (tools/lib/bpf/libbpf_internal.h) has offset and size of each kind.
LINE_INFO, CORE_RELOCATIONS = 16, 24


def read_records(data: bytes, btf: Btf, kind: int) -> Iterator[tuple[str, list[tuple[int, int, int, int]]]]:
    """Yield the name of each section that has records, and the four 32-bit numbers that each of them begins with.

    Args:
        data: The object, for which :func:`ecli_runtime.elf.check_header` holds.
        btf: Its types.
        kind: ``LINE_INFO`` (``struct bpf_line_info``) or ``CORE_RELOCATIONS`` (``struct bpf_core_relo``).

    Raises:
        ObjectError: Its section headers are damaged.
        BtfError: ``.BTF.ext`` is.
    """
    raw = section_bytes(data, ".BTF.ext") or b""
    prefix = instruction_layout(data)[0]
    try:
        yield from _records(raw, prefix, btf, kind)
    except struct.error as error:
        raise BtfError("what the package's object says of its instructions is damaged", "build the package again") from error


def _records(raw: bytes, prefix: str, btf: Btf, kind: int) -> Iterator[tuple[str, list[tuple[int, int, int, int]]]]:
    if len(raw) < 24:
        return
    magic, _version, _flags, header_size = struct.unpack_from(prefix + "HBBI", raw)
    if magic != _MAGIC or kind + 8 > header_size:  # older headers have no relocations
        return
    at, size_bytes = struct.unpack_from(prefix + "II", raw, kind)
    if not size_bytes:
        return
    at += header_size
    end = min(at + size_bytes, len(raw))
    (record_size,) = struct.unpack_from(prefix + "I", raw, at)
    at += 4
    record = struct.Struct(prefix + "IIII")
    if record_size < record.size:
        raise struct.error
    while at < end:
        name_at, count = struct.unpack_from(prefix + "II", raw, at)
        at += 8
        if count > (end - at) // record_size:
            raise struct.error
        yield btf.string(name_at), [record.unpack_from(raw, at + index * record_size) for index in range(count)]
        at += count * record_size
