"""Pins: names in the BPF file system that keep links and maps when the process ends. Made on request only.

A directory has ``links/PROGRAM`` (``links/PROGRAM-1`` and so on for further links of one program) and ``maps/MAP``. Names have no
dots there (``bpf_lookup`` in kernel/bpf/inode.c), so data sections are named as upstream names them: ``bss``. A symbolic link
that leads nowhere, ``made-by`` → ``ecli-py``, says whose directory it is: it is made first and removed last.
"""

from __future__ import annotations

import errno
import os
import re

from ecli_runtime.errors import EcliError, LibbpfError, describe_errno
from ecli_runtime.libbpf._ffi import lib

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ecli_runtime.attach import Attached
    from ecli_runtime.libbpf.object import LoadedMap

USUAL = "/sys/fs/bpf"
_LINKS, _MAPS = "links", "maps"
_MARK, _MADE_BY = "made-by", "ecli-py"
_CONSTANT = (".rodata", ".kconfig")  # sections whose values the package has anyway


def check_directory(directory: str) -> None:
    """Check, before anything is attached, that pins can be made in a directory, which need not exist.

    Raises:
        EcliError: It is on no BPF file system, or something is pinned there.
    """
    parent = os.path.dirname(os.path.abspath(directory))
    kind = _file_system(directory if os.path.isdir(directory) else parent)
    if kind != "bpf":
        there = f"on a file system of type {kind}" if kind else "nowhere: its parent does not exist"
        how = f"for example --pin {USUAL}/NAME"
        hint = how if _file_system(USUAL) == "bpf" else f"mount -t bpf bpf {USUAL}; then {how}"
        raise EcliError(f"--pin: {directory} is {there}; pins need one of type bpf", hint)
    try:
        is_empty = not os.path.isdir(directory) or not os.listdir(directory)
    except OSError as error:
        raise EcliError(
            f"--pin: {directory} cannot be read: {error.strerror}", "name a new one, or run it as root (sudo)"
        ) from error
    if not is_empty:
        hint = f"`ecli-py unpin {directory}` removes what a run has pinned there" if _is_ours(directory) else "name a new one"
        raise EcliError(f"--pin: {directory} is not empty", hint)


def _file_system(path: str) -> str:
    """Return the type of the file system that a path is on; empty text if there is no such path (proc(5), mountinfo)."""
    try:
        device = os.stat(path).st_dev
    except OSError:
        return ""
    wanted = f"{os.major(device)}:{os.minor(device)}"
    with open("/proc/thread-self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        found = [line.partition(" - ")[2].split(" ")[0] for line in file if line.split(" ")[2] == wanted]
    return found[0] if found else "?"


def pin_all(directory: str, links: Iterable[tuple[str, Attached]], maps: Iterable[LoadedMap]) -> None:
    """Pin links and maps; either all or none.

    Args:
        directory: Where; made if need be.
        links: Each with the name of its program. They stay attached when they are closed.
        maps: Maps; those whose values never change are left out.

    Raises:
        EcliError: The kernel refused, or something is attached in a way that cannot be pinned.
    """
    made: list[str] = []
    try:
        if not os.path.isdir(directory):
            os.mkdir(directory, 0o700)
            made.append(directory)
        os.symlink(_MADE_BY, f"{directory}/{_MARK}")
        made.append(f"{directory}/{_MARK}")
        for path in (f"{directory}/{_LINKS}", f"{directory}/{_MAPS}"):
            os.mkdir(path, 0o700)
            made.append(path)
        counts: dict[str, int] = {}
        pinned = []
        for name, link in links:
            number = counts[name] = counts.get(name, -1) + 1
            path = f"{directory}/{_LINKS}/{name}" + (f"-{number}" if number else "")
            _pin(name, link.pinnable_fd, path)
            made.append(path)
            pinned.append(link)
        for each in maps:
            if each.exists and not each.data_section.startswith(_CONSTANT):
                path = f"{directory}/{_MAPS}/{each.ident}"
                _pin(f"map {each.name}", each.fd, path)
                made.append(path)
        for link in pinned:
            link.stay()
    except BaseException as error:
        for path in reversed(made):
            _remove(path)
        if isinstance(error, OSError):
            raise EcliError(f"--pin: cannot make {error.filename}: {error.strerror}", "it takes root's rights") from error
        raise


def _pin(what: str, fd: int | None, path: str) -> None:
    hint = "pinned are links: of tracepoints, probes and perf events from Linux 5.15 on, of tc from 6.6 on (not :clsact)"
    if fd is None:
        raise EcliError(f"{what}: what keeps it attached is no link, which could be pinned", hint)
    try:
        lib.bpf_obj_pin(fd, os.fsencode(path))
    except LibbpfError as error:
        raise EcliError(f"{what}: cannot be pinned at {path}: {describe_errno(error.errno)}", hint) from error


def _remove(path: str) -> None:
    if os.path.isdir(path) and not os.path.islink(path):
        os.rmdir(path)
    else:
        os.unlink(path)


def _is_ours(directory: str) -> bool:
    """Tell whether a directory has the mark.

    Raises:
        PermissionError: It may not be looked into.
    """
    try:
        return os.readlink(f"{directory}/{_MARK}") == _MADE_BY and _file_system(directory) == "bpf"
    except PermissionError:
        raise
    except OSError:
        return False


def unpin(directory: str) -> Iterator[tuple[str, bool]]:
    """Remove what :func:`pin_all` has pinned, links first.

    Yields:
        What is there, in words, and whether it was removed: what others have put there stays.

    Raises:
        EcliError: Nothing is pinned there, or it cannot be removed.
    """
    try:
        if not _is_ours(directory):
            raise EcliError(f"{directory}: no run has pinned anything there", "DIR is that of `ecli-py run --pin DIR`")
        for part in (_LINKS, _MAPS):
            inside = f"{directory}/{part}"
            if os.path.isdir(inside):  # a run that was killed may not have come that far
                yield from _unpin_all(inside, part)
        left = {*os.listdir(directory)} - {_MARK}
        if not left & {_LINKS, _MAPS}:
            os.unlink(f"{directory}/{_MARK}")
        if not left:
            os.rmdir(directory)
        yield from ((name, False) for name in sorted(left - {_LINKS, _MAPS}))
    except OSError as error:
        hint = "run it as root (sudo)" if os.geteuid() else "it may be in use, or mounted read-only"
        raise EcliError(f"cannot unpin {error.filename}: {error.strerror}", hint) from error


def _unpin_all(inside: str, part: str) -> Iterator[tuple[str, bool]]:
    for name in sorted(os.listdir(inside)):
        path = f"{inside}/{name}"
        kind, what = _identify(path)
        is_ours = kind == part
        if is_ours:
            os.unlink(path)
        yield f"{part[:-1]} {name} ({what})" if is_ours else f"{part}/{name}", is_ours
    if not os.listdir(inside):
        os.rmdir(inside)


def _identify(path: str) -> tuple[str, str]:
    """Return which of ours something may be, and what it is, as its descriptor tells.

    Facts from ``bpf_link_show_fdinfo`` and ``bpf_map_show_fdinfo`` in kernel/bpf/syscall.c; programs have ``prog_type`` alone.
    """
    try:
        fd = lib.bpf_obj_get(os.fsencode(path))
    except LibbpfError as error:
        if error.errno in (errno.EPERM, errno.EACCES):
            raise OSError(error.errno, describe_errno(error.errno), path) from error
        return "", ""  # a directory, or a symbolic link to nowhere
    try:
        with open(f"/proc/thread-self/fdinfo/{fd}") as file:
            told = dict(re.findall(r"^(\w+):\t(.*)$", file.read(), re.MULTILINE))
    finally:
        os.close(fd)
    if "link_type" in told:
        return _LINKS, f"{told['link_type']}, program {told.get('prog_id', '?')}"
    if told.get("map_type", "").isdigit():
        name = lib.libbpf_bpf_map_type_str(int(told["map_type"]))
        return _MAPS, f"{name.decode() if name else 'type ' + told['map_type']}, id {told.get('map_id', '?')}"
    return "", ""
