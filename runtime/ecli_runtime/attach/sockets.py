"""Programs of sockets: filters, for which a packet socket is made, and those of a map of sockets."""

from __future__ import annotations

import errno

from ecli_runtime.attach.descriptors import Descriptor
from ecli_runtime.attach.interfaces import interface_index
from ecli_runtime.errors import AttachError, LibbpfError, UnsupportedFeatureError
from ecli_runtime.libbpf._ffi import lib
from ecli_runtime.privileges import CAP_NET_ADMIN

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

    from typing_extensions import Self

    from ecli_runtime.attach import Attached, Attacher
    from ecli_runtime.attach.target import Request
    from ecli_runtime.libbpf.object import Link, LoadedObject, LoadedProgram
else:
    import _socket as socket  # the C module under it; socket itself brings selectors and enum, 4 ms

_PROG_TYPE_SOCKET_FILTER = 1
_SO_ATTACH_BPF = 50  # include/uapi/asm-generic/socket.h; the same on x86, arm64, riscv64 and s390x
_ETH_P_ALL = 3
_ANY = "any"

_SOCKMAPS = (15, 18)  # BPF_MAP_TYPE_SOCKMAP, BPF_MAP_TYPE_SOCKHASH
# Sections that do not say which: the word behind the map's name does. BPF_SK_SKB_…
_SK_SKB = {"parser": 4, "verdict": 38, "stream_verdict": 5}
_SOCKMAP_HINTS = {
    errno.EBUSY: "another program is attached to that map",
    errno.EINVAL: "a stream parser and its verdict go to one map; a map takes either a verdict or a stream_verdict",
    errno.EOPNOTSUPP: "the kernel has no CONFIG_BPF_STREAM_PARSER, or the map takes no such program",
}


def prepare(request: Request) -> Attacher:
    """Find the interface whose packets a filter sees, or the map of sockets of any other program."""
    if request.program.type == _PROG_TYPE_SOCKET_FILTER:
        return _prepare_filter(request)
    return _prepare_sockmap(request)


def _prepare_filter(request: Request) -> Attacher:
    name = request.text if request.text is not None else request.iface
    if name is None:
        raise request.missing("a network interface", "--iface NAME", "--attach PROG=NAME (any: all of them)")
    ifindex = 0 if name == _ANY else interface_index(request, name)
    where = "all interfaces" if name == _ANY else f"interface {name}"
    return lambda program, _loaded: _attach_filter(program, ifindex, where)


def _attach_filter(program: LoadedProgram, ifindex: int, where: str) -> Iterator[Attached]:
    """Make a packet socket with a filter. Nobody reads it: what passes fills a small buffer, and then is dropped."""
    try:
        # Of no protocol it receives nothing before it is bound. What comes between from all interfaces, nobody reads.
        protocol = 0 if ifindex else socket.htons(_ETH_P_ALL)
        made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
        try:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 0)  # the smallest there is
            made.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_BPF, program.fd)
            if ifindex:
                made.bind((socket.if_indextoname(ifindex), _ETH_P_ALL))
        except BaseException:
            made.close()
            raise
    except OSError as error:
        raise program.explain(where, LibbpfError("setsockopt", error.errno or 0), {}) from error
    yield Descriptor(made.detach())


def _prepare_sockmap(request: Request) -> Attacher:
    names = [each.name for each in request.maps if each.type in _SOCKMAPS]
    text = request.text
    if text is None:
        if len(names) != 1 or request.program.section == "sk_skb":
            ways = [f"--attach PROG={name}" for name in names] or ["--attach PROG=MAP"]
            if request.program.section == "sk_skb":
                ways = [f"{way}:verdict" for way in ways]
            raise request.missing("a map of sockets", *ways)
        text = names[0]
    name, _, word = text.partition(":")
    if name not in names:
        from ecli_runtime.attach.options import nearest

        raise request.wrong(f"there is no map of sockets {name!r}", nearest(name, names, "maps of sockets"))
    if request.program.section == "sk_skb":
        if word not in _SK_SKB:
            raise request.wrong('SEC("sk_skb") is one of parser, verdict or stream_verdict', f"for example {name}:verdict")
        request.program.set_expected_attach_type(_SK_SKB[word])
    elif word:
        raise request.wrong(f"there is nothing behind the map for {request.program.section!r}", f"for example {name}")
    return lambda program, loaded: _attach_sockmap(program, loaded, name)


def _attach_sockmap(program: LoadedProgram, loaded: LoadedObject, name: str) -> Iterator[Attached]:
    fd = next(each.fd for each in loaded.maps if each.name == name)
    yield _attach_by_link(program, fd, name) or _InMap.attach(program, fd, name)


def _attach_by_link(program: LoadedProgram, map_fd: int, name: str) -> Link | None:
    """Attach by a link; ``None``: there are none, before Linux 6.10 (699c23f02c65) and libbpf 1.5."""
    try:
        return program.link(f"map {name}", lib.bpf_program__attach_sockmap, map_fd, hints=_SOCKMAP_HINTS)
    except UnsupportedFeatureError:
        return None
    except AttachError as error:
        if error.errno != errno.EINVAL:
            raise
        return None


class _InMap:
    """A program that a map of sockets owns, as we own the map. Closing takes it out again."""

    closing_takes: tuple[int, ...] = (CAP_NET_ADMIN,)  # bpf_prog_detach asks for it before Linux 5.8
    pinnable_fd = None

    @classmethod
    def attach(cls, program: LoadedProgram, map_fd: int, name: str) -> Self:
        kind = program.expected_attach_type
        try:
            lib.bpf_prog_attach(program.fd, map_fd, kind, 0)
        except LibbpfError as error:
            raise program.explain(f"map {name}", error, _SOCKMAP_HINTS) from error
        return cls(program.fd, map_fd, kind)

    def __init__(self, program_fd: int, map_fd: int, kind: int) -> None:
        self._arguments = (program_fd, map_fd, kind)
        self._closed = False

    def stay(self) -> None:
        """Nothing stays: there is nothing to pin."""

    def close(self) -> None:
        """Take it out, while the object is open; a second call does nothing."""
        if not self._closed:
            self._closed = True
            lib.bpf_prog_detach2(*self._arguments)
