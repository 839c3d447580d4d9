"""Archives as upstream's compiler writes them, and others."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping
from typing import Any


def member(name: str, **attributes: Any) -> tarfile.TarInfo:
    """Return a member of an archive with some attributes of its header."""
    made = tarfile.TarInfo(name)
    for key, value in attributes.items():
        setattr(made, key, value)
    return made


def make_archive(files: Mapping[str, bytes], *headers: tarfile.TarInfo) -> bytes:
    """Return an uncompressed archive with some files, and headers that nothing follows."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT if not headers else tarfile.GNU_FORMAT) as archive:
        for name, content in files.items():
            archive.addfile(member(name, size=len(content)), io.BytesIO(content))
        for header in headers:
            archive.addfile(header)
    return buffer.getvalue()
