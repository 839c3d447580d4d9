"""From C to a Wasm module, with the clang and the linker in the ``ziglang`` package: a tenth of a second, and no cache."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ecli_packager import toolchain
from ecli_packager.errors import CompileError, ToolchainError
from ecli_runtime.errors import WasmError
from ecli_runtime.wasm.handler.module import HandlerModule
from ecli_runtime.wasm.limits import is_wasm
from ecli_schemas.model import WasmLimits, WasmModule

_HERE = Path(__file__).parent
EVENTS_HEADER = "ecli_events.h"
# All are part of Wasm 2.0.
_FEATURES = ("-mbulk-memory", "-msign-ext", "-mnontrapping-fptoint", "-mmutable-globals")
_OPTIONS = (
    *("--target=wasm32-unknown-unknown", "-Os", "-g", "-nostdlibinc", "-ffreestanding", "-Wall", "-Wextra"),
    # Packed structs are read where they lie, which Wasm can do anywhere.
    *("-Wno-address-of-packed-member", "-Wno-unused-function", "-Wno-unused-parameter"),
)
_LINK_OPTIONS = ("--no-entry", "--gc-sections", "-z", "stack-size=65536")
_CUSTOM_SECTION = 0


@dataclass(frozen=True)
class Made:
    """A module, and what the compiler warned of (possibly empty)."""

    module: WasmModule
    diagnostics: str


def make_handler(path: Path, header: str | None, limits: WasmLimits, flags: Sequence[str] = ()) -> Made:
    """Return the handler in a file, which is C or a module already; it is given what it asks for.

    Args:
        path: The file.
        header: Text of ``ecli_events.h``; ``None``: the file's directory may have one.
        limits: What it may use.
        flags: More words for clang.

    Raises:
        CompileError: clang or the linker refused it.
        ToolchainError: It cannot be read, or what compiles it is missing.
        WasmError: It is no event handler.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ToolchainError(f"cannot read {path}: {error.strerror}", "check the path") from error
    diagnostics = ""
    if not is_wasm(data):
        if path.suffix != ".c":
            raise WasmError(
                f"{path} is neither C nor a Wasm module", "compile it first; docs/handlers.md says how for Rust and Zig"
            )
        data, diagnostics = _compile(path, header, flags)
    data = without_debug(data) if diagnostics or path.suffix == ".c" else data
    name = path.name.partition(".")[0] or "handler"
    asks = HandlerModule(name, data, limits).asks
    return Made(WasmModule(name, data, "handler", asks.writes, bool(asks.wasi), limits), diagnostics)


def _compile(path: Path, header: str | None, flags: Sequence[str]) -> tuple[bytes, str]:
    directory = toolchain.ziglang()
    if directory is None:
        raise ToolchainError("compiling a handler needs ziglang", "pip install 'ecli-py[build]', or name a .wasm file")
    clang = [str(directory / "zig"), "clang", "-resource-dir", str(directory / "lib")]
    with tempfile.TemporaryDirectory(prefix="ecli-py-") as temporary:
        place = Path(temporary)
        if header is not None:
            (place / EVENTS_HEADER).write_text(header)
        # No path of this machine gets into names that a trap shows.
        words = [*clang, *_OPTIONS, *_FEATURES, f"-ffile-prefix-map={place}=.", f"-I{place}", f"-I{_HERE}", *flags, "-c"]
        said = _run([*words, str(path), "-o", str(place / "handler.o")], path)
        _run([*words, "-fno-builtin", str(_HERE / "support.c"), "-o", str(place / "support.o")], path)
        module = place / f"{path.name.partition('.')[0] or 'handler'}.wasm"
        objects = [str(place / "handler.o"), str(place / "support.o")]
        said += _run([str(directory / "zig"), "wasm-ld", *_LINK_OPTIONS, *objects, "-o", str(module)], path)
        return module.read_bytes(), said


def _run(words: list[str], path: Path) -> str:
    try:
        done = subprocess.run(words, capture_output=True, text=True, errors="replace", check=False)
    except OSError as error:
        raise ToolchainError(f"cannot run {words[0]}: {error.strerror}", "pip install --force-reinstall ziglang") from error
    if done.returncode:
        raise CompileError(f"{path} could not be compiled", done.stderr, "ecli_handler.h says what a handler must have")
    return done.stderr


def without_debug(data: bytes) -> bytes:
    """Return a module without its custom sections but ``name``, by which a trap can tell where it was."""
    kept = [data[:8]]
    at = 8
    while at < len(data):
        start, number = at, data[at]
        size, at = _leb128(data, at + 1)
        end = at + size
        if number == _CUSTOM_SECTION:
            length, at = _leb128(data, at)
            if data[at : at + length] != b"name":
                at = end
                continue
        kept.append(data[start:end])
        at = end
    return b"".join(kept)


def _leb128(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        value |= (data[at] & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if data[at - 1] < 0x80:
            return value, at
