"""``vmlinux.h``: all types of a kernel as one C header, made from its BTF."""

from __future__ import annotations

import atexit
import hashlib
import os
import re
import shutil
import tempfile
from pathlib import Path

from platformdirs import user_cache_path

from ecli_packager.errors import ToolchainError
from ecli_runtime.errors import LibbpfError, describe_errno
from ecli_runtime.libbpf._ffi import lib
from ecli_runtime.libbpf.dump import dump_kfuncs, dump_types

KERNEL_BTF = Path("/sys/kernel/btf/vmlinux")

# preserve_access_index makes clang record each access to a kernel struct, so that libbpf relocates it on the kernel that runs.
_HEAD = b"""\
#ifndef __VMLINUX_H__
#define __VMLINUX_H__

/* What <stdbool.h>, <stddef.h> and <errno.h> may have defined before is not what the kernel calls so. */
#pragma push_macro("bool")
#pragma push_macro("true")
#pragma push_macro("false")
#pragma push_macro("errno")
#undef bool
#undef true
#undef false
#undef errno
#define wchar_t wchar_t___vmlinux

#ifndef BPF_NO_PRESERVE_ACCESS_INDEX
#pragma clang attribute push (__attribute__((preserve_access_index)), apply_to = record)
#endif

"""
_BEFORE_KFUNCS = b"""
#ifndef BPF_NO_PRESERVE_ACCESS_INDEX
#pragma clang attribute pop
#endif

#ifndef BPF_NO_KFUNC_PROTOTYPES
"""
_TAIL = b"""
#endif

#undef wchar_t
#pragma pop_macro("bool")
#pragma pop_macro("true")
#pragma pop_macro("false")
#pragma pop_macro("errno")
#endif
"""


def make_header(btf: bytes) -> bytes:
    """Return the C header with all types of a BTF blob.

    Raises:
        LibbpfError: libbpf cannot parse it, or cannot write a type as C.
    """
    return _HEAD + dump_types(btf) + _BEFORE_KFUNCS + dump_kfuncs(btf) + _TAIL


# A definition in one of our headers that an author's file has, too: where clang complains, or says that it was defined before.
_CLASH = r"^(?:.*/)?%s:(\d+):(\d+): (?:error: .*(?:redefinition|conflicting types)|note: previous (?:definition|declaration))"
_FLAVOUR = "___vmlinux"  # CO-RE takes a type for the kernel's of the name in front of three underscores


def without_clashes(header: str, diagnostics: str, file_name: str = "vmlinux.h") -> str:
    """Return the header of a name with what the author defines for himself renamed, as far as clang's diagnostics tell."""
    lines = header.splitlines()
    tags: set[str] = set()
    names: set[str] = set()
    for found in re.finditer(_CLASH % re.escape(file_name), diagnostics, re.MULTILINE):
        line, column = lines[int(found[1]) - 1], int(found[2]) - 1
        name = re.match(r"\w+", line[column:])
        if name:
            is_tag = re.search(r"\b(struct|union|enum) $", line[:column])
            (tags if is_tag else names).add(name[0])
    for pattern, group in ((r"\b((?:struct|union|enum) (?:%s))\b", tags), (r"\b(%s)\b", names)):
        if group:
            header = re.sub(pattern % "|".join(map(re.escape, sorted(group))), rf"\1{_FLAVOUR}", header)
    return header


def header_directory(btf_file: Path | None) -> Path | None:
    """Return a directory that holds ``vmlinux.h`` for a kernel; made at first use, then kept in the user's cache.

    Where that cannot be written, as with a read-only home, it is made for this process alone.

    Args:
        btf_file: The kernel's BTF; ``None`` is the running kernel's.

    Returns:
        The directory, or ``None`` when the running kernel has no BTF.

    Raises:
        ToolchainError: The file that was named cannot be read, or holds no BTF.
    """
    try:
        btf = (btf_file or KERNEL_BTF).read_bytes()
    except OSError as error:
        if btf_file is None:
            return None
        raise ToolchainError(f"cannot read BTF file {btf_file}: {error.strerror}", "check the path") from error
    digest = hashlib.sha256(btf + lib.version.encode() + _HEAD + _BEFORE_KFUNCS + _TAIL).hexdigest()[:32]
    directory = user_cache_path("ecli-py") / "vmlinux" / digest
    header = directory / "vmlinux.h"
    if not header.exists():
        try:
            text = make_header(btf)
        except LibbpfError as error:
            message = f"{btf_file or KERNEL_BTF} holds no BTF that can be used: {describe_errno(error.errno)}"
            raise ToolchainError(message, "take a copy of /sys/kernel/btf/vmlinux") from error
        try:
            _write(directory, text)
        except OSError:
            directory = Path(tempfile.mkdtemp(prefix="ecli-"))
            atexit.register(shutil.rmtree, directory, ignore_errors=True)
            _write(directory, text)
    return directory


def _write(directory: Path, text: bytes) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=directory, delete=False) as file:
        file.write(text)
    os.chmod(file.name, 0o644)
    os.replace(file.name, directory / "vmlinux.h")  # whole or not at all, also when two builds race
