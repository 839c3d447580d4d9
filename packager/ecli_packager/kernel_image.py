"""A kernel's BTF, taken out of the file that it boots from, without booting it.

x86: the setup header names a compressed ELF file (Documentation/arch/x86/boot.rst). arm64: the kernel itself, which may be
compressed as a whole (Documentation/arch/arm64/booting.rst), or packed in an EFI program (zboot-header.S of libstub).
"""

from __future__ import annotations

import bz2
import lzma
import re
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO

from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile

from ecli_packager.errors import ToolchainError
from ecli_runtime.btf import Btf
from ecli_runtime.errors import BtfError

MAX_KERNEL_SIZE_BYTES = 512 << 20
_LZ4_BLOCK_BYTES = 8 << 20  # of the legacy format, uncompressed
_INSTALL = "pip install 'ecli-py[kernels]' brings what reads it"
_BANNER = re.compile(rb"Linux version (\S+) \([^\0]*?\) (#\d[^\0\n]*)\n")
_MACHINES = {"EM_X86_64": "x86_64", "EM_AARCH64": "aarch64", "EM_RISCV": "riscv64", "EM_S390": "s390x"}


@dataclass(frozen=True)
class KernelTypesFile:
    """BTF of one kernel.

    Attributes:
        release: As ``uname -r`` has it.
        version: As ``uname -v`` has it, which tells builds of a release apart; empty: not known.
        machine: As ``uname -m`` has it.
        btf: The ``.BTF`` section.
    """

    release: str
    version: str
    machine: str
    btf: bytes


def read_kernel_image(data: bytes, name: str) -> KernelTypesFile:
    """Return the BTF of a kernel image (``vmlinuz``, ``vmlinux``, ``Image``).

    Args:
        data: The file.
        name: What to call it in errors.

    Raises:
        ToolchainError: It is no kernel image, it is compressed in a way that cannot be read here, or it has no BTF.
    """
    kernel, machine = _unpacked(data, name)
    btf = _section(kernel, name) if kernel[:4] == b"\x7fELF" else _embedded(kernel)
    banner = _BANNER.search(kernel)
    if banner is None:
        raise ToolchainError(f"{name} is no Linux kernel", "name a file that a kernel boots from: /boot/vmlinuz-…")
    if btf is None:
        raise ToolchainError(f"{name} has no BTF", "it was built without CONFIG_DEBUG_INFO_BTF; its debug package may have it")
    return KernelTypesFile(banner[1].decode("ascii", "replace"), banner[2].decode("ascii", "replace"), machine, btf)


def is_kernel_image(data: bytes) -> bool:
    """Tell by the first bytes whether a file may be a kernel image."""
    is_x86 = data[0x202:0x206] == b"HdrS"
    return is_x86 or data[56:60] == b"ARM\x64" or data[4:8] == b"zimg" or data[:4] == b"\x7fELF" or data[:2] == b"\x1f\x8b"


def _unpacked(data: bytes, name: str) -> tuple[bytes, str]:
    """Return the kernel as it lies in memory, or its ELF file, and its machine."""
    try:
        if data[0x202:0x206] == b"HdrS":
            sectors = data[0x1F1] or 4
            at, size = struct.unpack_from("<II", data, 0x248)
            at += (sectors + 1) * 512
            return _decompressed(data[at : at + size], name), "x86_64"
        if data[:2] == b"\x1f\x8b":
            data = _decompressed(data, name)
        if data[4:8] == b"zimg":
            at, size = struct.unpack_from("<II", data, 8)
            data = _decompressed(data[at : at + size], name)
        if data[56:60] == b"ARM\x64":
            return data, "aarch64"
        if data[:4] == b"\x7fELF":
            machine = str(ELFFile(BytesIO(data))["e_machine"])
            return data, _MACHINES.get(machine, machine)
    except (struct.error, ELFError) as error:
        raise ToolchainError(f"{name} is damaged", "fetch it again") from error
    raise ToolchainError(f"{name} is no kernel image", "name a file that a kernel boots from: /boot/vmlinuz-…")


def _decompressed(data: bytes, name: str) -> bytes:
    for magic, decompress in _FORMATS.items():
        if data.startswith(magic):
            try:
                return decompress(data)
            except ImportError as error:
                raise ToolchainError(f"{name} is compressed with {error.name}, which is not installed", _INSTALL) from error
            except (ValueError, OSError, EOFError, zlib.error, lzma.LZMAError, struct.error, RuntimeError) as error:
                raise ToolchainError(f"{name} is damaged: {error}", "fetch it again") from error
    if data[:4] == b"\x7fELF":  # not compressed at all
        return data
    raise ToolchainError(f"{name} is compressed in a way that is not known", "extract its vmlinux, and name that")


def _gzip(data: bytes) -> bytes:
    return zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(data, MAX_KERNEL_SIZE_BYTES)


def _lzma(data: bytes) -> bytes:
    return lzma.LZMADecompressor().decompress(data, MAX_KERNEL_SIZE_BYTES)


def _bzip2(data: bytes) -> bytes:
    return bz2.BZ2Decompressor().decompress(data, MAX_KERNEL_SIZE_BYTES)


def _zstd(data: bytes) -> bytes:
    import zstandard

    try:
        return zstandard.ZstdDecompressor().decompressobj().decompress(data)[:MAX_KERNEL_SIZE_BYTES]
    except zstandard.ZstdError as error:
        raise ValueError(str(error)) from error


def _lz4(data: bytes) -> bytes:
    """Undo the legacy format of LZ4: blocks, each behind its size, up to what is no size of a block."""
    import lz4.block

    parts, at, left = [], 4, MAX_KERNEL_SIZE_BYTES
    while at + 4 <= len(data) and left > 0:
        (size,) = struct.unpack_from("<I", data, at)
        if not 0 < size <= len(data) - at - 4:
            break
        try:
            parts.append(lz4.block.decompress(data[at + 4 : at + 4 + size], uncompressed_size=_LZ4_BLOCK_BYTES))
        except lz4.block.LZ4BlockError as error:
            raise ValueError(str(error)) from error
        at += 4 + size
        left -= len(parts[-1])
    return b"".join(parts)


_FORMATS: dict[bytes, Callable[[bytes], bytes]] = {
    b"\x1f\x8b": _gzip,
    b"\xfd7zXZ\0": _lzma,
    b"\x5d\0\0": _lzma,
    b"BZh": _bzip2,
    b"\x28\xb5\x2f\xfd": _zstd,
    b"\x02\x21\x4c\x18": _lz4,
}


def _section(kernel: bytes, name: str) -> bytes | None:
    try:
        section = ELFFile(BytesIO(kernel)).get_section_by_name(".BTF")
    except ELFError as error:
        raise ToolchainError(f"{name} is damaged: {error}", "fetch it again") from error
    return section.data() if section is not None else None


def _embedded(kernel: bytes) -> bytes | None:
    """Find BTF by its header, in a kernel that has no sections any more; the largest, for others may be in there too."""
    largest = b""
    for found in re.finditer(rb"\x9f\xeb\x01\x00\x18\0\0\0", kernel):
        at = found.start()
        types_at, types_size, strings_at, strings_size = struct.unpack_from("<4I", kernel + bytes(24), at + 8)
        end = at + 24 + max(types_at + types_size, strings_at + strings_size)
        if end <= len(kernel) and end - at > len(largest):
            try:
                Btf(kernel[at:end])
            except BtfError:
                continue
            largest = kernel[at:end]
    return largest or None
