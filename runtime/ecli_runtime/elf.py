"""The few facts of an ELF header that libbpf reports badly."""

from __future__ import annotations

import sys

from ecli_runtime.errors import ObjectError

EM_BPF = 247  # include/uapi/linux/elf-em.h
_MACHINES = {3: "i386", 8: "MIPS", 21: "PowerPC64", 22: "S/390", 40: "ARM", 62: "x86-64", 183: "AArch64", 243: "RISC-V"}


def check_header(data: bytes) -> None:
    """Check that bytes begin like an eBPF object for this machine's byte order.

    Raises:
        ObjectError: They do not.
    """
    if data[:4] != b"\x7fELF":
        raise ObjectError("the package's object is not an ELF file", "build the package again")
    if len(data) < 64:
        raise ObjectError("the package's object is a truncated ELF file", "build the package again")
    if data[4] != 2:
        raise ObjectError("the package's object is a 32-bit ELF file; eBPF objects have 64", "compile with clang -target bpf")
    order = {1: "little", 2: "big"}.get(data[5], "unknown")
    machine = int.from_bytes(data[18:20], "big" if order == "big" else "little")
    if machine != EM_BPF:
        name = _MACHINES.get(machine, f"number {machine}")
        raise ObjectError(f"the package's object is for machine {name}, not for eBPF", "compile with clang -target bpf")
    if order != sys.byteorder:
        raise ObjectError(
            f"the package's object is {order}-endian, this machine is {sys.byteorder}-endian",
            f"get or build a package for a {sys.byteorder}-endian machine",
        )
