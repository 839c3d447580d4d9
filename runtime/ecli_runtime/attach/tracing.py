"""Programs of tracepoints, of functions by their BTF (fentry, fexit, fmod_ret, LSM), iterators, and freplace."""

from __future__ import annotations

import contextlib
import errno
import os

from ecli_runtime.errors import AttachError, EcliError, LibbpfError, describe_errno
from ecli_runtime.libbpf._ffi import lib
from ecli_runtime.mounts import with_tracefs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ecli_runtime.attach import Attached, Attacher
    from ecli_runtime.attach.target import Request
    from ecli_runtime.libbpf.object import Link, LoadedObject, LoadedProgram

_TRACEPOINT, _RAW_TRACEPOINT, _RAW_TRACEPOINT_WRITABLE, _TRACING, _EXT, _LSM = 5, 17, 24, 26, 28, 29
_LSM_CGROUP = 43  # BPF_LSM_CGROUP of enum bpf_attach_type
_EVENTS = ("/sys/kernel/tracing/events", "/sys/kernel/debug/tracing/events")
_WHAT = {
    "tp_btf": ("a raw tracepoint", "sched_switch"),
    "lsm": ("a hook of LSM", "file_open"),
}


def prepare(request: Request) -> Attacher:
    """Find the tracepoint or function of a program, and tell the program where it must be known before it is loaded."""
    program, text = request.program, request.text
    if program.type == _TRACEPOINT:
        return _prepare_tracepoint(request)
    if program.type in (_RAW_TRACEPOINT, _RAW_TRACEPOINT_WRITABLE):
        if text is None:
            raise request.missing("a raw tracepoint", "--attach PROG=NAME (for example sched_switch)")
        return lambda program, _loaded: _attach_raw(program, text)
    if program.type == _EXT:
        return _prepare_freplace(request)
    if program.type == _LSM and program.expected_attach_type == _LSM_CGROUP:
        return _prepare_lsm_cgroup(request)
    if request.kind == "iter":
        from ecli_runtime.attach.iterators import prepare as prepare_iterator

        return prepare_iterator(request)
    return _prepare_function(request)


def _prepare_tracepoint(request: Request) -> Attacher:
    if request.text is None:
        raise request.missing("a tracepoint", "--attach PROG=CATEGORY:NAME (for example sched:sched_switch)")
    category, _, name = request.text.partition(":")
    if not category or not name:
        raise request.wrong("expected CATEGORY:NAME", "for example sched:sched_switch")

    def attach(program: LoadedProgram, _loaded: LoadedObject) -> Iterator[Link]:
        arguments = (category.encode(), name.encode())
        hints = {errno.ENOENT: lambda: hint_for_tracepoint(category, name), errno.EACCES: _hint_for_refusal}
        yield program.link(f"tracepoint {category}:{name}", lib.bpf_program__attach_tracepoint, *arguments, hints=hints)

    return attach


def _attach_raw(program: LoadedProgram, name: str) -> Iterator[Link]:
    hints = {errno.ENOENT: lambda: hint_for_raw_tracepoint(name)}
    yield program.link(f"raw tracepoint {name}", lib.bpf_program__attach_raw_tracepoint, name.encode(), hints=hints)


def _prepare_function(request: Request) -> Attacher:
    name = request.text or request.rest
    if not name:
        what, example = _WHAT.get(request.kind, ("a kernel function", "vfs_read"))
        raise request.missing(what, f"--attach PROG=NAME (for example {example})")
    if request.text is not None:
        try:
            request.program.set_attach_target(name)
        except LibbpfError as error:
            raise request.wrong(problem_of_target(request, error), hint_for_target(request, name, error)) from error
    return _attach_by_section


def _attach_by_section(program: LoadedProgram, _loaded: LoadedObject) -> Iterator[Link]:
    if program.type == _LSM:
        from ecli_runtime.attach.lsm import check_called

        check_called(program.name)
    try:
        yield program.attach()
    except AttachError as error:
        raise explained(error, program) from error


def _prepare_lsm_cgroup(request: Request) -> Attacher:
    from ecli_runtime.attach.cgroups import prepare as prepare_cgroup
    from ecli_runtime.attach.lsm import check_called

    attacher = prepare_cgroup(request)

    def attach(program: LoadedProgram, loaded: LoadedObject) -> Iterator[Attached]:
        check_called(program.name)
        try:
            yield from attacher(program, loaded)
        except AttachError as error:
            raise explained(error, program) from error

    return attach


def problem_of_target(request: Request, error: LibbpfError) -> str:
    """Return what is wrong with a target that was looked up in the kernel's BTF."""
    if error.errno not in (errno.ENOENT, errno.ESRCH):
        return describe_errno(error.errno)
    what = {"tp_btf": "tracepoint", "lsm": "hook"}.get(request.kind, "function in its BTF")
    return f"this kernel has no such {what}"


def hint_for_target(request: Request, name: str, error: LibbpfError) -> str:
    """Return what to try where the kernel's BTF does not have a target."""
    if error.errno not in (errno.ENOENT, errno.ESRCH):
        return "`--verbose` shows what libbpf says"
    if request.kind == "tp_btf":
        return hint_for_raw_tracepoint(name)
    if request.kind == "lsm":
        return "include/linux/lsm_hook_defs.h of the kernel lists them"
    from ecli_runtime.attach.functions import hint_for_function

    return hint_for_function(name)


def _prepare_freplace(request: Request) -> Attacher:
    if request.text is None:
        raise request.missing("a program whose function it replaces", "--attach PROG=ID_OR_PIN:FUNCTION")
    where, _, function = request.text.partition(":")
    if not function and not request.rest:
        raise request.wrong(
            "expected the program and its function", "for example 42:handle_packet or /sys/fs/bpf/x:handle_packet"
        )
    from ecli_runtime.attach.descriptors import Descriptor, open_existing

    target = Descriptor(open_existing(request, where, lib.bpf_prog_get_fd_by_id, "prog"))
    request.plan.hold(target)
    try:
        request.program.set_attach_target(function or None, target.handle)
    except LibbpfError as error:
        hint = "it must have BTF (bpftool prog dump xlated shows its functions), and the function must be global"
        raise request.wrong(f"program {where} has no function {function or request.rest!r}", hint) from error
    return _attach_by_section


def explained(error: AttachError, program: LoadedProgram) -> AttachError:
    """Return the error of a program that could not be attached to what its section says, with a hint that fits its type."""
    kind, _, rest = program.section.partition("/")
    hint = ""
    if error.errno in (errno.ENOENT, errno.ESRCH):
        if program.type == _TRACEPOINT:
            category, _, name = rest.partition("/")
            hint = hint_for_tracepoint(category, name)
        elif program.type in (_RAW_TRACEPOINT, _RAW_TRACEPOINT_WRITABLE) or kind == "tp_btf":
            hint = hint_for_raw_tracepoint(rest)
    elif error.errno == errno.EACCES and program.type == _TRACEPOINT:
        hint = _hint_for_refusal()
    elif error.errno == errno.EBUSY:
        hint = "the function takes no more programs, or is patched by somebody else; `sysctl kernel.ftrace_enabled` must be 1"
    elif error.errno in (errno.EINVAL, 524):  # 524: ENOTSUPP of include/linux/errno.h
        hint = "attaching to functions needs Linux 5.5 (x86) or 6.4 (arm64), and CONFIG_DYNAMIC_FTRACE_WITH_DIRECT_CALLS"
    if hint:
        return AttachError(error.function, error.errno, error.log, str(error), hint)
    return error


def _tracepoints() -> list[tuple[str, str]]:
    """Return the kernel's tracepoints as (category, name); none where tracefs cannot be read."""
    found: list[tuple[str, str]] = []

    def read() -> None:
        root = next(each for each in _EVENTS if os.path.isdir(each))
        for category in filter(os.DirEntry.is_dir, os.scandir(root)):
            found.extend((category.name, event.name) for event in os.scandir(category) if event.is_dir())

    with contextlib.suppress(EcliError, OSError):
        with_tracefs(read)
    return sorted(found)


def _hint_for_refusal() -> str:
    """Return what to try where a tracepoint is refused: its number is in tracefs, which is root's."""
    from ecli_runtime.mounts import hint_for_tracefs
    from ecli_runtime.permissions import hint_for_refusal, missing

    return hint_for_refusal([_TRACEPOINT]) if missing(["CAP_PERFMON"]) else hint_for_tracefs()


def is_in_tracefs(pattern: str) -> bool:
    """Tell whether tracefs, which must be mounted, has a file; a star stands for the name of any directory."""
    root = os.path.dirname(next(each for each in _EVENTS if os.path.isdir(each)))
    before, star, after = pattern.partition("*")
    if not star:
        return os.path.exists(f"{root}/{pattern}")
    with os.scandir(f"{root}/{before}") as entries:
        return any(os.path.exists(each.path + after) for each in entries)


def hint_for_tracepoint(category: str, name: str) -> str:
    """Return what to try where the kernel has no such tracepoint."""
    return _meant(f"{category}:{name}", [f"{each}:{event}" for each, event in _tracepoints()])


def hint_for_raw_tracepoint(name: str) -> str:
    """Return what to try where the kernel has no such raw tracepoint."""
    # Events of system calls are made of these two, which tracefs does not list as such.
    return _meant(name, [event for _category, event in _tracepoints()] + ["sys_enter", "sys_exit"])


def _meant(name: str, known: list[str]) -> str:
    from difflib import get_close_matches

    near = get_close_matches(name, known, n=3)
    return f"did you mean {' or '.join(near)}?" if near else f"this kernel does not have it; {_EVENTS[0]} lists what there is"
