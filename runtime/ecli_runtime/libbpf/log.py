"""What libbpf has to say, kept for error messages instead of going to stderr."""

from __future__ import annotations

import ctypes
import sys
from collections import deque
from ctypes import c_char_p, c_int, c_size_t, c_void_p

# libbpf_print_fn_t(level, format, va_list). A va_list arrives as one pointer-sized argument on x86-64, aarch64, riscv64 and
# s390x: it is an array type, a pointer, or a struct large enough to be passed by reference.
print_fn = ctypes.CFUNCTYPE(c_int, c_int, c_char_p, c_void_p)

WARN, INFO, DEBUG = range(3)  # enum libbpf_print_level

_LINE_COUNT = 4000  # a verifier log arrives as one message; this bounds many small ones
_MESSAGE_SIZE_BYTES = 1 << 20

_messages: deque[str] = deque(maxlen=_LINE_COUNT)
_level = INFO

# PyDLL keeps the interpreter lock during the call, so one buffer serves all threads.
_vsnprintf = ctypes.PyDLL(None).vsnprintf
_vsnprintf.argtypes = (c_char_p, c_size_t, c_char_p, c_void_p)
_vsnprintf.restype = c_int
_buffer: ctypes.Array[ctypes.c_char] | None = None


def set_verbose(verbose: bool) -> None:
    """Also write everything libbpf logs, debug messages included, to stderr."""
    global _level
    _level = DEBUG if verbose else INFO


def format_message(template: bytes, arguments: int) -> str:
    """Return a C format and its ``va_list`` (an address, valid only during the callback) as text.

    Longer messages than 1 MiB are cut: vsnprintf consumes the ``va_list``, so the size cannot be asked for first.
    """
    global _buffer
    if _buffer is None:
        _buffer = ctypes.create_string_buffer(_MESSAGE_SIZE_BYTES)
    _vsnprintf(_buffer, _MESSAGE_SIZE_BYTES, template, arguments)
    return _buffer.value.decode("utf-8", "replace")


def _print(level: int, template: bytes, arguments: int) -> int:
    if level > _level:
        return 0
    text = format_message(template, arguments)
    _messages.append(text)
    if _level == DEBUG:
        sys.stderr.write(text)
    return 0


callback = print_fn(_print)  # libbpf keeps this pointer for ever, and so does the module


def take() -> str:
    """Return what was logged since the last call, and forget it."""
    text = "".join(_messages)
    _messages.clear()
    return text
