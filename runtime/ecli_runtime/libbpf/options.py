"""Option structs of libbpf's attach functions (libbpf.h, bpf.h): each begins with its own size, and what is not set is zero.

They are passed by reference and read during the call; :func:`options` keeps what they point to alive as long as themselves.
A libbpf that does not know the last members of one takes it all the same while they are zero (``OPTS_VALID``).
"""

from __future__ import annotations

import ctypes
from ctypes import c_bool, c_char_p, c_int, c_int32, c_size_t, c_uint32, c_uint64, c_void_p

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeVar

    Struct = TypeVar("Struct", bound=ctypes.Structure)


class KprobeOpts(ctypes.Structure):
    """``struct bpf_kprobe_opts``."""

    _fields_ = (
        ("sz", c_size_t),
        ("bpf_cookie", c_uint64),
        ("offset", c_size_t),
        ("retprobe", c_bool),
        ("attach_mode", c_int),
    )


class KprobeMultiOpts(ctypes.Structure):
    """``struct bpf_kprobe_multi_opts``."""

    _fields_ = (
        ("sz", c_size_t),
        ("syms", c_void_p),
        ("addrs", c_void_p),
        ("cookies", c_void_p),
        ("cnt", c_size_t),
        ("retprobe", c_bool),
        ("session", c_bool),
    )


class KsyscallOpts(ctypes.Structure):
    """``struct bpf_ksyscall_opts``."""

    _fields_ = (("sz", c_size_t), ("bpf_cookie", c_uint64), ("retprobe", c_bool))


class UprobeOpts(ctypes.Structure):
    """``struct bpf_uprobe_opts``."""

    _fields_ = (
        ("sz", c_size_t),
        ("ref_ctr_offset", c_size_t),
        ("bpf_cookie", c_uint64),
        ("retprobe", c_bool),
        ("func_name", c_char_p),
        ("attach_mode", c_int),
    )


class UprobeMultiOpts(ctypes.Structure):
    """``struct bpf_uprobe_multi_opts``."""

    _fields_ = (
        ("sz", c_size_t),
        ("syms", c_void_p),
        ("offsets", c_void_p),
        ("ref_ctr_offsets", c_void_p),
        ("cookies", c_void_p),
        ("cnt", c_size_t),
        ("retprobe", c_bool),
        ("session", c_bool),
    )


class NetfilterOpts(ctypes.Structure):
    """``struct bpf_netfilter_opts``."""

    _fields_ = (("sz", c_size_t), ("pf", c_uint32), ("hooknum", c_uint32), ("priority", c_int32), ("flags", c_uint32))


class IterLinkInfo(ctypes.Structure):
    """``union bpf_iter_link_info``: the members of ``task``; ``map_fd`` is the first one of ``map`` (uapi/linux/bpf.h)."""

    _fields_ = (("map_fd_or_tid", c_uint32), ("pid", c_uint32), ("pid_fd", c_uint32), ("_rest", c_uint32))


class IterAttachOpts(ctypes.Structure):
    """``struct bpf_iter_attach_opts``."""

    _fields_ = (("sz", c_size_t), ("link_info", ctypes.POINTER(IterLinkInfo)), ("link_info_len", c_uint32))


class LinkCreateOpts(ctypes.Structure):
    """``struct bpf_link_create_opts``, without the union for single types of links at its end."""

    _fields_ = (
        ("sz", c_size_t),
        ("flags", c_uint32),
        ("iter_info", c_void_p),
        ("iter_info_len", c_uint32),
        ("target_btf_id", c_uint32),
    )


class TcHook(ctypes.Structure):
    """``struct bpf_tc_hook``."""

    _fields_ = (("sz", c_size_t), ("ifindex", c_int), ("attach_point", c_int), ("parent", c_uint32))


class TcOpts(ctypes.Structure):
    """``struct bpf_tc_opts``."""

    _fields_ = (
        ("sz", c_size_t),
        ("prog_fd", c_int),
        ("flags", c_uint32),
        ("prog_id", c_uint32),
        ("handle", c_uint32),
        ("priority", c_uint32),
    )


class TestRunOpts(ctypes.Structure):
    """``struct bpf_test_run_opts``."""

    _fields_ = (
        ("sz", c_size_t),
        ("data_in", c_void_p),
        ("data_out", c_void_p),
        ("data_size_in", c_uint32),
        ("data_size_out", c_uint32),
        ("ctx_in", c_char_p),
        ("ctx_out", c_void_p),
        ("ctx_size_in", c_uint32),
        ("ctx_size_out", c_uint32),
        ("retval", c_uint32),
        ("repeat", c_int),
        ("duration", c_uint32),
        ("flags", c_uint32),
        ("cpu", c_uint32),
        ("batch_size", c_uint32),
    )


def options(kind: type[Struct], **members: Any) -> Struct:
    """Return an option struct that knows its size."""
    made = kind(**members)
    made.sz = ctypes.sizeof(kind)
    return made
