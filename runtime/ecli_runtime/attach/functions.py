"""Functions of the running kernel that a probe does not find: what they are called now, or why there is none."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

_KALLSYMS = "/proc/kallsyms"

# Function that many tools probe → what it became, and the kernel that has the new name first.
_RENAMED = {
    "do_unlinkat": ("filename_unlinkat", "7.0"),
    "do_rmdir": ("filename_rmdir", "7.0"),
    "do_sys_open": ("do_sys_openat2", "5.6"),
    "_do_fork": ("kernel_clone", "5.10"),
    "blk_account_io_start": ("__blk_account_io_start", "5.16"),
    "blk_account_io_done": ("__blk_account_io_done", "5.16"),
    "account_page_dirtied": ("folio_account_dirtied", "5.15"),
    "add_to_page_cache_lru": ("filemap_add_folio", "5.15"),
    "mark_page_accessed": ("folio_mark_accessed", "5.15"),
    "__set_page_dirty_buffers": ("block_dirty_folio", "5.18"),
}
# The compiler may change what a function takes, split it or clone it, and then appends one of these to its name.
_SUFFIXES = (".isra", ".constprop", ".part", ".cold", ".llvm")


def kernel_functions() -> list[str]:
    """Return the names of the kernel's functions and its modules'; none where they cannot be read (kallsyms: proc(5))."""
    try:
        with open(_KALLSYMS, encoding="utf-8", errors="replace") as file:
            fields = (line.split(None, 3) for line in file)
            return [each[2] for each in fields if len(each) > 2 and each[1] in "tTwW"]
    except OSError:
        return []


def hint_for_function(name: str, known: Collection[str] | None = None) -> str:
    """Return what to try where the kernel has no function of a name, or does not let it be traced."""
    names = set(kernel_functions() if known is None else known)
    if not names:
        return f"{_KALLSYMS} lists the kernel's functions"
    if name in names:
        return "the kernel has that function, and does not let it be probed"
    new, since = _RENAMED.get(name, ("", ""))
    if new in names:
        return f"did you mean {new}? (renamed in Linux {since})"
    for each in sorted(names):
        if each.startswith(name) and each[len(name) :].startswith(_SUFFIXES):
            return f"the compiler made {each} of it, whose arguments may differ; it may be inlined in other places"
    near = _nearest(name, names)
    return f"did you mean {' or '.join(near)}?" if near else "it may be renamed, inlined, or of a module that is not loaded"


def hint_for_kprobe(name: str, refused: str = "") -> str:
    """Return what to try where a kprobe was not possible.

    Args:
        name: Function or pattern.
        refused: The hint if all that is missing is permission.
    """
    names = set(kernel_functions())
    pattern = any(letter in name for letter in "*?")
    if names and "register_kprobe" not in names:
        return "this kernel has no kprobes (CONFIG_KPROBES): a tracepoint or fentry may serve instead"
    if names and (pattern or refused) and "register_fprobe" not in names:
        return "this kernel has no probes of many functions (CONFIG_FPROBE): name one function in a kprobe"
    if refused:
        return refused
    if pattern:
        return "no function of this kernel that can be traced is like that; kprobe.multi needs Linux 5.18, sessions 6.10"
    return hint_for_function(name, names)


def syscall_functions(name: str) -> tuple[str, ...]:
    """Return the names that the function of a system call may have in a kernel (``SYSCALL_DEFINEx``)."""
    return tuple(f"{prefix}{name}" for prefix in (f"__{_prefix()}_sys_", "__se_sys_", "sys_"))


def hint_for_syscall(name: str) -> str:
    """Return what to try where there is no such system call."""
    names = kernel_functions()
    if names and "register_kprobe" not in names:
        return "this kernel has no kprobes (CONFIG_KPROBES): tp/syscalls/sys_enter_NAME may serve instead"
    prefixes = syscall_functions("")
    calls = {each.removeprefix(prefix) for each in names for prefix in prefixes if each.startswith(prefix)}
    near = _nearest(name, calls)
    return f"did you mean {' or '.join(near)}?" if near else "`man syscalls` lists them"


def hint_for_kfunc(name: str, kind: str) -> str:
    """Return what to try where the kernel has no kfunc of a name, or no variable that programs may refer to.

    Args:
        name: Its name.
        kind: ``func`` or ``var``.
    """
    from ecli_runtime.btf import KIND_FUNC, KIND_VAR, Btf
    from ecli_runtime.errors import BtfError

    try:
        with open("/sys/kernel/btf/vmlinux", "rb") as file:
            known = Btf(file.read()).names(KIND_FUNC if kind == "func" else KIND_VAR)
    except (OSError, BtfError):
        known = []
    near = _nearest(name, known)
    meant = f"did you mean {' or '.join(near)}? " if near else ""
    return f"{meant}declared __weak, it may be missing: the program asks bpf_ksym_exists({name}) before it uses it"


def _prefix() -> str:
    return {"x86_64": "x64", "aarch64": "arm64", "riscv64": "riscv", "s390x": "s390x"}.get(os.uname().machine, "x64")


def _nearest(name: str, names: Collection[str]) -> list[str]:
    """Return the names that are most like one. Comparing with all of some hundred thousand would take seconds."""
    from difflib import get_close_matches

    words = [word for word in name.split("_") if len(word) > 3]
    alike = {}  # without what the compiler appends → as it is
    for each in names:
        base = each.partition(".")[0]
        if abs(len(base) - len(name)) > 4 or base.startswith(("__pfx_", "__cfi_")):
            continue
        if base[:4] == name[:4] or base[-4:] == name[-4:] or any(word in base for word in words):
            alike[base] = each
    return [alike[base] for base in get_close_matches(name, alike, n=3, cutoff=0.75)]
