"""A directory with the types of kernels, and what a package takes of it."""

from __future__ import annotations

import binascii
import json
import lzma
import tarfile
import zlib
from collections.abc import Iterator, Mapping
from io import BytesIO
from pathlib import Path

from ecli_packager.errors import ToolchainError
from ecli_packager.kernel_image import MAX_KERNEL_SIZE_BYTES, KernelTypesFile, is_kernel_image, read_kernel_image
from ecli_packager.toolchain import ARCHES
from ecli_runtime.btf import Btf
from ecli_runtime.core.minimise import minimise
from ecli_runtime.core.resolve import KernelTypes
from ecli_runtime.errors import BtfError
from ecli_schemas.model import Kernel, KernelBtf

_BTF_SUFFIXES = (".btf.tar.xz", ".btf.xz", ".btf")
_MACHINE_ALIASES = {"amd64": "x86_64", "arm64": "aarch64"}


def embed(directory: Path, objects: Mapping[str, bytes]) -> tuple[KernelBtf, ...]:
    """Return minimised BTF of each kernel in a directory for which there is an object; kernels with the same share one.

    Args:
        directory: Holds kernel images, files that :func:`save` wrote, or such as BTFHub's: ``RELEASE.btf.tar.xz`` in a directory
            that is named after the machine.
        objects: ELF objects by machine; that of the empty name is for all others.

    Raises:
        ToolchainError: The directory cannot be read, holds no kernel, or one that is damaged.
        BtfError: BTF in it is damaged, or the objects' own.
    """
    found: dict[tuple[str, bytes], set[Kernel]] = {}
    for each in _kernels(directory):
        data = objects.get(each.machine) or objects.get("")
        if data is None:
            continue
        try:
            small = minimise(KernelTypes(Btf(each.btf)), [data])
        except BtfError as error:
            hint = error.hint or "take it out of the kernel's image again: `ecli-py btf extract VMLINUZ`"
            raise BtfError(f"BTF of kernel {each.release}: {error}", hint) from error
        found.setdefault((each.machine, small), set()).add(Kernel(each.release, each.version))
    if not found:
        raise ToolchainError(
            f"{directory} has no kernel that the package is for", "`ecli-py btf extract VMLINUZ -o DIR` puts one into a directory"
        )
    return tuple(KernelBtf(machine, _sorted(kernels), _packed(small)) for (machine, small), kernels in sorted(found.items()))


def _sorted(kernels: set[Kernel]) -> tuple[Kernel, ...]:
    return tuple(sorted(kernels, key=lambda each: (each.release, each.version)))


def _packed(btf: bytes) -> str:
    return binascii.b2a_base64(zlib.compress(btf, 9), newline=False).decode()


def save(kernel: KernelTypesFile, directory: Path) -> Path:
    """Write the BTF of a kernel into a directory, with a file beside it that says of which; return its path.

    Raises:
        ToolchainError: It cannot be written.
    """
    path = directory / f"{kernel.release}.btf"
    said = {"release": kernel.release, "version": kernel.version, "machine": kernel.machine}
    try:
        path.write_bytes(kernel.btf)
        path.with_suffix(".json").write_text(json.dumps(said, indent=2) + "\n")
    except OSError as error:
        raise ToolchainError(f"cannot write {path}: {error.strerror}", "choose another place") from error
    return path


def _kernels(directory: Path) -> Iterator[KernelTypesFile]:
    try:
        paths = sorted(path for path in directory.rglob("*") if path.is_file())
    except OSError as error:
        raise ToolchainError(f"cannot read {directory}: {error.strerror}", "check the path") from error
    if not directory.is_dir():
        raise ToolchainError(f"{directory} is no directory", "--btf-archive takes a directory with BTF of kernels")
    for path in paths:
        suffix = next((each for each in _BTF_SUFFIXES if path.name.endswith(each)), "")
        if suffix:
            yield _described(path, suffix)
            continue
        with path.open("rb") as file:
            head = file.read(0x300)
            if is_kernel_image(head):
                yield read_kernel_image(head + file.read(MAX_KERNEL_SIZE_BYTES), str(path))


def _described(path: Path, suffix: str) -> KernelTypesFile:
    """Return a file with BTF alone: of which kernel it is stands beside it, or it is told by its name and directory."""
    stem = path.name.removesuffix(suffix)
    beside = path.with_name(stem + ".json")
    btf = _read(path, suffix)
    if beside.exists():
        try:
            said = json.loads(beside.read_text())
            return KernelTypesFile(str(said["release"]), str(said["version"]), str(said["machine"]), btf)
        except (ValueError, KeyError, TypeError, OSError) as error:
            raise ToolchainError(f"{beside} does not say of which kernel {path.name} is", "extract it again") from error
    machine = _MACHINE_ALIASES.get(path.parent.name, path.parent.name)
    if machine not in ARCHES:
        hint = f"put it into a directory named {', '.join(ARCHES)} or so, or extract it again with `ecli-py btf extract`"
        raise ToolchainError(f"{path}: of which machine's kernel it is cannot be told", hint)
    return KernelTypesFile(stem, "", machine, btf)


def _read(path: Path, suffix: str) -> bytes:
    try:
        data = path.read_bytes()
        if suffix == ".btf.tar.xz":
            with tarfile.open(fileobj=BytesIO(data)) as archive:
                member = next((each for each in archive if each.isfile() and each.size <= MAX_KERNEL_SIZE_BYTES), None)
                file = archive.extractfile(member) if member else None
                data = file.read() if file else b""
        elif suffix == ".btf.xz":
            data = lzma.LZMADecompressor().decompress(data, MAX_KERNEL_SIZE_BYTES)
    except (OSError, tarfile.TarError, lzma.LZMAError) as error:
        raise ToolchainError(f"cannot read {path}: {error}", "fetch it again") from error
    return data
