"""Whether a kernel has the place that a program is for, as far as a kernel alone can tell.

Interfaces, control groups, and the functions of binaries are not the kernel's: those are taken for granted.
"""

from __future__ import annotations

from fnmatch import fnmatchcase

from ecli_runtime.attach.functions import hint_for_function
from ecli_runtime.portability import facts
from ecli_runtime.portability.problem import Problem

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ecli_runtime.libbpf.object import Program
    from ecli_runtime.portability.kernel import KernelView

# enum bpf_prog_type
_KPROBE, _TRACEPOINT, _PERF_EVENT, _RAW_TRACEPOINT, _RAW_TRACEPOINT_WRITABLE, _TRACING, _LSM = 2, 5, 7, 17, 24, 26, 29
_SCHED_CLS, _XDP, _NETFILTER, _SK_SKB = 3, 6, 32, 14
_CGROUP = frozenset((8, 9, 13, 15, 18, 23, 25))
_LSM_CGROUP = 43
_GET_ATTACH_COOKIE = 174  # enum bpf_func_id
_ET_EXEC = 2
_ON_FUNCTIONS = frozenset(("fentry", "fexit", "fmod_ret"))
_PREFIXES = {"x86_64": "x64", "aarch64": "arm64", "riscv64": "riscv", "s390x": "s390x"}
# enum bpf_prog_type → option that it takes, and a function that only then is there.
_OPTIONS = {
    **dict.fromkeys(_CGROUP, ("CONFIG_CGROUP_BPF", "__cgroup_bpf_attach")),
    _PERF_EVENT: ("CONFIG_PERF_EVENTS", "perf_event_create_kernel_counter"),
    _SCHED_CLS: ("CONFIG_NET_CLS_ACT", "tcf_exts_init_ex"),
    _NETFILTER: ("CONFIG_NETFILTER_BPF_LINK", "bpf_nf_link_attach"),
}


def missing_target(view: KernelView, program: Program, text: str | None = None) -> Problem | None:
    """Return why a kernel has no place for a program; ``None``: it has.

    Args:
        view: The kernel.
        program: The program.
        text: Its target in the words of ``--attach``; ``None``: what its section says.
    """
    kind, _, rest = program.section.partition("/")
    kind = kind.removesuffix(".s")
    target = rest if text is None else text
    number = program.type
    if number == _KPROBE:
        return _probe(view, kind, target)
    if number == _TRACEPOINT:
        return _tracepoint(view, (target.replace("/", ":", 1) if text is None else text)) if target else None
    if number in (_RAW_TRACEPOINT, _RAW_TRACEPOINT_WRITABLE):
        return _raw_tracepoint(view, target) if target else None
    if kind in ("iter", "lsm_cgroup"):  # whose target is what they walk, or a control group
        target = rest
    if number == _TRACING and kind == "iter":
        return (
            None if view.has_function_type(f"bpf_iter_{target}") else Problem("target", f"this kernel has no iterator {target}")
        )
    if number in (_TRACING, _LSM):
        return _by_types(view, program, kind, target) if target else None
    option, symbol = _OPTIONS.get(number, ("", ""))
    if option and not view.is_built_with(option) and view.has_symbol(symbol) is not True:
        return Problem("configuration", f"this kernel is built without {option}")
    return None


def _probe(view: KernelView, kind: str, target: str) -> Problem | None:
    if kind.startswith("u"):
        if not view.is_built_with("CONFIG_UPROBES", "uprobe_register"):
            return Problem("configuration", "this kernel has no uprobes (CONFIG_UPROBES)")
        return _usdt(view, target) if kind == "usdt" and target else None
    many = kind.endswith((".multi", ".session"))
    if not view.is_built_with("CONFIG_KPROBES", "register_kprobe"):
        return Problem(
            "configuration",
            "this kernel has no kprobes (CONFIG_KPROBES)",
            "a tracepoint or fentry may serve instead",
        )
    if many and not view.is_built_with("CONFIG_FPROBE", "register_fprobe"):
        return Problem(
            "configuration", "this kernel has no probes of many functions (CONFIG_FPROBE)", "name one function in a kprobe"
        )
    if not target:
        return None
    if many:
        names = view.snapshot.traceable or view.functions
        found = any(fnmatchcase(each, target) for each in names)
        return None if found else Problem("target", f"this kernel has no functions {target}")
    if kind in ("ksyscall", "kretsyscall"):
        return _system_call(view, target)
    name = target.partition("+")[0]
    if name not in view.functions:
        return _no_function(view, name)
    # within_notrace_func in kernel/trace/trace_kprobe.c
    known, config = view.snapshot.traceable, view.snapshot.config or {}
    if known and name not in known and config.get("CONFIG_KPROBE_EVENTS_ON_NOTRACE") != "y":
        return Problem("target", f"this kernel has the function {name}, and does not let it be probed")
    return None


def _usdt(view: KernelView, target: str) -> Problem | None:
    """Return why a USDT probe cannot be attached for all processes: without cookies libbpf must know where binaries are loaded.

    That it knows of programs that are linked to a fixed address (``collect_usdt_targets``), as far as they are to be seen here.
    """
    path = target.rpartition("@")[0] or target
    if view.has_helper(_GET_ATTACH_COOKIE) or "@" in target or _is_at_fixed_address("/" + path.split(":")[0].lstrip("/")):
        return None
    return Problem("target", "USDT probes of libraries, and of programs that may lie anywhere, need Linux 5.15", "--attach …@PID")


def _is_at_fixed_address(path: str) -> bool:
    """Tell whether a file is an ELF program of type ``ET_EXEC``."""
    try:
        with open(path, "rb") as file:
            head = file.read(18)
    except OSError:
        return False
    return head[:4] == b"\x7fELF" and int.from_bytes(head[16:18], "big" if head[5:6] == b"\x02" else "little") == _ET_EXEC


def _no_function(view: KernelView, name: str) -> Problem:
    if view.snapshot.symbols is None:
        where = "its symbols are not in the snapshot, only its types"
        return Problem(
            "target", f"this kernel has no function {name} in its types", f"{hint_for_function(name, view.functions)}; {where}"
        )
    return Problem("target", f"this kernel has no function {name}", hint_for_function(name, view.functions))


def _system_call(view: KernelView, name: str) -> Problem | None:
    prefix = _PREFIXES.get(view.snapshot.machine, "x64")
    if any(f"{each}{name}" in view.functions for each in (f"__{prefix}_sys_", "__se_sys_", "sys_")):
        return None
    return Problem("target", f"this kernel has no system call {name}")


def _tracepoint(view: KernelView, text: str) -> Problem | None:
    category, _, name = text.partition(":")
    known = view.snapshot.tracepoints
    if known is not None:
        has = text in known
    elif category == "syscalls":
        return _system_call(view, name.removeprefix("sys_enter_").removeprefix("sys_exit_"))
    else:
        has = view.has_typedef(f"btf_trace_{name}") or view.types is None
    if has:
        return None
    near = sorted(each for each in known or () if each.endswith(f":{name}"))
    return Problem("target", f"this kernel has no tracepoint {text}", f"did you mean {' or '.join(near[:2])}?" if near else "")


def _raw_tracepoint(view: KernelView, name: str) -> Problem | None:
    listed = any(each.endswith(f":{name}") for each in view.snapshot.tracepoints or ())
    symbol = any(view.has_symbol(f"{prefix}{name}") for prefix in ("__tracepoint_", "__traceiter_"))
    unknown = view.types is None and view.snapshot.symbols is None
    if listed or symbol or unknown or view.has_typedef(f"btf_trace_{name}"):
        return None
    return Problem("target", f"this kernel has no raw tracepoint {name}")


def _by_types(view: KernelView, program: Program, kind: str, name: str) -> Problem | None:
    """Return why a program that is attached by the kernel's BTF has no place."""
    if view.types is None:
        return Problem("target", "this kernel has no BTF (CONFIG_DEBUG_INFO_BTF)")
    if kind == "tp_btf":
        return None if view.has_typedef(f"btf_trace_{name}") else Problem("target", f"this kernel has no raw tracepoint {name}")
    if program.type == _LSM:
        return _hook(view, program, name)
    if kind not in _ON_FUNCTIONS:
        return None
    if not view.has_function_type(name):
        return Problem("target", f"this kernel has no function {name} in its types", hint_for_function(name, view.functions))
    if not view.is_built_with("CONFIG_DYNAMIC_FTRACE_WITH_DIRECT_CALLS", "register_ftrace_direct"):
        option = "CONFIG_DYNAMIC_FTRACE_WITH_DIRECT_CALLS"
        return Problem(
            "configuration", f"this kernel cannot attach programs to functions ({option})", "a kprobe may serve instead"
        )
    known = view.snapshot.traceable
    if known and name not in known:
        return Problem("target", f"this kernel does not let {name} be traced")
    if kind == "fmod_ret" and not name.startswith("security_") and not _takes_errors(view, name):
        return Problem("target", f"this kernel does not let programs change what {name} returns")
    if program.section.partition("/")[0].endswith(".s") and not _takes_errors(view, name):
        is_call = name.startswith(f"__{_PREFIXES.get(view.snapshot.machine, 'x64')}_sys_")
        if not (is_call and view.is_at_least(facts.SLEEPABLE_SYSTEM_CALLS)):
            return Problem(
                "target", f"programs at {name} may not sleep in this kernel", "a program that does not sleep may serve"
            )
    return None


def _takes_errors(view: KernelView, name: str) -> bool:
    """Tell whether a function is one that errors may be put into (``ALLOW_ERROR_INJECTION``), as all system calls are."""
    if not view.is_built_with("CONFIG_FUNCTION_ERROR_INJECTION", "within_error_injection_list"):
        return False
    is_call = name.startswith(f"__{_PREFIXES.get(view.snapshot.machine, 'x64')}_sys_")
    return is_call or view.has_symbol(f"_eil_addr_{name}") is not False


def _hook(view: KernelView, program: Program, name: str) -> Problem | None:
    if not view.has_function_type(f"bpf_lsm_{name}"):
        has_any = view.has_function_type("bpf_lsm_file_open")
        return Problem(
            "target", f"this kernel has no hook {name}" if has_any else "this kernel has no LSM programs (CONFIG_BPF_LSM)"
        )
    modules = view.snapshot.lsm
    if modules is None and view.snapshot.config is not None:
        modules = tuple(view.snapshot.config.get("CONFIG_LSM", '"bpf"').strip('"').split(","))
    if modules is not None and "bpf" not in modules and program.expected_attach_type != _LSM_CGROUP:
        return Problem(
            "target",
            "the security module bpf is not in force there: the program would be attached and never called",
            f"boot with lsm={','.join(modules)},bpf",
        )
    return None
