"""Errors of the runtime: what the object, libbpf, the kernel or a sample can get wrong."""

from __future__ import annotations

import os

from ecli_schemas.errors import EcliError

__all__ = [
    "AttachError",
    "BtfError",
    "DecodeError",
    "EcliError",
    "LibbpfError",
    "ObjectError",
    "OptionError",
    "RecordingError",
    "SnapshotError",
    "TargetError",
    "UnsupportedFeatureError",
    "VerifierError",
    "WasmError",
    "WasmTrapError",
    "WhereError",
]


class ObjectError(EcliError):
    """The ELF object cannot be used: not an eBPF object, wrong byte order, or without type information."""


class BtfError(EcliError):
    """BTF is malformed, or lacks a type that is needed."""


class DecodeError(EcliError):
    """A sample does not hold the type it should.

    Args:
        type_name: C type that was expected.
        byte_offset: Where decoding stopped.
        need: Bytes needed there.
        got: Bytes left there.
    """

    def __init__(self, type_name: str, byte_offset: int, need: int, got: int) -> None:
        super().__init__(f"sample too short for {type_name}: need {need} bytes at offset {byte_offset}, got {got}")
        self.type_name, self.byte_offset, self.need, self.got = type_name, byte_offset, need, got


class WhereError(EcliError):
    """A condition on events (``--where``) cannot be understood, or does not fit the events.

    Args:
        message: What is wrong.
        column: Where in the expression, counted from 1.
        hint: What to try next.
    """

    def __init__(self, message: str, column: int, hint: str = "") -> None:
        super().__init__(f"--where: {message} at column {column}", hint)
        self.column = column


class OptionError(EcliError):
    """A value cannot be stored in the global variable behind an option."""


class RecordingError(EcliError):
    """A file is no recording that can be read, or a recording cannot be written."""


class SnapshotError(EcliError):
    """A file is no snapshot of a kernel that can be read."""


class TargetError(EcliError):
    """What a program shall be attached to is not said, or is nothing that it can be attached to."""


class WasmError(EcliError):
    """A Wasm module cannot be used, or did what it must not."""


class WasmTrapError(WasmError):
    """A Wasm module trapped: it did what Wasm forbids, or used up what it may use.

    Args:
        message: Why.
        backtrace: The functions that it was in, one a line, the innermost first; empty if that is not known.
        hint: What to try next.
    """

    def __init__(self, message: str, backtrace: str = "", hint: str = "") -> None:
        super().__init__(message + (f"\n{backtrace}" if backtrace else ""), hint)
        self.backtrace = backtrace


class UnsupportedFeatureError(EcliError):
    """The library or the kernel is too old for something that was asked for.

    Args:
        feature: What was asked for.
        since: First version that has it, for example ``libbpf 1.5`` or ``Linux 5.8``.
        here: Version found.
    """

    def __init__(self, feature: str, since: str, here: str = "", hint: str = "") -> None:
        super().__init__(f"{feature} needs {since}" + (f"; this is {here}" if here else ""), hint)
        self.feature, self.since = feature, since


class LibbpfError(EcliError):
    """A libbpf call failed.

    Attributes:
        function: libbpf function.
        errno: Positive error number; from 4000 they are libbpf's own.
        log: What libbpf logged during the call, with the verifier's log if there was one.
    """

    def __init__(self, function: str, errno: int, log: str = "", message: str = "", hint: str = "") -> None:
        super().__init__(message or f"{function}: {describe_errno(errno)}", hint)
        self.function, self.errno, self.log = function, errno, log


class VerifierError(LibbpfError):
    """The kernel's verifier refused a program."""


class AttachError(LibbpfError):
    """A program was loaded but could not be attached to its hook."""


# enum libbpf_errno, libbpf_legacy.h
_LIBBPF_ERRNO = {
    4000: "something wrong in libelf",
    4001: "BPF object format invalid",
    4002: "'version' section incorrect or lost",
    4003: "endian mismatch",
    4004: "internal error in libbpf",
    4005: "relocation failed",
    4006: "kernel verifier blocks program loading",
    4007: "program load failure",
    4008: "program too big",
    4009: "kernel doesn't support this program type",
    4010: "wrong pass",
    4011: "invalid argument",
    4012: "invalid query or request",
    4013: "incorrect netlink message parsing",
    4014: "netlink message out of range",
}


def describe_errno(errno: int) -> str:
    """Return an error number in words, libbpf's own (4000 and up, ``enum libbpf_errno``) included."""
    if errno == 524:  # ENOTSUPP of include/linux/errno.h, which no C library knows
        return "operation not supported by this kernel"
    return _LIBBPF_ERRNO.get(errno) or os.strerror(errno)
