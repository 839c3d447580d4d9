"""Programs of network interfaces: XDP, traffic control (TCX, or clsact where there is none) and netkit."""

from __future__ import annotations

import ctypes
import errno

from ecli_runtime.attach.descriptors import Descriptor
from ecli_runtime.attach.target import listing
from ecli_runtime.errors import LibbpfError, TargetError
from ecli_runtime.libbpf._ffi import lib
from ecli_runtime.libbpf.options import LinkCreateOpts, options

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

    from ecli_runtime.attach import Attached, Attacher
    from ecli_runtime.attach.target import Request
    from ecli_runtime.libbpf.object import LoadedObject, LoadedProgram
    from ecli_schemas.model import Json
else:
    import _socket as socket  # the C module under it; socket itself brings selectors and enum, 4 ms

LOOPBACK_IFINDEX = 1  # upstream's default, and always there

_PROG_TYPE_XDP = 6
_ATTACH_TYPE_XDP = 37
# XDP_FLAGS_…_MODE, include/uapi/linux/if_link.h
_XDP_MODES = {"generic": 2, "native": 4, "offload": 8}
_TCX = {"ingress": 46, "egress": 47}  # BPF_TCX_…
_NETKIT = {"primary": 54, "peer": 55}  # BPF_NETKIT_…

_XDP_HINTS = {
    errno.EBUSY: "another XDP program is there, and stays: `ip link` shows it; one interface has one in each mode",
    errno.EEXIST: "another XDP program is there, in another mode, and stays: `ip link` shows it",
    errno.EOPNOTSUPP: "the interface's driver does not take it so: try NAME:generic",
    errno.EINVAL: "links to XDP need Linux 5.9; a driver refuses, too, for example a large MTU: try NAME:generic or xdp.frags",
    errno.ERANGE: 'the MTU is too large for XDP without fragments: lower it, or use SEC("xdp.frags")',
}
_NETKIT_HINTS = {
    errno.EINVAL: "only the primary device of a netkit pair takes programs, from Linux 6.7 on",
    errno.ENXIO: "that is no netkit device",
    errno.EACCES: "programs go to the primary device of a netkit pair; NAME:peer is for packets of its peer",
}


def prepare(request: Request) -> Attacher:
    """Find the interface of a program, and where at it."""
    if request.program.type == _PROG_TYPE_XDP:
        return _prepare_xdp(request)
    if request.kind == "netkit":
        return _prepare_netkit(request)
    return _prepare_tc(request)


def _prepare_xdp(request: Request) -> Attacher:
    name, mode, _ = _split(request, _XDP_MODES)
    flags = _XDP_MODES.get(mode, 0)
    if name is None:
        said = request.said.get("ifindex")
        flags = _integer(request.said.get("flags"), 0) & sum(_XDP_MODES.values())
        ifindex, where = _default_interface(request, said, "NAME")
    else:
        ifindex, where = interface_index(request, name), name
    if flags & _XDP_MODES["offload"]:
        request.program.set_ifindex(ifindex)
    return lambda program, _loaded: _attach_xdp(program, ifindex, flags, f"interface {where}" + (f" ({mode})" if mode else ""))


def _attach_xdp(program: LoadedProgram, ifindex: int, flags: int, where: str) -> Iterator[Attached]:
    try:
        options_ = options(LinkCreateOpts, flags=flags)
        fd: int = lib.bpf_link_create(program.fd, ifindex, _ATTACH_TYPE_XDP, ctypes.byref(options_))
    except LibbpfError as error:
        raise program.explain(where, error, _XDP_HINTS) from error
    yield Descriptor(fd)


def _prepare_tc(request: Request) -> Attacher:
    name, direction, must_be_clsact = _split(request, _TCX, "clsact")
    hook = request.said.get("tchook")
    said = hook if isinstance(hook, dict) else {}
    if not direction:
        point = said.get("attach_point")
        own = request.rest if request.rest in _TCX else "ingress"
        direction = "egress" if point in ("BPF_TC_EGRESS", 2) else "ingress" if point in ("BPF_TC_INGRESS", 1) else own
    if name is None:
        ifindex, name = _default_interface(request, said.get("ifindex"), f"NAME:{direction}")
    else:
        ifindex = interface_index(request, name)
    where = f"interface {name} ({direction})"
    request.set_attach_type(0 if must_be_clsact else _TCX[direction])

    def attach(program: LoadedProgram, _loaded: LoadedObject) -> Iterator[Attached]:
        link = None if must_be_clsact else _attach_tcx(program, ifindex, direction, where)
        if link is not None:
            yield link
            return
        from ecli_runtime.attach.clsact import Filter

        yield Filter.attach(program, ifindex, direction, where)

    return attach


def _attach_tcx(program: LoadedProgram, ifindex: int, direction: str, where: str) -> Descriptor | None:
    """Attach by TCX; ``None``: there is none, before Linux 6.6 (e420bed02507), which knows no such link."""
    try:
        options_ = options(LinkCreateOpts)
        fd: int = lib.bpf_link_create(program.fd, ifindex, _TCX[direction], ctypes.byref(options_))
    except LibbpfError as error:
        if error.errno != errno.EINVAL:
            raise program.explain(where, error, {}) from error
        return None
    return Descriptor(fd)


def _prepare_netkit(request: Request) -> Attacher:
    name, side, _ = _split(request, _NETKIT)
    side = side or request.rest
    if name is None:
        ifindex, name = _default_interface(request, None, f"NAME:{side}")
    else:
        ifindex = interface_index(request, name)
    if side in _NETKIT:
        request.program.set_expected_attach_type(_NETKIT[side])
    where = f"interface {name} ({side})"

    def attach(program: LoadedProgram, _loaded: LoadedObject) -> Iterator[Attached]:
        yield program.link(where, lib.bpf_program__attach_netkit, ifindex, None, hints=_NETKIT_HINTS)

    return attach


def _split(request: Request, choices: dict[str, int], flag: str = "") -> tuple[str | None, str, bool]:
    """Return the interface that ``--attach`` or ``--iface`` names, the choice behind it, and whether the flag is there."""
    text = request.text if request.text is not None else request.iface
    if text is None:
        return None, "", False
    name, *words = text.split(":")
    chosen = [word for word in words if word in choices]
    if len(chosen) > 1 or any(word not in choices and word != flag for word in words):
        known = ", ".join(filter(None, (*choices, flag)))
        raise _wrong(request, f"behind the interface goes one of {known}", f"for example {name}:{next(iter(choices))}")
    return name, chosen[0] if chosen else "", bool(flag) and flag in words


def _default_interface(request: Request, said: Json, example: str) -> tuple[int, str]:
    """Return the interface that the package or upstream says."""
    if isinstance(said, int):
        return said, str(said)
    if request.upstream:
        return LOOPBACK_IFINDEX, str(LOOPBACK_IFINDEX)
    raise request.missing("a network interface", "--iface NAME", f"--attach PROG={example}")


def interface_index(request: Request, name: str) -> int:
    """Return the index of an interface, given by its name or index.

    Raises:
        TargetError: There is none.
    """
    known = {each: index for index, each in socket.if_nameindex()}
    index = known.get(name) or (int(name[:9]) if name.isascii() and name.isdigit() else 0)
    if index not in known.values():
        raise _wrong(request, f"there is no network interface {name!r}", f"interfaces: {listing(list(known))}")
    return index


def _wrong(request: Request, problem: str, hint: str) -> TargetError:
    return request.wrong(problem, hint) if request.text is not None else TargetError(f"--iface: {problem}", hint)


def _integer(value: Json, default: int) -> int:
    return value if isinstance(value, int) else default
