"""Snapshots of kernels for ``ecli-py check``: from files, directories and the web."""

from __future__ import annotations

from pathlib import Path

from ecli_runtime.errors import SnapshotError
from ecli_runtime.portability.snapshot import MAX_DOCUMENT_SIZE_BYTES, read_snapshot
from ecli_schemas.errors import EcliError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ecli_runtime.portability.snapshot import Snapshot

SUFFIX = ".snapshot.json"
_SCHEMES = ("https://", "http://")


def running() -> Snapshot:
    """Return a snapshot of the running kernel."""
    from ecli_runtime.portability.capture import take_snapshot

    return take_snapshot()


def load(source: str) -> Iterator[Snapshot]:
    """Yield the snapshots that a path or an address stands for, one at a time: each takes some megabytes.

    Args:
        source: A snapshot; a kernel image, taken as ``ecli-py snapshot --image`` takes it; a directory with either, in which
            the names of snapshots end with ``.snapshot.json`` and those of images begin with ``vmlinu``; or the address of a
            snapshot.

    Raises:
        EcliError: It cannot be read, or there is none.
    """
    if source.startswith(_SCHEMES):
        yield read_snapshot(_download(source), source)
        return
    path = Path(source)
    if not path.is_dir():
        yield _from_file(path)
        return
    try:
        files = sorted(each for each in path.rglob("*") if each.is_file() and _is_named_so(each.name))
    except OSError as error:
        raise EcliError(f"cannot read {source}: {error.strerror}", "check the path") from error
    if not files:
        raise SnapshotError(f"{source} has neither a snapshot nor a kernel", f"`ecli-py snapshot -o {source}` puts one there")
    for each in files:
        yield _from_file(each)


def _is_named_so(name: str) -> bool:
    return name.endswith(SUFFIX) or name.startswith("vmlinuz") or name == "vmlinux"


def _from_file(path: Path) -> Snapshot:
    try:
        with path.open("rb") as file:
            head = file.read(1)
            if head != b"{":
                return from_image(path)
            return read_snapshot(head + file.read(MAX_DOCUMENT_SIZE_BYTES), str(path))
    except OSError as error:
        raise EcliError(f"cannot read {path}: {error.strerror}", "check the path") from error


def from_image(image: Path, config: Path | None = None, symbols: Path | None = None) -> Snapshot:
    """Return the snapshot of a kernel image; arguments and errors as ``ecli_packager.image_snapshot.snapshot_image``."""
    try:
        from ecli_packager.image_snapshot import snapshot_image
    except ModuleNotFoundError as error:
        raise EcliError(f"this needs the Python module {error.name}", "pip install 'ecli-py[build,kernels]'") from error
    return snapshot_image(image, config, symbols)


def _download(address: str) -> bytes:
    from ecli_py.fetch import FetchError, FetchOptions, fetch

    def check(name: str, data: bytes) -> None:
        try:
            read_snapshot(data, name)
        except SnapshotError as error:
            raise FetchError(str(error), error.hint) from error

    return fetch(address, options=FetchOptions(max_size_bytes=MAX_DOCUMENT_SIZE_BYTES, check=check)).content
