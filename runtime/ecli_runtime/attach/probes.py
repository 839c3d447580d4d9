"""Programs of probes: in functions of the kernel and its system calls, in functions of binaries and libraries, and USDT."""

from __future__ import annotations

import ctypes
import errno

from ecli_runtime.attach.target import split_offset
from ecli_runtime.libbpf._ffi import lib
from ecli_runtime.libbpf.options import KprobeMultiOpts, KprobeOpts, KsyscallOpts, UprobeMultiOpts, UprobeOpts, options

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ecli_runtime.attach import Attacher
    from ecli_runtime.attach.places import Absence
    from ecli_runtime.attach.target import Request
    from ecli_runtime.libbpf.object import Link, LoadedObject, LoadedProgram

_KPROBE = 2  # BPF_PROG_TYPE_KPROBE, that of all probes
_ANY_PROCESS = -1
# What libbpf and the kernel say of functions that there are not, or that do not let themselves be probed.
_NO_FUNCTION = (errno.ENOENT, errno.EINVAL, errno.ESRCH, errno.EADDRNOTAVAIL, errno.EOPNOTSUPP, errno.EILSEQ)


def prepare(request: Request) -> Attacher:
    """Find the function of a program, and the binary that has it."""
    kind = request.kind
    if kind == "usdt":
        return _prepare_usdt(request)
    if kind.startswith(("uprobe", "uretprobe")):
        return _prepare_uprobe(request)
    if kind in ("ksyscall", "kretsyscall"):
        return _prepare_ksyscall(request)
    return _prepare_kprobe(request)


def _prepare_kprobe(request: Request) -> Attacher:
    kind, text = request.kind, request.text or request.rest
    retprobe = kind.startswith("kret")
    if kind.endswith((".multi", ".session")):
        if not text:
            raise request.missing("a pattern of kernel functions", "--attach 'PROG=tcp_*'")
        many = options(KprobeMultiOpts, retprobe=retprobe, session=kind.endswith(".session"))
        arguments = (text.encode(), ctypes.byref(many))
        return _attacher(f"kernel functions {text}", lib.bpf_program__attach_kprobe_multi_opts, arguments, _kprobe_hints(text))
    if not text:
        raise request.missing("a kernel function", "--attach PROG=FUNCTION")
    name, offset = _split(request, text)
    if retprobe and offset:
        raise request.wrong("the return of a function has no offset", f"leave out +{offset}")
    hints = _kprobe_hints(name)
    if offset:
        no_instruction = "no instruction of the function begins there"
        hints |= {errno.EILSEQ: no_instruction, errno.EINVAL: no_instruction}
    one = options(KprobeOpts, offset=offset, retprobe=retprobe)
    arguments = (name.encode(), ctypes.byref(one))
    return _attacher(f"kernel function {text}", lib.bpf_program__attach_kprobe_opts, arguments, hints)


def _prepare_ksyscall(request: Request) -> Attacher:
    name = request.text or request.rest
    if not name:
        raise request.missing("a system call", "--attach PROG=NAME")
    opts = options(KsyscallOpts, retprobe=request.kind == "kretsyscall")

    def missing() -> str:
        from ecli_runtime.attach.functions import hint_for_syscall

        return hint_for_syscall(name)

    arguments = (name.encode(), ctypes.byref(opts))
    return _attacher(f"system call {name}", lib.bpf_program__attach_ksyscall, arguments, dict.fromkeys(_NO_FUNCTION, missing))


def _kprobe_hints(name: str) -> dict[int, str | Callable[[], str]]:
    def hint(refused: str = "") -> str:
        from ecli_runtime.attach.functions import hint_for_kprobe

        return hint_for_kprobe(name, refused)

    # libbpf reads tables for patterns that the kernel may not have, and not let anybody read.
    refused = dict.fromkeys((errno.EPERM, errno.EACCES), lambda: hint(_refusal()))
    return {**dict.fromkeys(_NO_FUNCTION, hint), **refused}


def _refusal() -> str:
    from ecli_runtime.permissions import hint_for_refusal

    return hint_for_refusal([_KPROBE])


def _uprobe_refusal() -> str:
    """Return what to try where a uprobe is refused: single ones ask for more than the others (``perf_uprobe_event_init``)."""
    from ecli_runtime.permissions import hint_for_missing, missing

    if not missing(["CAP_PERFMON"]) and missing(["CAP_SYS_ADMIN"]):
        return f'{hint_for_missing(["CAP_SYS_ADMIN"])}; SEC("uprobe.multi") does without (Linux 6.6)'
    return _refusal()


def _attacher(
    where: str, function: Callable[..., int], arguments: tuple[object, ...], hints: dict[int, str | Callable[[], str]]
) -> Attacher:
    """Return what attaches with one function of libbpf."""

    def attach(program: LoadedProgram, _loaded: LoadedObject) -> Iterator[Link]:
        yield program.link(where, function, *arguments, hints=hints)

    return attach


def _prepare_uprobe(request: Request) -> Attacher:
    kind = request.kind
    multi = kind.endswith((".multi", ".session"))
    what = "a pattern of functions in a binary" if multi else "a function in a binary"
    binary, (name,), pid = _binary_and_names(request, what, "'PROG=libc:mem*'" if multi else "PROG=libc:malloc", 1)
    retprobe = kind.startswith("uret")
    where = f"{name} of {binary}"
    hints = _hints(binary, name, pid)
    if multi:
        many = options(UprobeMultiOpts, retprobe=retprobe, session=kind.endswith(".session"))
        hints[errno.EINVAL] = "uprobe.multi needs Linux 6.6, sessions 6.13; before, name single functions"
        arguments: tuple[object, ...] = (pid, binary.encode(), name.encode(), ctypes.byref(many))
        return _attacher(where, lib.bpf_program__attach_uprobe_multi, arguments, hints)
    function, offset = _split(request, name)
    if function.startswith("0x"):  # a place in the file that has no name
        function, offset = "", _number(request, function) + offset
    one = options(UprobeOpts, retprobe=retprobe, func_name=function.encode() or None)
    arguments = (pid, binary.encode(), offset, ctypes.byref(one))
    return _attacher(where, lib.bpf_program__attach_uprobe_opts, arguments, hints)


def _prepare_usdt(request: Request) -> Attacher:
    from ecli_runtime.attach.usdt import check_generation

    check_generation(request)
    binary, (provider, name), pid = _binary_and_names(
        request, "a USDT probe of a binary", "PROG=python3:python:function__entry", 2
    )
    arguments = (pid, binary.encode(), provider.encode(), name.encode(), None)
    where = f"USDT probe {provider}:{name} of {binary}"
    return _attacher(where, lib.bpf_program__attach_usdt, arguments, _usdt_hints(binary, pid))


def absence_in_binary(request: Request) -> Absence | None:
    """Return why a binary has no place for a uprobe or USDT probe, whose target is one; ``None``: nothing speaks against it."""
    from ecli_runtime.attach.binaries import functions, hint_for_function, hint_for_usdt, usdt_probes
    from ecli_runtime.attach.places import Absence

    if request.kind == "usdt":
        binary, (provider, name), _pid = _binary_and_names(request, "", "", 2)
        if f"{provider}:{name}" in usdt_probes(binary):
            return None
        return Absence(f"{binary} has no USDT probe {provider}:{name}", lambda: hint_for_usdt(binary))
    binary, (name,), _pid = _binary_and_names(request, "", "", 1)
    known = set(functions(binary))
    # Without symbols, with a version, or of patterns and places, libbpf knows better.
    if not known or not name.isidentifier() or name in known:
        return None
    return Absence(f"{binary} has no function {name}", lambda: hint_for_function(binary, name))


def _binary_and_names(request: Request, what: str, example: str, count: int) -> tuple[str, list[str], int]:
    """Return the path of the binary, the names behind it, and the process or -1 for all."""
    text = request.text or request.rest
    pid: int | None = None
    if request.text is not None and (digits := text.rpartition("@")[2]).isdecimal() and "@" in text:
        pid = request.checked_pid(int(digits[:9]))
        text = text.rpartition("@")[0]
    parts = text.rsplit(":", count)
    if len(parts) == count and all(parts) and not text.startswith("/"):  # SEC("uprobe/readline"): the binary is not said
        parts = ["", *parts]
    if len(parts) != count + 1 or not all(parts[1:]):
        if request.text is not None:
            raise request.wrong(f"expected {what}", f"for example --attach {example.replace('PROG', request.program.name)}")
        raise request.missing(what, f"--attach {example}[@PID]")
    binary, *names = parts
    binary = binary or request.binary or ""
    if not binary:
        raise request.missing(what, "--binary PATH", f"--attach {example}[@PID]")
    pid = request.pid if pid is None else pid
    from ecli_runtime.attach.binaries import find_binary

    return find_binary(request, binary, pid), names, _ANY_PROCESS if pid is None else pid


def _split(request: Request, text: str) -> tuple[str, int]:
    try:
        return split_offset(text)
    except ValueError:
        raise request.wrong("behind + goes the offset of an instruction", "for example do_exit+0x10") from None


def _number(request: Request, text: str) -> int:
    try:
        return int(text, 16)
    except ValueError:
        raise request.wrong(f"{text} is no place in a file", "a function, or an offset such as 0x1a40") from None


def _hints(binary: str, name: str, pid: int) -> dict[int, str | Callable[[], str]]:
    def missing() -> str:
        from ecli_runtime.attach.binaries import hint_for_function

        return hint_for_function(binary, name)

    return {errno.ENOENT: missing, errno.ESRCH: missing, **_common_hints(pid)}


def _usdt_hints(binary: str, pid: int) -> dict[int, str | Callable[[], str]]:
    def missing() -> str:
        from ecli_runtime.attach.binaries import hint_for_usdt

        return hint_for_usdt(binary)

    too_old = "USDT in libraries without @PID needs Linux 5.15" if pid == _ANY_PROCESS else "the kernel has no such probes"
    return {errno.ENOENT: missing, errno.EINVAL: missing, errno.EOPNOTSUPP: too_old, **_common_hints(pid)}


def _common_hints(pid: int) -> dict[int, str | Callable[[], str]]:
    hints: dict[int, str | Callable[[], str]] = {}
    hints |= dict.fromkeys((errno.EIO, 524), "that is no instruction that can be probed")  # 524: ENOTSUPP
    hints |= dict.fromkeys((errno.EACCES, errno.EPERM), _uprobe_refusal)
    return hints if pid == _ANY_PROCESS else {**hints, errno.ESRCH: f"process {pid} may have ended"}
