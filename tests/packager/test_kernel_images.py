"""``ecli-py btf extract``: kernels' types, out of images in each of the shapes that kernels come in."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import os
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from ecli_packager.errors import ToolchainError
from ecli_packager.kernel_image import read_kernel_image
from tests.cli import Ecli

RELEASE, VERSION = "6.1.0-9-amd64", "#1 SMP PREEMPT_DYNAMIC Debian 6.1.27-1 (2023-05-08)"
BANNER = f"Linux version {RELEASE} (somebody@example.org) (gcc (GCC) 12.2.0, GNU ld 2.40) {VERSION}\n\0".encode()
# One type: int.
TYPES = struct.pack("<IIII", 1, 1 << 24, 4, 1 << 24 | 32)
BTF = struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(TYPES), len(TYPES), 5) + TYPES + b"\0int\0"


def elf() -> bytes:
    """Return an ELF file for x86-64 with the sections .BTF and .rodata."""
    names = b"\0.BTF\0.rodata\0.shstrtab\0"
    contents = [b"", BTF, BANNER, names]
    starts, body = [], b""
    for content in contents:
        starts.append(64 + len(body))
        body += content + bytes(-len(content) % 8)
    headers = b""
    for name_at, content, start in zip((0, 1, 6, 14), contents, starts, strict=True):
        kind = (1 if name_at != 14 else 3) if content else 0
        headers += struct.pack("<IIQQQQIIQQ", name_at, kind, 0, 0, start if content else 0, len(content), 0, 0, 1, 0)
    ident = b"\x7fELF\2\1\1" + bytes(9)
    return ident + struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, 0, 0, 64 + len(body), 0, 64, 56, 0, 64, 4, 3) + body + headers


def bz_image(payload: bytes) -> bytes:
    """Return a boot image of x86 with a payload behind two sectors of set-up code."""
    head = bytearray(3 * 512)
    head[0x1F1] = 2
    head[0x202:0x206] = b"HdrS"
    struct.pack_into("<II", head, 0x248, 16, len(payload))
    return bytes(head) + bytes(16) + payload


def zstd(data: bytes) -> bytes:
    import zstandard

    return bytes(zstandard.ZstdCompressor().compress(data))


def lz4_legacy(data: bytes) -> bytes:
    import lz4.block

    block: bytes = lz4.block.compress(data, store_size=False)
    return b"\x02\x21\x4c\x18" + struct.pack("<I", len(block)) + block


COMPRESSORS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "xz": lzma.compress,
    "lzma": lambda data: lzma.compress(data, lzma.FORMAT_ALONE),
    "bzip2": bz2.compress,
    "zstd": zstd,
    "lz4": lz4_legacy,
    "none": lambda data: data,
}


@pytest.mark.parametrize("how", COMPRESSORS)
def test_x86_images(how: str) -> None:
    payload = COMPRESSORS[how](elf())
    found = read_kernel_image(bz_image(payload + len(elf()).to_bytes(4, "little")), "vmlinuz")
    assert (found.release, found.version, found.machine, found.btf) == (RELEASE, VERSION, "x86_64", BTF)


def arm64_image() -> bytes:
    return bytes(56) + b"ARM\x64" + bytes(100) + b"\x9f\xeb\x01\x00\x18\0\0\0" + b"\xff" * 32 + BTF + BANNER


@pytest.mark.parametrize("packed", ["plain", "gzip", "zboot"])
def test_arm64_images(packed: str) -> None:
    data = arm64_image()
    if packed == "gzip":
        data = gzip.compress(data)
    elif packed == "zboot":
        payload = gzip.compress(data)
        data = b"MZ\0\0zimg" + struct.pack("<II", 64, len(payload)) + bytes(48) + payload
    found = read_kernel_image(data, "Image")
    assert (found.release, found.machine, found.btf) == (RELEASE, "aarch64", BTF)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is no kernel image"),
        (b"#!/bin/sh\n" * 100, "is no kernel image"),
        (bz_image(b"\x89LZO\0garbage"), "is compressed in a way that is not known"),
        (bz_image(gzip.compress(elf())[:60]), "is"),
        (bz_image(b"\x28\xb5\x2f\xfd garbage"), "is damaged"),
        (bz_image(b"\x02\x21\x4c\x18\x08\0\0\0garbage!"), "is damaged"),
        (bz_image(elf().replace(BANNER, bytes(len(BANNER)))), "is no Linux kernel"),
        (bz_image(elf().replace(b".BTF\0", b".BTX\0")), "has no BTF"),
        (bytes(56) + b"ARM\x64" + BANNER, "has no BTF"),
        (b"\x7fELF" + bytes(100), "is damaged"),
    ],
)
def test_what_is_no_such_image_is_said(data: bytes, message: str) -> None:
    with pytest.raises(ToolchainError, match="the file " + message):
        read_kernel_image(data, "the file")


def test_extract_adds_to_a_directory(ecli: Ecli, tmp_path: Path) -> None:
    (tmp_path / "vmlinuz").write_bytes(bz_image(gzip.compress(elf())))
    (tmp_path / "archive").mkdir()
    outcome = ecli("btf", "extract", "vmlinuz", "-o", "archive")
    assert outcome.status == 0, outcome.stderr
    assert (tmp_path / "archive" / f"{RELEASE}.btf").read_bytes() == BTF
    said = json.loads((tmp_path / "archive" / f"{RELEASE}.json").read_text())
    assert said == {"release": RELEASE, "version": VERSION, "machine": "x86_64"}
    assert ecli("btf", "extract", "vmlinuz", "-o", "one.btf").status == 0
    assert (tmp_path / "one.btf").read_bytes() == BTF


def test_extract_says_what_is_wrong(ecli: Ecli, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("text")
    ecli("btf", "extract", "text").fails("text is no kernel image", "/boot/vmlinuz")
    ecli("btf", "extract", "gone").fails("cannot read gone: No such file or directory")
    outcome = ecli("btf", "extract", "text", "text", "-o", "file")
    assert outcome.status == 2
    ecli("btf", "extract", "text", "-o", "no/such/directory").fails("text is no kernel image")


@pytest.mark.kernel
def test_extract_without_an_image_takes_the_running_kernel(ecli: Ecli, tmp_path: Path) -> None:
    assert ecli("btf", "extract").status == 0
    here = os.uname()
    assert (tmp_path / f"{here.release}.btf").read_bytes() == Path("/sys/kernel/btf/vmlinux").read_bytes()
