"""BTF of kernels that a package brings, for kernels that have none of their own."""

from __future__ import annotations

import binascii
import os
import zlib

from ecli_runtime.errors import UnsupportedFeatureError
from ecli_schemas.errors import PackageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ecli_schemas.model import Package

KERNEL_BTF = "/sys/kernel/btf/vmlinux"
_MAX_SIZE_BYTES = 64 << 20


def own_types(package: Package) -> AsFile | None:
    """Return the BTF that a package brings for the running kernel, if that has none; close it when the object is loaded.

    Raises:
        PackageError: It is damaged.
    """
    here = os.uname()
    data = None if os.path.exists(KERNEL_BTF) else embedded(package, here.release, here.version, here.machine)
    return None if data is None else AsFile(data)


def embedded(package: Package, release: str, version: str, machine: str) -> bytes | None:
    """Return the BTF that a package has for a kernel: of this release and this build (``uname``), never of another.

    Raises:
        PackageError: It is damaged.
    """
    for index, each in enumerate(package.kernel_btf):
        if each.machine == machine:
            for kernel in each.kernels:
                if kernel.release == release and kernel.version in ("", version):
                    return _unpacked(each.btf, index)
    return None


def lacking(package: Package, error: UnsupportedFeatureError) -> UnsupportedFeatureError:
    """Return the error that neither the kernel has BTF nor the package that of the kernel."""
    here = os.uname()
    count = sum(len(each.kernels) for each in package.kernel_btf)
    kernels = "another kernel" if count == 1 else f"{count} other kernels"
    return UnsupportedFeatureError(
        error.feature,
        f"BTF of exactly this kernel, {here.release} {here.version} ({here.machine})",
        f"one that has none, and the package has that of {kernels}",
        "on a machine with such a kernel's image: `ecli-py btf extract VMLINUZ -o FILE`, and here --kernel-btf FILE",
    )


def _unpacked(text: str, index: int) -> bytes:
    try:
        return zlib.decompressobj().decompress(binascii.a2b_base64(text), _MAX_SIZE_BYTES)
    except (binascii.Error, zlib.error) as error:
        path = f"$.ecli.kernel_btf[{index}].btf"
        raise PackageError(f"it is damaged: {error}", path, "the file was damaged or edited; fetch or build it again") from error


class AsFile:
    """Bytes that can be read through a path as long as this is open, without a file anywhere.

    Args:
        data: The bytes.

    Attributes:
        path: The path.
    """

    def __init__(self, data: bytes) -> None:
        self._fd = os.memfd_create("kernel.btf", os.MFD_CLOEXEC)
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(self._fd, view) :]
        except BaseException:
            os.close(self._fd)
            raise
        self.path = f"/proc/self/fd/{self._fd}"

    def close(self) -> None:
        """Forget them; a second call does nothing."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)
