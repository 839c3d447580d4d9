"""BTF as C source, through libbpf's dumper."""

from __future__ import annotations

import os
import tempfile
from ctypes import cast, sizeof

from ecli_runtime.btf import Btf, Func
from ecli_runtime.libbpf._ffi import EmitTypeDeclOpts, dump_printf_fn, lib, libc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def dump_types(btf: bytes) -> bytes:
    """Return the C declarations of all types of a BTF blob, each after those that it needs.

    Raises:
        LibbpfError: libbpf cannot parse it, or cannot write a type as C.
    """

    def emit(handle: int, dump: int, _stream: int) -> None:
        for type_id in range(1, lib.btf__type_cnt(handle)):
            lib.btf_dump__dump_type(dump, type_id)

    return _dump(btf, emit)


def dump_kfuncs(btf: bytes) -> bytes:
    """Return C declarations of the kernel functions that programs may call, which pahole tags in BTF since 1.26.

    Raises:
        BtfError: It is malformed.
        LibbpfError: libbpf cannot parse it, or cannot write a type as C.
    """
    types = Btf(btf)
    tagged = [types.type(tag.target) for tag in types.decl_tags() if tag.name == "bpf_kfunc"]
    protos = {each.name: each.proto for each in tagged if isinstance(each, Func)}

    def emit(_handle: int, dump: int, stream: int) -> None:
        for name, proto in sorted(protos.items()):
            options = EmitTypeDeclOpts(sz=sizeof(EmitTypeDeclOpts), field_name=name.encode())
            libc.fputs(b"extern ", stream)
            lib.btf_dump__emit_type_decl(dump, proto, options)
            libc.fputs(b' __attribute__((weak, section(".ksyms")));\n', stream)

    return _dump(btf, emit)


def _dump(btf: bytes, emit: Callable[[int, int, int], None]) -> bytes:
    """Return what ``emit(btf handle, dumper, stream)`` prints; all three are addresses that are valid during the call."""
    handle = lib.btf__new(btf, len(btf))
    try:
        with tempfile.TemporaryFile() as out:
            stream = libc.fdopen(os.dup(out.fileno()), b"w")
            try:
                # libbpf prints through a function of vfprintf's shape, so vfprintf itself serves, with no call into Python:
                # a kernel's types take a million calls.
                dump = lib.btf_dump__new(handle, cast(libc.vfprintf, dump_printf_fn), stream, None)
                try:
                    emit(handle, dump, stream)
                finally:
                    lib.btf_dump__free(dump)
            finally:
                libc.fclose(stream)
            out.seek(0)
            return out.read()
    finally:
        lib.btf__free(handle)
