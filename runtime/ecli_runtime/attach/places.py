"""Whether there is, on this machine, the place that a program is for: looked up without loading the program.

What is said of a place may be wrong in one direction only: one that seems to be there may refuse the program all the same.
"""

from __future__ import annotations

import os

from ecli_runtime.errors import EcliError, LibbpfError, TargetError
from ecli_runtime.libbpf import log
from ecli_runtime.libbpf._ffi import lib
from ecli_runtime.mounts import with_tracefs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ecli_runtime.attach.target import Request

# enum bpf_prog_type
_KPROBE, _TRACEPOINT, _RAW_TRACEPOINT, _RAW_TRACEPOINT_WRITABLE, _TRACING, _EXT, _LSM = 2, 5, 17, 24, 26, 28, 29
_BY_SECTION = frozenset((_TRACEPOINT, _RAW_TRACEPOINT, _RAW_TRACEPOINT_WRITABLE))  # which may say all
_ON_FUNCTIONS = frozenset(("fentry", "fexit", "fmod_ret"))
_KERNEL_BTF = "/sys/kernel/btf/vmlinux"
_KPROBE_EVENTS = "/sys/bus/event_source/devices/kprobe/type"  # since Linux 4.17 (e12f03d7031a); before, tracefs had them
_LSM_LIST = "/sys/kernel/security/lsm"


class Absence:
    """Why a program cannot be attached to a place.

    Args:
        reason: In words.
        find_hint: Returns what to try; it may take a while to find out.
        everywhere: It is so whatever the target.
    """

    def __init__(self, reason: str, find_hint: Callable[[], str] | None = None, everywhere: bool = False) -> None:
        self.reason, self.everywhere = reason, everywhere
        self._find_hint = find_hint

    @property
    def hint(self) -> str:
        """What to try, empty where nothing is known of it."""
        return "" if self._find_hint is None else self._find_hint()


class Machine:
    """What the running kernel has. Each thing is looked up when it is first asked for, and then remembered."""

    def __init__(self) -> None:
        self._symbols: bytes | None = None
        self._functions: list[str] | None = None
        self._types: dict[int, bool] = {}
        self._files: dict[str, bool] = {}  # of tracefs, by patterns
        self._no_tracefs: EcliError | None = None  # why it cannot be read

    def absence(self, request: Request, prepare: Callable[[], object]) -> Absence | None:
        """Return why the program of a request cannot be attached to its target; ``None``: nothing speaks against it.

        Args:
            request: What :attr:`Request.text` does not say, the section says.
            prepare: Asks the family of the program, which raises a :class:`TargetError`.
        """
        kind = request.program.type
        if kind in (_TRACING, _LSM) and request.kind != "iter" and (request.text or request.rest):
            return self._by_btf(request, request.text or request.rest)
        if request.text is not None or kind not in _BY_SECTION or "/" not in request.program.section:
            try:
                prepare()
            except TargetError as error:
                hint = error.hint
                return Absence(str(error).removeprefix(f"{request.program.name}: ").removeprefix("target: "), lambda: hint)
        if kind == _TRACEPOINT:
            return self._tracepoint(request.text or request.rest.replace("/", ":", 1))
        if kind in (_RAW_TRACEPOINT, _RAW_TRACEPOINT_WRITABLE):
            return self._raw_tracepoint(request.text or request.rest)
        if kind == _KPROBE:
            return self._probe(request)
        return None if kind in (_TRACING, _EXT) or self._takes(kind) else _refused(kind)

    # Programs that are attached by the kernel's BTF.

    def _by_btf(self, request: Request, name: str) -> Absence | None:
        if not os.path.exists(_KERNEL_BTF):
            return Absence("this kernel has no BTF (CONFIG_DEBUG_INFO_BTF)", everywhere=True)
        kind = request.program.type
        if kind == _LSM or request.kind in _ON_FUNCTIONS:
            if not self._takes(kind):
                return _refused(kind)
            # Else it is loaded and attached, and never called.
            if kind == _LSM and (modules := _read(_LSM_LIST)) and "bpf" not in modules.split(","):
                return Absence("the security module bpf is not in force", lambda: f"boot with lsm={modules},bpf", True)
        try:
            # libbpf reads the kernel's BTF once for an object, so loading it has the less to do.
            request.program.set_attach_target(name)
        except LibbpfError as raised:
            from ecli_runtime.attach.tracing import hint_for_target, problem_of_target

            error = raised
            return Absence(problem_of_target(request, error), lambda: hint_for_target(request, name, error))
        return None

    def _takes(self, kind: int) -> bool:
        """Tell whether the kernel loads programs of a type; where we may not load any, that is not known, and no reason."""
        if kind not in self._types:
            from ecli_runtime.permissions import is_in_user_namespace, missing, needed_for

            # The trial has no token, so in a user namespace it says nothing.
            unknown = bool(missing(needed_for([kind]))) or is_in_user_namespace()
            log.take()
            self._types[kind] = unknown or lib.libbpf_probe_bpf_prog_type(kind, None) == 1
            log.take()
        return self._types[kind]

    # Tracepoints.

    def _tracepoint(self, text: str) -> Absence | None:
        category, _, name = text.partition(":")
        if self._in_tracefs(f"events/{category}/{name}/id"):
            return None
        if self._no_tracefs is not None:  # which attaching needs, too
            unreadable = self._no_tracefs
            return Absence(str(unreadable), lambda: unreadable.hint, True)
        from ecli_runtime.attach.tracing import hint_for_tracepoint

        return Absence(f"this kernel has no tracepoint {text}", lambda: hint_for_tracepoint(category, name))

    def _raw_tracepoint(self, name: str) -> Absence | None:
        # What calls its programs is a function of its own since Linux 5.10 (d25e37d89dd2). Some have no event in tracefs.
        if self._in_tracefs(f"events/*/{name}/id") or self._no_tracefs is not None:
            return None
        if self._has_symbol(f"__traceiter_{name}") or self._has_symbol(f"__tracepoint_{name}"):
            return None
        from ecli_runtime.attach.tracing import hint_for_raw_tracepoint

        return Absence(f"this kernel has no raw tracepoint {name}", lambda: hint_for_raw_tracepoint(name))

    def _in_tracefs(self, pattern: str) -> bool:
        """Tell whether tracefs has such a file; not where it cannot be read, which is then remembered."""
        if pattern not in self._files:
            from ecli_runtime.attach.tracing import is_in_tracefs

            def look() -> None:
                self._files[pattern] = is_in_tracefs(pattern)

            try:
                with_tracefs(look)
            except EcliError as error:
                self._files[pattern], self._no_tracefs = False, error
            except OSError:  # one of its directories cannot be read
                self._files[pattern] = True
        return self._files[pattern]

    # Probes.

    def _probe(self, request: Request) -> Absence | None:
        kind, name = request.kind, request.text or request.rest
        if kind.startswith("u"):
            from ecli_runtime.attach.probes import absence_in_binary

            return absence_in_binary(request)
        many = kind.endswith((".multi", ".session"))
        if many and not self._has_symbol("register_fprobe"):
            return Absence("this kernel has no probes of many functions (CONFIG_FPROBE)", everywhere=True)
        if not many and not self._has_kprobes():
            return Absence("this kernel has no kprobes (CONFIG_KPROBES)", everywhere=True)
        if many:
            return self._functions_like(name)
        if kind in ("ksyscall", "kretsyscall"):
            return self._syscall(name)
        function = name.partition("+")[0]
        if self._has_symbol(function):
            return None
        from ecli_runtime.attach.functions import hint_for_kprobe

        return Absence(f"this kernel has no function {function}", lambda: hint_for_kprobe(function))

    def _has_kprobes(self) -> bool:
        return os.path.exists(_KPROBE_EVENTS) or self._in_tracefs("kprobe_events") or self._no_tracefs is not None

    def _functions_like(self, pattern: str) -> Absence | None:
        from fnmatch import fnmatchcase

        from ecli_runtime.attach.functions import hint_for_kprobe, kernel_functions

        if self._functions is None:
            self._functions = kernel_functions()
        if not self._functions or any(fnmatchcase(name, pattern) for name in self._functions):
            return None
        return Absence(f"this kernel has no functions {pattern}", lambda: hint_for_kprobe(pattern))

    def _syscall(self, name: str) -> Absence | None:
        from ecli_runtime.attach.functions import hint_for_syscall, syscall_functions

        if any(map(self._has_symbol, syscall_functions(name))):
            return None
        return Absence(f"this kernel has no system call {name}", lambda: hint_for_syscall(name))

    def _has_symbol(self, name: str) -> bool:
        """Tell whether the kernel or a module has a symbol; where they cannot be read, that is not known."""
        if self._symbols is None:
            try:
                with open("/proc/kallsyms", "rb") as file:
                    self._symbols = file.read()
            except OSError:
                self._symbols = b""
        return not self._symbols or any(b" %b%b" % (name.encode(), end) in self._symbols for end in (b"\n", b"\t"))


def _refused(kind: int) -> Absence:
    from ecli_runtime.permissions import advice_for_refusal

    name = lib.libbpf_bpf_prog_type_str(kind)
    what = name.decode() if name else str(kind)
    # enum bpf_prog_type has one type for what this kernel may take and what it may not.
    what = "tracing (fentry, fexit)" if kind == _TRACING else what
    return Absence(
        f"this kernel takes no programs of type {what}", lambda: f"a newer kernel may; {advice_for_refusal([kind])}", True
    )


def _read(path: str) -> str:
    from ecli_runtime.permissions import read_text

    return read_text(path)
