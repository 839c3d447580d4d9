"""BTF as C source, through libbpf's dumper."""

from __future__ import annotations

import os
import tempfile
from ctypes import cast

from ecli_runtime.libbpf._ffi import dump_printf_fn, lib, libc


def dump_c(btf: bytes) -> bytes:
    """Return the C declarations of all types of a BTF blob, each after those that it needs.

    Raises:
        LibbpfError: libbpf cannot parse it, or cannot write a type as C.
    """
    handle = lib.btf__new(btf, len(btf))
    try:
        with tempfile.TemporaryFile() as out:
            stream = libc.fdopen(os.dup(out.fileno()), b"w")
            try:
                # libbpf prints through a function of vfprintf's shape, so vfprintf itself serves, with no call into Python:
                # a kernel's types take a million calls.
                dump = lib.btf_dump__new(handle, cast(libc.vfprintf, dump_printf_fn), stream, None)
                try:
                    for type_id in range(1, lib.btf__type_cnt(handle)):
                        lib.btf_dump__dump_type(dump, type_id)
                finally:
                    lib.btf_dump__free(dump)
            finally:
                libc.fclose(stream)
            out.seek(0)
            return out.read()
    finally:
        lib.btf__free(handle)
