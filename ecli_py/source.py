"""Where a package comes from."""

from __future__ import annotations

import os
import sys

from ecli_schemas.errors import EcliError, PackageError
from ecli_schemas.read import MAX_DOCUMENT_SIZE_BYTES, read_package

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ecli_schemas.model import Package


def load_package(reference: str | os.PathLike[str], object_file: str | None = None) -> Package:
    """Read a package.

    Args:
        reference: Path, or ``-`` for standard input.
        object_file: ELF object for a document that is only metadata.

    Raises:
        EcliError: It cannot be read, or is no package.
    """
    return parse_package(read_source(reference), object_file)


def parse_package(data: bytes, object_file: str | None = None) -> Package:
    """Return the package that a document is; ``object_file`` and errors as :func:`load_package`."""
    return read_package(data, object=read_source(object_file) if object_file is not None else None)


def any_object(package: Package) -> tuple[str, bytes]:
    """Return a machine and its object, to look into: this one if there is an object for it, else the first."""
    here = os.uname().machine
    try:
        return here, package.object_for(here)
    except PackageError:
        return package.arches[0], package.object


def read_source(path: str | os.PathLike[str]) -> bytes:
    """Return the bytes of a package or of an object; arguments and errors as :func:`load_package`."""
    try:
        if path == "-":
            data = sys.stdin.buffer.read(MAX_DOCUMENT_SIZE_BYTES + 1)
        else:
            with open(path, "rb") as file:
                data = file.read(MAX_DOCUMENT_SIZE_BYTES + 1)
    except OSError as error:
        raise EcliError(f"cannot read {os.fspath(path)}: {error.strerror}", "check the path") from error
    if len(data) > MAX_DOCUMENT_SIZE_BYTES:
        raise EcliError(f"{os.fspath(path)} is larger than {MAX_DOCUMENT_SIZE_BYTES >> 20} MiB", "this is no package")
    return data
