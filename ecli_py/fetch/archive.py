"""Upstream's ``.tar``: a package, and the types (BTF) of many kernels for machines whose kernel has none.

``ecc -b`` writes ``package.json`` and ``btfhub-archive/ID/VERSION_ID/ARCH/RELEASE.btf``, where ID and VERSION_ID are those of
``/etc/os-release``, ARCH is ``uname -m`` and RELEASE ``uname -r``. Nothing is unpacked to the disk.
"""

from __future__ import annotations

import io
import os
import tarfile
from dataclasses import dataclass

from ecli_py.fetch.errors import FetchError
from ecli_schemas.read import MAX_DOCUMENT_SIZE_BYTES

_PACKAGE = "package.json"
_TYPES = "btfhub-archive/"
_MAX_MEMBERS = 100_000  # BTFHub has some 10,000 kernels
_MAX_TYPES_SIZE_BYTES = 64 << 20


@dataclass(frozen=True)
class Archive:
    """What is in an archive that matters here.

    Attributes:
        package: The package's JSON document.
        types_name: Where the types of this kernel are in it, or would be.
        types: The types; ``None``: it has none of this kernel.
    """

    package: bytes
    types_name: str
    types: bytes | None


def read_archive(content: bytes, name: str) -> Archive:
    """Return what matters of an archive.

    Args:
        content: The archive.
        name: What it is called in errors.

    Raises:
        FetchError: It is damaged, or holds no package.
    """
    types_name = this_kernel()
    package = types = None
    try:
        with tarfile.open(fileobj=io.BytesIO(content), mode="r:") as archive:
            for count, member in enumerate(archive):
                path = member.name.removeprefix("./")
                if count >= _MAX_MEMBERS:
                    raise FetchError(f"{name} has more than {_MAX_MEMBERS} files", "it is no package; ask who published it")
                if path == _PACKAGE and package is None:
                    package = _read_member(archive, member, MAX_DOCUMENT_SIZE_BYTES, name)
                elif path == types_name and types is None:
                    types = _read_member(archive, member, _MAX_TYPES_SIZE_BYTES, name)
    except (tarfile.TarError, ValueError, EOFError, OSError) as error:
        raise FetchError(f"{name} is a damaged tar archive: {error}", "fetch or build it again") from error
    if package is None:
        raise FetchError(f"{name} is a tar archive without {_PACKAGE}", "upstream's `ecc -b` writes archives that hold a package")
    return Archive(package, types_name, types)


def this_kernel() -> str:
    """Return where the types of the running kernel are in an archive."""
    import platform

    try:
        release = platform.freedesktop_os_release()
    except OSError:
        release = {}
    machine = os.uname()
    return f"{_TYPES}{release.get('ID', '')}/{release.get('VERSION_ID', '')}/{machine.machine}/{machine.release}.btf"


def _read_member(archive: tarfile.TarFile, member: tarfile.TarInfo, max_size_bytes: int, name: str) -> bytes:
    if not member.isreg():
        raise FetchError(f"{name}: {member.name!r} is no file", "it is no package; ask who published it")
    if member.size > max_size_bytes:  # of a sparse file, too, which takes no room in the archive
        raise FetchError(f"{name}: {member.name!r} is larger than {max_size_bytes >> 20} MiB", "it is no package")
    file = archive.extractfile(member)
    content = file.read() if file is not None else b""
    if len(content) != member.size:
        raise FetchError(f"{name} is a tar archive that was cut short", "fetch it again")
    return content
