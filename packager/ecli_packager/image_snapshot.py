"""A snapshot of a kernel that is not running, from the files that its package brings: nothing is booted."""

from __future__ import annotations

from pathlib import Path

from ecli_packager.errors import ToolchainError
from ecli_packager.kernel_image import MAX_KERNEL_SIZE_BYTES, read_kernel_image
from ecli_runtime.portability.snapshot import Snapshot, parse_config, parse_symbols

_MAX_TEXT_SIZE_BYTES = 64 << 20
_FEWEST_SYMBOLS = 1000  # Debian's System.map is one line that says where the real one is


def snapshot_image(image: Path, config: Path | None = None, symbols: Path | None = None) -> Snapshot:
    """Return the snapshot of a kernel image.

    Args:
        image: File that the kernel boots from.
        config: Its configuration; ``None`` looks beside the image, as ``/boot`` has it: ``config-6.1.0`` for ``vmlinuz-6.1.0``.
        symbols: Its ``System.map``; likewise.

    Raises:
        ToolchainError: A file cannot be read, or the image is no kernel or has no BTF.
    """
    try:
        with image.open("rb") as file:
            data = file.read(MAX_KERNEL_SIZE_BYTES)
    except OSError as error:
        raise ToolchainError(f"cannot read {image}: {error.strerror}", "check the path") from error
    kernel = read_kernel_image(data, str(image))
    config = config or _beside(image, "config")
    symbols = symbols or _beside(image, "System.map")
    found = parse_symbols(_text(symbols).splitlines()) if symbols is not None else {}
    return Snapshot(
        kernel.release,
        kernel.version,
        kernel.machine,
        "image",
        btf=kernel.btf,
        config=parse_config(_text(config)) if config is not None else None,
        symbols=found if len(found) >= _FEWEST_SYMBOLS else None,
    )


def _beside(image: Path, name: str) -> Path | None:
    _, dash, release = image.name.partition("-")
    path = image.with_name(f"{name}{dash}{release}")
    return path if path.is_file() else None


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(_MAX_TEXT_SIZE_BYTES).decode("utf-8", "replace")
    except OSError as error:
        raise ToolchainError(f"cannot read {path}: {error.strerror}", "check the path") from error
