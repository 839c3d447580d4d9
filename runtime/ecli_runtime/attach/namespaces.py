"""Programs of network namespaces: which socket gets a packet, how packets are dissected, and netfilter's hooks."""

from __future__ import annotations

import ctypes
import errno
import os

from ecli_runtime.libbpf._ffi import lib
from ecli_runtime.libbpf.options import NetfilterOpts, options

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ecli_runtime.attach import Attacher
    from ecli_runtime.attach.target import Request
    from ecli_runtime.libbpf.object import Link, LoadedObject, LoadedProgram

_OWN = "/proc/thread-self/ns/net"
_NAMED = "/run/netns"  # where ip-netns(8) has those with a name
_PROG_TYPE_NETFILTER = 32

_NETNS_HINTS = {
    errno.EINVAL: "links to network namespaces need Linux 5.8 (flow dissector) or 5.9 (sk_lookup)",
    errno.EEXIST: "another program is attached there without a link, and stays; `bpftool net` shows it",
    errno.E2BIG: "another program is attached there, and stays; `bpftool net` shows it",
}

# include/uapi/linux/netfilter.h
_FAMILIES = {"ipv4": 2, "ipv6": 10}
_HOOKS = ("prerouting", "input", "forward", "output", "postrouting")
_NETFILTER_HINTS = {
    errno.EBUSY: "another program has that priority there, and stays: say another one, ipv4:prerouting:PRIORITY",
    errno.EINVAL: "netfilter programs need Linux 6.4; the lowest and the highest priority are taken",
    errno.EOPNOTSUPP: "the kernel has no netfilter for that protocol",
    errno.EAFNOSUPPORT: "the kernel has no netfilter for that protocol",
}
_NETFILTER_WAY = "--attach PROG=ipv4:prerouting[:PRIORITY]"


def prepare(request: Request) -> Attacher:
    """Find the namespace of a program, or netfilter's hook."""
    if request.program.type == _PROG_TYPE_NETFILTER:
        return _prepare_netfilter(request)
    path = request.text or _OWN
    if "/" not in path:
        path = f"{_NAMED}/{path}"
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
    except OSError as error:
        raise request.wrong(
            f"cannot open {path}: {error.strerror}", "a path such as /proc/PID/ns/net, or a name: `ip netns`"
        ) from error
    return lambda program, _loaded: _attach_netns(program, path)


def _attach_netns(program: LoadedProgram, path: str) -> Iterator[Link]:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    where = "this network namespace" if path == _OWN else f"network namespace {path}"
    try:
        link = program.link(where, lib.bpf_program__attach_netns, fd, hints=_NETNS_HINTS)
    finally:
        os.close(fd)
    yield link


def _prepare_netfilter(request: Request) -> Attacher:
    if request.text is None:
        raise request.missing("a netfilter hook", _NETFILTER_WAY)
    family, _, rest = request.text.partition(":")
    hook, _, priority = rest.partition(":")
    if family not in _FAMILIES or hook not in _HOOKS:
        raise request.wrong("no netfilter hook", f"{', '.join(_FAMILIES)}, then one of {', '.join(_HOOKS)}: ipv4:prerouting")
    try:
        number = int(priority or "0")
    except ValueError:
        number = 1 << 31
    if not -(1 << 31) < number < (1 << 31) - 1:  # the ends are the kernel's own (NF_IP_PRI_FIRST, NF_IP_PRI_LAST)
        raise request.wrong(f"{priority!r} is no priority", "an integer; smaller ones come first: ipv4:prerouting:-200")
    where = f"netfilter {family}:{hook}, priority {number}"
    found = options(NetfilterOpts, pf=_FAMILIES[family], hooknum=_HOOKS.index(hook), priority=number)

    def attach(program: LoadedProgram, _loaded: LoadedObject) -> Iterator[Link]:
        yield program.link(where, lib.bpf_program__attach_netfilter, ctypes.byref(found), hints=_NETFILTER_HINTS)

    return attach
