"""Programs of control groups: they see what the processes of one, and of those below it, do."""

from __future__ import annotations

import errno
import os

from ecli_runtime.errors import TargetError
from ecli_runtime.libbpf._ffi import lib
from ecli_runtime.mounts import CGROUP2, cgroup2_mounts, with_cgroup2

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ecli_runtime.attach import Attacher
    from ecli_runtime.attach.target import Request
    from ecli_runtime.libbpf.object import Link, LoadedProgram

_WAYS = ("--cgroup PATH", "--attach PROG=PATH")
_HINTS = {
    errno.EPERM: "root may attach, unless another program is attached there, or above, that lets none beside it; "
    "`bpftool cgroup tree` shows what is",
    errno.EBADF: "only groups of cgroup v2 have programs: `mount -t cgroup2` shows where they are",
    errno.EINVAL: "links to control groups need Linux 5.7, and some kinds of programs a newer one",
    errno.E2BIG: "no more programs can be attached there",
}
# Programs that say by themselves which packets they see; without one the section is only ``cgroup/skb``.
_DIRECTIONS = {"ingress": 0, "egress": 1}  # BPF_CGROUP_INET_…


def prepare(request: Request) -> Attacher:
    """Find the control group of a program."""
    text = request.text if request.text is not None else request.cgroup
    if text is None:
        raise request.missing("a control group", *_WAYS)
    if request.program.section == "cgroup/skb":
        path, _, direction = text.rpartition(":")
        if direction not in _DIRECTIONS:
            path, direction = text, "ingress"
        request.program.set_expected_attach_type(_DIRECTIONS[direction])
        text = path
    path = text
    with_cgroup2(lambda: os.close(_open(request, path)))
    return lambda program, _loaded: _attach(program, path, request)


def _open(request: Request, path: str) -> int:
    """Return a descriptor of a control group of version 2, wherever that is mounted; the caller owns it."""
    mounts = cgroup2_mounts()
    candidates = [path] if path.startswith("/") else []
    # Where both versions are mounted, people and documents still say /sys/fs/cgroup for the root of version 2.
    inside = path.removeprefix(CGROUP2).lstrip("/")
    if not candidates or path.startswith(CGROUP2):
        candidates += [f"{mount}/{inside}" for mount in mounts]
    devices = {os.stat(mount).st_dev for mount in mounts}
    found = [each for each in candidates if os.path.isdir(each)]
    for each in found:
        if os.stat(each).st_dev in devices:
            return os.open(each, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    raise _not_found(request, path, mounts, bool(found))


def _not_found(request: Request, path: str, mounts: list[str], exists: bool) -> TargetError:
    where = " and ".join(mounts) or "nowhere"
    if exists:
        return _wrong(request, f"{path} is no control group of version 2", f"those are in {where}")
    from ecli_runtime.attach.options import nearest

    parent, _, name = path.rstrip("/").rpartition("/")
    try:
        siblings = [entry.name for entry in os.scandir(parent or "/") if entry.is_dir()]
    except OSError:
        siblings = []
    hint = nearest(name, siblings, f"groups in {parent}") if siblings else f"groups of version 2 are in {where}"
    return _wrong(request, f"there is no control group {path}", f"{hint}; `mkdir` makes one")


def _wrong(request: Request, problem: str, hint: str) -> TargetError:
    if request.text is not None:
        return request.wrong(problem, hint)
    return TargetError(f"--cgroup: {problem}", hint)


def _attach(program: LoadedProgram, path: str, request: Request) -> Iterator[Link]:
    opened: list[int] = []
    with_cgroup2(lambda: opened.append(_open(request, path)))
    try:
        link = program.link(f"control group {path}", lib.bpf_program__attach_cgroup, opened[0], hints=_HINTS)
    finally:
        os.close(opened[0])  # the link holds the group
    yield link
