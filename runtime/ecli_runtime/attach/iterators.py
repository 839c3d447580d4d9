"""Iterators: programs that the kernel runs for each task, map, socket and so on when somebody reads what they write."""

from __future__ import annotations

import ctypes
import errno
import os

from ecli_runtime.attach.descriptors import Descriptor, open_existing
from ecli_runtime.errors import LibbpfError
from ecli_runtime.libbpf._ffi import lib
from ecli_runtime.libbpf.object import Link
from ecli_runtime.libbpf.options import IterAttachOpts, IterLinkInfo, options
from ecli_runtime.stream import Source, TextLines

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ecli_runtime.attach import Attacher
    from ecli_runtime.attach.target import Request
    from ecli_runtime.libbpf.object import LoadedObject, LoadedProgram

_OF_MAPS = ("bpf_map_elem", "bpf_sk_storage_map")
_OF_TASKS = ("task", "task_file", "task_vma")
_READ_SIZE_BYTES = 1 << 16
_MAX_LINE_LENGTH = 1 << 16


def prepare(request: Request) -> Attacher:
    """Find the map or the process that an iterator walks; most need none."""
    if request.rest in _OF_MAPS:
        return _prepare_map(request)
    if request.rest in _OF_TASKS:
        pid = request.pid
        if request.text is not None:
            if not (request.text.isascii() and request.text.isdigit()):
                raise request.wrong("expected the id of a process", "`ps` lists them")
            pid = request.checked_pid(int(request.text[:9]))
        info = IterLinkInfo(pid=pid or 0)
        hints = {errno.EINVAL: "iterators over one process need Linux 6.1"}
        return lambda program, _loaded: _attach(program, None if pid is None else info, hints)
    if request.text is not None:
        raise request.wrong(f"an iterator over {request.rest} has no target", f"leave out --attach {request.program.name}")
    return lambda program, _loaded: _attach(program, None, {})


def _prepare_map(request: Request) -> Attacher:
    if request.text is None:
        raise request.missing("a map to walk", "--attach PROG=MAP (one of the package, an id, or a path where one is pinned)")
    text = request.text
    hints = {errno.EINVAL: "that map's type is none that this iterator walks"}
    hints[errno.EACCES] = "its keys or values are larger than what the map has"
    if text in [each.name for each in request.maps]:

        def attach(program: LoadedProgram, loaded: LoadedObject) -> Iterator[IteratorLink]:
            fd = next(each.fd for each in loaded.maps if each.name == text)
            return _attach(program, IterLinkInfo(map_fd_or_tid=fd), hints)

        return attach
    os.close(open_existing(request, text, lib.bpf_map_get_fd_by_id, "map"))

    def attach_existing(program: LoadedProgram, _loaded: LoadedObject) -> Iterator[IteratorLink]:
        with Descriptor(open_existing(request, text, lib.bpf_map_get_fd_by_id, "map")) as walked:  # the link holds the map
            links = list(_attach(program, IterLinkInfo(map_fd_or_tid=walked.handle), hints))
        yield from links

    return attach_existing


def _attach(program: LoadedProgram, info: IterLinkInfo | None, hints: dict[int, str]) -> Iterator[IteratorLink]:
    if info is None:
        opts = options(IterAttachOpts)
    else:
        opts = options(IterAttachOpts, link_info=ctypes.pointer(info), link_info_len=ctypes.sizeof(info))
    link = program.link(program.section, lib.bpf_program__attach_iter, ctypes.byref(opts), hints=hints)
    yield IteratorLink(link, program.name)


class IteratorLink(Link):
    """An iterator that can be read.

    Args:
        link: Its link, owned by this object from now on.
        name: The program.
    """

    def __init__(self, link: Link, name: str) -> None:
        super().__init__(link.release())
        self._source = Source(name, (), lines=True)

    def lines(self) -> Iterator[TextLines]:
        """Run it, and yield what it writes as it comes; a very long line comes in pieces.

        Raises:
            LibbpfError: It could not be read.
        """
        fd = lib.bpf_iter_create(lib.bpf_link__fd(self.handle))
        try:
            rest = b""
            while data := _read(fd):
                *whole, rest = (rest + data).split(b"\n")
                if len(rest) > _MAX_LINE_LENGTH:
                    whole, rest = [*whole, rest], b""
                if whole:
                    yield TextLines(self._source, [_decode(each) for each in whole])
            if rest:
                yield TextLines(self._source, [_decode(rest)])
        finally:
            os.close(fd)


def _read(fd: int) -> bytes:
    while True:
        try:
            return os.read(fd, _READ_SIZE_BYTES)
        except BlockingIOError:  # a million objects without a word, and the kernel asks to be called again (bpf_seq_read)
            continue
        except OSError as error:
            raise LibbpfError("read", error.errno or 0) from error


def _decode(line: bytes) -> str:
    return line.decode("utf-8", "backslashreplace")
