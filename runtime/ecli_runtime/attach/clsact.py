"""Filters of traffic control, for kernels without TCX: a filter in the queueing discipline clsact, of which an interface has one.

They belong to nobody: if the process is killed, they stay. Others may have filters there, which stay, too.
"""

from __future__ import annotations

import ctypes
import errno
import struct

from ecli_runtime.errors import LibbpfError
from ecli_runtime.libbpf._ffi import lib
from ecli_runtime.libbpf.options import TcHook, TcOpts, options
from ecli_runtime.privileges import CAP_NET_ADMIN

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket

    from typing_extensions import Self

    from ecli_runtime.libbpf.object import LoadedProgram
else:
    import _socket as socket  # the C module under it; socket itself brings selectors and enum, 4 ms

_POINTS = {"ingress": 1, "egress": 2}  # enum bpf_tc_attach_point, libbpf.h
_BOTH = 3  # destroying a hook of both removes clsact; of one it would remove all filters there, whosever they are

# include/uapi/linux/{netlink,rtnetlink,pkt_sched}.h
_RTM_NEWTFILTER, _RTM_GETTFILTER, _NLMSG_ERROR, _NLMSG_DONE = 44, 46, 2, 3
_NLM_F_REQUEST, _NLM_F_DUMP = 1, 0x300
_TC_H_CLSACT_POINTS = (0xFFFFFFF2, 0xFFFFFFF3)  # TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_INGRESS or TC_H_MIN_EGRESS)
_NETLINK_ROUTE = 0
_HEADER = struct.Struct("=IHHII")  # struct nlmsghdr
_TCMSG = struct.Struct("=BxxxiIII")  # struct tcmsg

_HINTS = {
    errno.EINVAL: "the kernel needs CONFIG_NET_CLS_BPF, and clsact in place of another ingress discipline: `tc qdisc show`",
    errno.ENOENT: "the kernel needs CONFIG_NET_SCH_INGRESS and CONFIG_NET_CLS_BPF",
    errno.EEXIST: "another discipline is there: `tc qdisc show`",
}


class Filter:
    """A filter that runs a program. Closing it removes it, and clsact if that was made for it and is empty."""

    closing_takes: tuple[int, ...] = (CAP_NET_ADMIN,)
    pinnable_fd = None

    @classmethod
    def attach(cls, program: LoadedProgram, ifindex: int, direction: str, where: str) -> Self:
        """Make a filter, with clsact where there is none, and return it; the caller owns it.

        Raises:
            AttachError: libbpf or the kernel refused; nothing is left.
        """
        both = options(TcHook, ifindex=ifindex, attach_point=_BOTH)
        made_clsact = False
        try:
            lib.bpf_tc_hook_create(ctypes.byref(both))
            made_clsact = True
        except LibbpfError as error:
            if error.errno != errno.EEXIST:
                raise program.explain(where, error, _HINTS) from error
        hook = options(TcHook, ifindex=ifindex, attach_point=_POINTS[direction])
        chosen = options(TcOpts, prog_fd=program.fd)  # the kernel chooses handle and priority, and libbpf writes them here
        try:
            lib.bpf_tc_attach(ctypes.byref(hook), ctypes.byref(chosen))
        except LibbpfError as error:
            if made_clsact:
                _remove_clsact(both)
            raise program.explain(where, error, _HINTS) from error
        return cls(hook, chosen.handle, chosen.priority, both if made_clsact else None)

    def __init__(self, hook: TcHook, handle: int, priority: int, own_clsact: TcHook | None) -> None:
        self._hook, self._handle, self._priority, self._own_clsact = hook, handle, priority, own_clsact
        self._closed = False

    def stay(self) -> None:
        """Nothing stays: there is nothing to pin."""

    def close(self) -> None:
        """Remove it; a second call does nothing, nor one after somebody else has removed it."""
        if self._closed:
            return
        self._closed = True
        exact = options(TcOpts, handle=self._handle, priority=self._priority)
        try:
            lib.bpf_tc_detach(ctypes.byref(self._hook), ctypes.byref(exact))
        except LibbpfError as error:
            if error.errno not in (errno.ENOENT, errno.ENODEV, errno.EINVAL):  # EINVAL: clsact has gone
                raise
        if self._own_clsact is not None:
            _remove_clsact(self._own_clsact)


def _remove_clsact(hook: TcHook) -> None:
    try:
        if not _has_filters(hook.ifindex):
            lib.bpf_tc_hook_destroy(ctypes.byref(hook))
    except (LibbpfError, OSError) as error:
        if error.errno not in (errno.ENOENT, errno.ENODEV, errno.EINVAL):  # the interface or clsact has gone
            raise


def _has_filters(ifindex: int) -> bool:
    """Tell whether clsact of an interface has a filter, whosever (rtnetlink(7)).

    Raises:
        OSError: The kernel does not tell.
    """
    netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_ROUTE)
    try:
        return any(_dump_has_filters(netlink, ifindex, parent) for parent in _TC_H_CLSACT_POINTS)
    finally:
        netlink.close()


def _dump_has_filters(netlink: socket.socket, ifindex: int, parent: int) -> bool:
    request = _TCMSG.pack(socket.AF_UNSPEC, ifindex, 0, parent, 0)
    header = _HEADER.pack(_HEADER.size + len(request), _RTM_GETTFILTER, _NLM_F_REQUEST | _NLM_F_DUMP, 1, 0)
    netlink.send(header + request)
    found = False
    while True:
        answer = netlink.recv(1 << 16)
        at = 0
        while at + _HEADER.size <= len(answer):
            size, kind, *_rest = _HEADER.unpack_from(answer, at)
            if kind == _NLMSG_DONE:
                return found
            if kind == _NLMSG_ERROR:
                (number,) = struct.unpack_from("=i", answer, at + _HEADER.size)
                raise OSError(-number, "RTM_GETTFILTER")
            found = found or kind == _RTM_NEWTFILTER
            at += (size + 3) & ~3
