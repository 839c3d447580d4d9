"""Finding clang and the kernel's user-space headers."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ecli_packager.errors import ToolchainError
from ecli_runtime.libbpf._ffi import BUNDLE, lib

MIN_CLANG = 14  # the first that emits BTF type and declaration tags
_INSTALL_HINT = "pip install 'ecli-py[build]' brings one, or name yours with --clang PATH or the variable CLANG"


@dataclass(frozen=True)
class Arch:
    """A machine that programs run on.

    Attributes:
        name: As ``uname -m`` has it.
        target: clang's BPF target of the same byte order.
        define: What libbpf's ``bpf_tracing.h`` calls it (``__TARGET_ARCH_x86``).
        headers: First part of the names of its header directories in the ``ziglang`` package.
    """

    name: str
    target: str
    define: str
    headers: str


ARCHES = {
    arch.name: arch
    for arch in (
        Arch("x86_64", "bpfel", "x86", "x86"),
        Arch("aarch64", "bpfel", "arm64", "aarch64"),
        Arch("riscv64", "bpfel", "riscv", "riscv"),
        Arch("s390x", "bpfeb", "s390", "s390x"),
    )
}


def host_arch() -> Arch:
    """Return the machine this runs on.

    Raises:
        ToolchainError: It is none that packages can be built for.
    """
    machine = os.uname().machine
    if machine not in ARCHES:
        raise ToolchainError(f"machine {machine} is not supported", f"supported: {', '.join(ARCHES)}")
    return ARCHES[machine]


def find_arch(name: str) -> Arch:
    """Return a machine by its name.

    Raises:
        ToolchainError: It is not supported.
    """
    if name not in ARCHES:
        raise ToolchainError(f"architecture {name!r} is not supported", f"supported: {', '.join(ARCHES)}")
    return ARCHES[name]


def find_arches(names: Sequence[str]) -> list[Arch]:
    """Return machines by name, this one if none is named; the first has the byte order of this one.

    Raises:
        ToolchainError: One is not supported, or none has this machine's byte order, in which the object is examined.
    """
    found = [find_arch(name) for name in dict.fromkeys(names)] or [host_arch()]
    native = "bpfel" if sys.byteorder == "little" else "bpfeb"
    found.sort(key=lambda arch: arch.target != native)
    if found[0].target != native:
        raise ToolchainError(
            f"{found[0].name} has another byte order than this machine", f"build for both: add --arch {host_arch().name}"
        )
    return found


@dataclass(frozen=True)
class Clang:
    """A clang that compiles to eBPF.

    Attributes:
        command: Words that start it.
        version: Its version, ``22.1.8``.
        origin: Where it is from, for people and for the package: ``clang`` or ``ziglang 0.17.1``.
    """

    command: tuple[str, ...]
    version: str
    origin: str


def ziglang() -> Path | None:
    """Return the directory of the ``ziglang`` package, if it is installed."""
    spec = importlib.util.find_spec("ziglang")
    return Path(spec.origin).parent if spec and spec.origin else None


def find_clang(named: str | None = None) -> Clang:
    """Return the clang to use: the one that was named, else ``$CLANG``, else the one inside the ``ziglang`` package.

    Raises:
        ToolchainError: There is none, or it is older than clang 14.
    """
    named = named or os.environ.get("CLANG")
    if named:
        path = shutil.which(named)
        if path is None:
            raise ToolchainError(f"no such clang: {named}", _INSTALL_HINT)
        command: tuple[str, ...] = (path,)
        origin = "clang"
    else:
        directory = ziglang()
        if directory is None:
            raise ToolchainError("there is no clang to compile with", _INSTALL_HINT)
        # `zig clang` is the plain driver: none of zig's own defaults (sanitizers, unwind tables) are in the way.
        command = (str(directory / "zig"), "clang", "-resource-dir", str(directory / "lib"))
        origin = f"ziglang {importlib.metadata.version('ziglang')}"
    try:
        answer = subprocess.run([*command, "--version"], capture_output=True, text=True, check=False)
    except OSError as error:
        raise ToolchainError(f"cannot run {command[0]}: {error.strerror}", _INSTALL_HINT) from error
    found = re.search(r"clang version (\d+)(\.[\d.]+)?", answer.stdout)
    if not found:
        raise ToolchainError(f"{command[0]} is no clang", _INSTALL_HINT)
    if int(found[1]) < MIN_CLANG:
        raise ToolchainError(f"{command[0]} is clang {found[1]}; building needs {MIN_CLANG} or newer", _INSTALL_HINT)
    return Clang(command, found[1] + (found[2] or ""), origin)


def libbpf_headers() -> Path:
    """Return the directory to include ``<bpf/bpf_helpers.h>`` from: of the very libbpf that is loaded.

    Headers and library of different generations compile and attach, and then read wrong values (USDT arguments).

    Raises:
        ToolchainError: Headers of that version cannot be found.
    """
    version = lib.version
    for directory in (Path(BUNDLE) / "include", Path("/usr/include"), Path("/usr/local/include")):
        try:
            text = (directory / "bpf" / "libbpf_version.h").read_text()
        except OSError:
            continue
        numbers = re.findall(r"LIBBPF_(?:MAJOR|MINOR)_VERSION (\d+)", text)
        if numbers == version.split(".")[:2]:
            return directory
    raise ToolchainError(
        f"no headers of libbpf {version} ({lib.origin}) found",
        "run tools/build-libbpf in a source tree, or install the headers of that version (Debian: libbpf-dev)",
    )


@dataclass(frozen=True)
class SystemHeaders:
    """The kernel's user-space headers (``linux/``, ``asm/``) and, for constants, the C library's.

    Attributes:
        root: Directory that holds all of them; its path must not get into objects.
        directories: Where to look, best first.
    """

    root: Path
    directories: tuple[Path, ...]


def system_headers(arch: Arch) -> SystemHeaders:
    """Return the headers of the ``ziglang`` package, which are the same on every machine, else those of the system."""
    directory = ziglang()
    if directory is not None:
        root = directory / "lib" / "libc" / "include"
        names = (f"{arch.headers}-linux-any", "any-linux-any", f"{arch.headers}-linux-gnu", "generic-glibc")
        return SystemHeaders(root, tuple(root / name for name in names))
    root = Path("/usr/include")
    multiarch = sysconfig.get_config_var("MULTIARCH") or f"{arch.name}-linux-gnu"
    return SystemHeaders(root, tuple(path for path in (root / multiarch, root) if path.is_dir()))
