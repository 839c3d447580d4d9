"""The C prototypes that are used, of libbpf and of the C library, in tables, each with its failure convention.

libbpf 1.x reports failure in two ways (``libbpf_set_strict_mode`` is gone): functions returning ``int`` return ``-errno``,
functions returning a pointer return ``NULL`` and set ``errno``.
"""

from __future__ import annotations

import ctypes
import os
from ctypes import c_bool, c_char_p, c_int, c_long, c_size_t, c_uint32, c_uint64, c_ulong, c_void_p

from ecli_runtime.errors import LibbpfError, ObjectError, UnsupportedFeatureError
from ecli_runtime.libbpf import log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

BUNDLE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "_bundle")

# All handles are passed as addresses; `Owned` says who keeps them alive.
pointer = c_void_p

# libbpf_print_fn_t(level, format, va_list). A va_list arrives as one pointer-sized argument on x86-64, aarch64, riscv64 and
# s390x: it is an array type, a pointer, or a struct large enough to be passed by reference.
print_fn = ctypes.CFUNCTYPE(c_int, c_int, c_char_p, c_void_p)
dump_printf_fn = ctypes.CFUNCTYPE(None, c_void_p, c_char_p, c_void_p)  # btf_dump_printf_fn_t


class ObjectOpenOpts(ctypes.Structure):
    """``struct bpf_object_open_opts`` (libbpf.h). libbpf 1.1 knows all but the last, which must be zero for it."""

    _fields_ = (
        ("sz", c_size_t),
        ("object_name", c_char_p),
        ("relaxed_maps", c_bool),
        ("pin_root_path", c_char_p),
        ("_unused", c_uint32),
        ("kconfig", c_char_p),
        ("btf_custom_path", c_char_p),
        ("kernel_log_buf", c_void_p),
        ("kernel_log_size", c_size_t),
        ("kernel_log_level", c_uint32),
        ("bpf_token_path", c_char_p),
    )


# PyDLL keeps the interpreter lock during the call, so one buffer serves all threads.
_vsnprintf = ctypes.PyDLL(None).vsnprintf
_vsnprintf.argtypes, _vsnprintf.restype = (c_char_p, c_size_t, c_char_p, c_void_p), c_int
_MESSAGE_SIZE_BYTES = 1 << 20
_message_buffers: list[ctypes.Array[ctypes.c_char]] = []
# The verifier's log is one message of up to some hundred megabytes, and its end is what matters: this much is kept.
_VERIFIER_LOG = b"BEGIN PROG LOAD LOG"
_VERIFIER_LOG_SIZE_BYTES = 1 << 24


def format_message(template: bytes, arguments: int) -> str:
    """Return a C format and its ``va_list`` (an address, valid only during the callback) as text.

    Longer messages than 1 MiB are cut: vsnprintf consumes the ``va_list``, so the size cannot be asked for first. Of a verifier's
    log that is longer than 16 MiB the middle is missing.
    """
    if _VERIFIER_LOG in template:
        return _format_verifier_log(template, arguments)
    if not _message_buffers:
        _message_buffers.append(ctypes.create_string_buffer(_MESSAGE_SIZE_BYTES))
    buffer = _message_buffers[0]
    _vsnprintf(buffer, _MESSAGE_SIZE_BYTES, template, arguments)
    return buffer.value.decode("utf-8", "replace")


def _format_verifier_log(template: bytes, arguments: int) -> str:
    this = ctypes.PyDLL(None)
    address = c_void_p()
    size: int = this.vasprintf(ctypes.byref(address), c_char_p(template), c_void_p(arguments))  # which allocates
    if size < 0 or not address.value:
        return ""
    try:
        if size <= _VERIFIER_LOG_SIZE_BYTES:
            text = ctypes.string_at(address.value, size)
        else:
            head, _, _ = ctypes.string_at(address.value, 4096).rpartition(b"\n")
            end = address.value + size
            _, _, tail = ctypes.string_at(end - _VERIFIER_LOG_SIZE_BYTES, _VERIFIER_LOG_SIZE_BYTES).partition(b"\n")
            text = head + b"\n[...]\n" + tail
    finally:
        this.free(address)
    return text.decode("utf-8", "replace")


def _print(level: int, template: bytes, arguments: int) -> int:
    if log.wants(level):
        log.add(format_message(template, arguments))
    return 0


_print_callback = print_fn(_print)  # libbpf keeps this pointer for ever, and so does the module


def check_ret(function: str, result: int) -> int:
    """Fail on ``-errno``."""
    if result < 0:
        raise LibbpfError(function, -result, log.take())
    return result


def check_errno(function: str, result: int) -> int:
    """Fail on -1 with ``errno`` set, as system calls do."""
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{function}: {os.strerror(number)}")
    return result


def check_pointer(function: str, result: int | None) -> int:
    """Fail on ``NULL`` with ``errno`` set."""
    if not result:
        raise LibbpfError(function, ctypes.get_errno(), log.take())
    return result


class PerfEventAttr(ctypes.Structure):
    """``struct perf_event_attr`` up to its first published size (PERF_ATTR_SIZE_VER0, include/uapi/linux/perf_event.h)."""

    _fields_ = (
        ("type", c_uint32),
        ("size", c_uint32),
        ("config", c_uint64),
        ("sample_freq", c_uint64),
        ("sample_type", c_uint64),
        ("read_format", c_uint64),
        ("flags", c_uint64),  # disabled, inherit, …, one bit each
        ("wakeup_events", c_uint32),
        ("bp_type", c_uint32),
        ("config1", c_uint64),
    )


class CapHeader(ctypes.Structure):
    """``struct __user_cap_header_struct`` (include/uapi/linux/capability.h)."""

    _fields_ = (("version", c_uint32), ("pid", c_int))


class CapData(ctypes.Structure):
    """``struct __user_cap_data_struct``: 32 bits of each set."""

    _fields_ = (("effective", c_uint32), ("permitted", c_uint32), ("inheritable", c_uint32))


class EmitTypeDeclOpts(ctypes.Structure):
    """``struct btf_dump_emit_type_decl_opts`` (btf.h)."""

    _fields_ = (("sz", c_size_t), ("field_name", c_char_p), ("indent_level", c_int), ("strip_mods", c_bool))


class Signature:
    """Prototype of a C function: result, arguments, how it fails, and the libbpf that has it first (1.1 if not given)."""

    def __init__(
        self,
        result: Any,
        arguments: tuple[Any, ...],
        check: Callable[[str, Any], Any] | None = None,
        since: str = "1.1",
    ) -> None:
        self.result, self.arguments, self.check, self.since = result, arguments, check, since


SIGNATURES: dict[str, Signature] = {
    "libbpf_version_string": Signature(c_char_p, ()),
    "libbpf_set_print": Signature(c_void_p, (print_fn,)),
    "libbpf_num_possible_cpus": Signature(c_int, (), check_ret),
    # objects
    "bpf_object__open_mem": Signature(pointer, (c_char_p, c_size_t, ctypes.POINTER(ObjectOpenOpts)), check_pointer),
    "bpf_object__load": Signature(c_int, (pointer,), check_ret),
    "bpf_object__close": Signature(None, (pointer,)),
    "bpf_object__btf": Signature(pointer, (pointer,)),  # NULL: the object has none; owned by the object
    "bpf_object__next_map": Signature(pointer, (pointer, pointer)),  # NULL ends the walk
    "bpf_object__next_program": Signature(pointer, (pointer, pointer)),  # NULL ends the walk
    # maps: owned by their object
    "bpf_map__name": Signature(c_char_p, (pointer,)),
    "bpf_map__type": Signature(c_int, (pointer,)),
    "bpf_map__key_size": Signature(c_uint32, (pointer,)),
    "bpf_map__value_size": Signature(c_uint32, (pointer,)),
    "bpf_map__max_entries": Signature(c_uint32, (pointer,)),
    "bpf_map__set_max_entries": Signature(c_int, (pointer, c_uint32), check_ret),
    "bpf_map__set_key_size": Signature(c_int, (pointer, c_uint32), check_ret),
    "bpf_map__set_value_size": Signature(c_int, (pointer, c_uint32), check_ret),
    "bpf_map__is_internal": Signature(c_bool, (pointer,)),
    "bpf_map__btf_key_type_id": Signature(c_uint32, (pointer,)),
    "bpf_map__btf_value_type_id": Signature(c_uint32, (pointer,)),
    "bpf_map__pin_path": Signature(c_char_p, (pointer,)),  # NULL: it is not pinned
    "bpf_map__initial_value": Signature(pointer, (pointer, ctypes.POINTER(c_size_t))),  # NULL: has none
    "bpf_map__map_flags": Signature(c_uint32, (pointer,)),
    "bpf_map__set_map_flags": Signature(c_int, (pointer, c_uint32), check_ret),
    "bpf_map__autocreate": Signature(c_bool, (pointer,)),
    "bpf_map__fd": Signature(c_int, (pointer,), check_ret),
    # map elements, by descriptor
    "bpf_map_get_next_key": Signature(c_int, (c_int, c_void_p, c_void_p)),  # -ENOENT is the end, not a failure
    "bpf_map_lookup_elem": Signature(c_int, (c_int, c_void_p, c_void_p)),  # -ENOENT: deleted meanwhile
    "bpf_map_lookup_elem_flags": Signature(c_int, (c_int, c_void_p, c_void_p, c_uint64)),  # likewise
    "bpf_map_delete_elem_flags": Signature(c_int, (c_int, c_void_p, c_uint64)),
    "bpf_map_update_elem": Signature(c_int, (c_int, c_void_p, c_void_p, c_uint64), check_ret),
    "bpf_map_delete_elem": Signature(c_int, (c_int, c_void_p)),
    "bpf_map_lookup_and_delete_elem": Signature(c_int, (c_int, c_void_p, c_void_p)),  # as the lookup
    # descriptor, where to begin (NULL: at the first), where it ended, keys, values, count, options; -ENOENT is the end,
    # -ENOSPC: the next bucket of a hash has more entries than there is room for
    "bpf_map_lookup_batch": Signature(c_int, (c_int, *[c_void_p] * 4, ctypes.POINTER(c_uint32), c_void_p)),
    "bpf_map_lookup_and_delete_batch": Signature(c_int, (c_int, *[c_void_p] * 4, ctypes.POINTER(c_uint32), c_void_p)),
    # programs and links
    "bpf_program__name": Signature(c_char_p, (pointer,)),
    "bpf_program__section_name": Signature(c_char_p, (pointer,)),
    "bpf_program__type": Signature(c_int, (pointer,)),
    "bpf_program__expected_attach_type": Signature(c_int, (pointer,)),
    "bpf_program__autoload": Signature(c_bool, (pointer,)),
    "bpf_program__set_autoload": Signature(c_int, (pointer, c_bool), check_ret),
    "bpf_program__set_expected_attach_type": Signature(c_int, (pointer, c_int), check_ret),
    "bpf_program__set_attach_target": Signature(c_int, (pointer, c_int, c_char_p), check_ret),
    "bpf_program__set_ifindex": Signature(None, (pointer, c_uint32)),
    "bpf_program__fd": Signature(c_int, (pointer,), check_ret),
    # attaching: the option structs are in options.py, for those who attach in these ways
    "bpf_program__attach": Signature(pointer, (pointer,), check_pointer),
    "bpf_program__attach_kprobe_opts": Signature(pointer, (pointer, c_char_p, pointer), check_pointer),
    "bpf_program__attach_kprobe_multi_opts": Signature(pointer, (pointer, c_char_p, pointer), check_pointer),
    "bpf_program__attach_ksyscall": Signature(pointer, (pointer, c_char_p, pointer), check_pointer),
    "bpf_program__attach_uprobe_opts": Signature(pointer, (pointer, c_int, c_char_p, c_size_t, pointer), check_pointer),
    "bpf_program__attach_uprobe_multi": Signature(
        pointer, (pointer, c_int, c_char_p, c_char_p, pointer), check_pointer, since="1.3"
    ),
    "bpf_program__attach_usdt": Signature(pointer, (pointer, c_int, c_char_p, c_char_p, c_char_p, pointer), check_pointer),
    "bpf_program__attach_tracepoint": Signature(pointer, (pointer, c_char_p, c_char_p), check_pointer),
    "bpf_program__attach_raw_tracepoint": Signature(pointer, (pointer, c_char_p), check_pointer),
    "bpf_program__attach_perf_event": Signature(pointer, (pointer, c_int), check_pointer),  # takes over the descriptor
    "bpf_program__attach_xdp": Signature(pointer, (pointer, c_int), check_pointer),
    "bpf_program__attach_netkit": Signature(pointer, (pointer, c_int, pointer), check_pointer, since="1.3"),
    "bpf_program__attach_netfilter": Signature(pointer, (pointer, pointer), check_pointer, since="1.3"),
    "bpf_program__attach_cgroup": Signature(pointer, (pointer, c_int), check_pointer),
    "bpf_program__attach_netns": Signature(pointer, (pointer, c_int), check_pointer),
    "bpf_program__attach_sockmap": Signature(pointer, (pointer, c_int), check_pointer, since="1.5"),
    "bpf_program__attach_iter": Signature(pointer, (pointer, pointer), check_pointer),
    "bpf_map__attach_struct_ops": Signature(pointer, (pointer,), check_pointer),
    "bpf_prog_attach": Signature(c_int, (c_int, c_int, c_int, c_uint32), check_ret),
    "bpf_prog_detach2": Signature(c_int, (c_int, c_int, c_int), check_ret),
    "bpf_tc_hook_create": Signature(c_int, (pointer,), check_ret),
    "bpf_tc_hook_destroy": Signature(c_int, (pointer,), check_ret),
    "bpf_tc_attach": Signature(c_int, (pointer, pointer), check_ret),
    "bpf_tc_detach": Signature(c_int, (pointer, pointer), check_ret),
    "bpf_prog_test_run_opts": Signature(c_int, (c_int, pointer), check_ret),
    "bpf_link_create": Signature(c_int, (c_int, c_int, c_int, pointer), check_ret),
    "bpf_link__fd": Signature(c_int, (pointer,), check_ret),
    "bpf_link__disconnect": Signature(None, (pointer,)),
    "bpf_link__destroy": Signature(c_int, (pointer,), check_ret),
    "bpf_iter_create": Signature(c_int, (c_int,), check_ret),
    # descriptors of what is in the kernel already; the caller owns them
    "bpf_prog_get_fd_by_id": Signature(c_int, (c_uint32,), check_ret),
    "bpf_map_get_fd_by_id": Signature(c_int, (c_uint32,), check_ret),
    "bpf_obj_get": Signature(c_int, (c_char_p,), check_ret),
    # what the kernel tells of them, and for how long it measures programs: as the descriptor is open
    "bpf_obj_get_info_by_fd": Signature(c_int, (c_int, c_void_p, ctypes.POINTER(c_uint32)), check_ret),
    "bpf_enable_stats": Signature(c_int, (c_int,), check_ret),
    "bpf_obj_pin": Signature(c_int, (c_int, c_char_p), check_ret),
    # names of the numbers in include/uapi/linux/bpf.h; NULL: this libbpf knows none
    "libbpf_bpf_prog_type_str": Signature(c_char_p, (c_int,)),
    "libbpf_bpf_map_type_str": Signature(c_char_p, (c_int,)),
    # 1: the kernel has it, 0: it has not, else -errno
    "libbpf_probe_bpf_prog_type": Signature(c_int, (c_int, c_void_p)),
    "libbpf_probe_bpf_map_type": Signature(c_int, (c_int, c_void_p)),
    "libbpf_probe_bpf_helper": Signature(c_int, (c_int, c_int, c_void_p)),
    # BTF
    "btf__raw_data": Signature(pointer, (pointer, ctypes.POINTER(c_uint32)), check_pointer),
    "btf__new": Signature(pointer, (c_char_p, c_uint32), check_pointer),
    "btf__type_cnt": Signature(c_uint32, (pointer,)),
    "btf__free": Signature(None, (pointer,)),
    "btf_dump__new": Signature(pointer, (pointer, dump_printf_fn, c_void_p, c_void_p), check_pointer),
    "btf_dump__dump_type": Signature(c_int, (pointer, c_uint32), check_ret),
    "btf_dump__emit_type_decl": Signature(c_int, (pointer, c_uint32, ctypes.POINTER(EmitTypeDeclOpts)), check_ret),
    "btf_dump__free": Signature(None, (pointer,)),
    # static linker
    "bpf_linker__new": Signature(pointer, (c_char_p, c_void_p), check_pointer),
    "bpf_linker__add_file": Signature(c_int, (pointer, c_char_p, c_void_p), check_ret),
    "bpf_linker__finalize": Signature(c_int, (pointer,), check_ret),
    "bpf_linker__free": Signature(None, (pointer,)),
}


def _bind(cdll: ctypes.CDLL, name: str, signature: Signature) -> Any:
    """Return a C function with its prototype and its failure check."""
    function = getattr(cdll, name)
    function.restype, function.argtypes = signature.result, signature.arguments
    check = signature.check
    if check:
        function.errcheck = lambda result, _function, _arguments: check(name, result)
    return function


def candidates() -> list[tuple[str, str]]:
    """Return where libbpf is looked for, in order, as (what to load, where it comes from)."""
    override = os.environ.get("ECLI_LIBBPF")
    if override:
        return [(override, "ECLI_LIBBPF")]
    return [(os.path.join(BUNDLE, "libbpf.so.1"), "bundled"), ("libbpf.so.1", "system")]


class Library:
    """libbpf, loaded at the first call; each function is bound at its first use.

    Attributes:
        path: What was loaded.
        origin: ``bundled``, ``system`` or ``ECLI_LIBBPF``.
    """

    path: str
    origin: str

    def _load(self) -> ctypes.CDLL:
        problems = []
        for path, origin in candidates():
            if origin == "bundled" and not os.path.exists(path):
                continue
            try:
                cdll = ctypes.CDLL(path, use_errno=True)
                set_print = _bind(cdll, "libbpf_set_print", SIGNATURES["libbpf_set_print"])
            except OSError as error:
                problems.append(f"{origin}: {error}")
                continue
            except AttributeError:
                problems.append(f"{origin}: {path} is no libbpf")
                continue
            set_print(_print_callback)
            self.path, self.origin = path, origin
            return cdll
        raise ObjectError(
            f"cannot load libbpf ({'; '.join(problems)})",
            "install it (Debian: apt install libbpf1; Fedora: dnf install libbpf), run tools/build-libbpf in a source tree, "
            "or name one in ECLI_LIBBPF",
        )

    def __getattr__(self, name: str) -> Any:
        if name == "_cdll":
            self._cdll = self._load()
            return self._cdll
        if name in ("path", "origin"):
            self._cdll  # noqa: B018  loading sets both
            return self.__dict__[name]
        signature = SIGNATURES[name]
        try:
            function = _bind(self._cdll, name, signature)
        except AttributeError:
            here = self.version
            raise UnsupportedFeatureError(
                name, f"libbpf {signature.since}", f"libbpf {here} ({self.origin})", "use the bundled libbpf"
            ) from None
        setattr(self, name, function)
        return function

    @property
    def version(self) -> str:
        """Version of the loaded library, ``1.7.0``."""
        text: bytes = self.libbpf_version_string()
        return text.decode().lstrip("v")

    @property
    def version_numbers(self) -> tuple[int, ...]:
        """The same as numbers, to compare: ``(1, 7)``."""
        return tuple(int(part) for part in self.version.split(".") if part.isdigit())


lib = Library()

libc = ctypes.CDLL(None, use_errno=True)
for _name, _signature in {
    "unshare": Signature(c_int, (c_int,), check_errno),
    "mount": Signature(c_int, (c_char_p, c_char_p, c_char_p, c_ulong, c_void_p), check_errno),
    "fdopen": Signature(pointer, (c_int, c_char_p), check_pointer),
    "syscall": Signature(c_long, (c_long, ctypes.POINTER(PerfEventAttr), c_int, c_int, c_int, c_ulong), check_errno),
    "fputs": Signature(c_int, (c_char_p, pointer), check_errno),
    "fclose": Signature(c_int, (pointer,), check_errno),
    "prctl": Signature(c_int, (c_int, c_ulong, c_ulong, c_ulong, c_ulong), check_errno),
    "capget": Signature(c_int, (ctypes.POINTER(CapHeader), ctypes.POINTER(CapData)), check_errno),
    "capset": Signature(c_int, (ctypes.POINTER(CapHeader), ctypes.POINTER(CapData)), check_errno),
}.items():
    _bind(libc, _name, _signature)
