"""Why an object was not loaded, from what libbpf logged. Imported only when that has happened."""

from __future__ import annotations

import errno
import os
import re

from ecli_runtime.errors import BtfError, EcliError, LibbpfError, UnsupportedFeatureError, describe_errno

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ecli_runtime.libbpf.object import OpenMap, Program
    from ecli_runtime.line_info import Lines

_ALL = "`--verbose` shows libbpf's whole log"


def explain_load_failure(error: LibbpfError, data: bytes, programs: Sequence[Program], maps: Sequence[OpenMap]) -> EcliError:
    """Return the error that says why an object did not load.

    Args:
        error: What libbpf said.
        data: The object.
        programs: Its programs.
        maps: Its maps.
    """
    text = error.log
    if "valid kernel BTF" in text or "Error loading vmlinux BTF" in text:
        return UnsupportedFeatureError(
            "this package (it reads kernel types)",
            "a kernel with BTF (CONFIG_DEBUG_INFO_BTF) or a BTF file for exactly this kernel",
            hint="name such a file with --kernel-btf FILE, or use a kernel that has /sys/kernel/btf/vmlinux",
        )
    if "failed to parse target BTF" in text:
        return BtfError(
            f"the file that should hold the kernel's BTF cannot be used: {describe_errno(error.errno)}",
            "--kernel-btf takes a copy of /sys/kernel/btf/vmlinux, or an ELF file with a .BTF section",
        )
    token = re.search(r"failed \(\S+\) to (?:open BPF FS mount|create BPF token).* '([^']*)'(?!, skipping)", text)
    if token:
        return _of_token(error, token[1])
    function = re.search(r"prog '([^']*)': failed to find kernel BTF type ID of '([^']*)'", text)
    if function:
        from ecli_runtime.attach.functions import hint_for_function

        message = f"{function[1]}: this kernel has no {function[2]} in its BTF"
        return LibbpfError(error.function, error.errno, text, message, hint_for_function(function[2]))
    return (
        _of_verifier(error, data, programs)
        or _of_extern(error)
        or _of_permission(error, programs, maps)
        or _of_map(error, maps)
        or _of_anything(error, {each.name: each.section for each in programs})
    )


# Why there is no token (bpf_token_create in kernel/bpf/token.c).
_TOKEN_HINTS = {
    errno.EINVAL: "it takes Linux 6.9, and the place where a BPF file system is mounted",
    errno.ENOENT: "that file system delegates nothing: it is mounted with delegate_cmds, delegate_maps and so on",
    errno.EPERM: "it takes CAP_BPF in the user namespace, and a BPF file system that was made for that namespace",
    errno.EOPNOTSUPP: "a token is for user namespaces (containers): outside, give the process CAP_BPF itself",
}


def _of_token(error: LibbpfError, path: str) -> EcliError:
    message = f"--token: {path} gives no BPF token: {describe_errno(error.errno)}"
    hint = _TOKEN_HINTS.get(error.errno, _ALL) if os.path.exists(path) else "there is no such file or directory"
    return LibbpfError(error.function, error.errno, error.log, message, hint)


def _of_verifier(error: LibbpfError, data: bytes, programs: Sequence[Program]) -> EcliError | None:
    # The end is missing where the log was too long.
    found = re.search(r"prog '([^']*)': -- BEGIN PROG LOAD LOG --\n(.*?)(?:-- END PROG LOAD LOG --|\Z)", error.log, re.DOTALL)
    if not found:
        return None
    name, log = found.groups()
    lines = _lines(data, programs, name)
    field = re.search(r"failed to resolve CO-RE relocation <(\w+)> \[\d+\] (.*?)(?: \([^()]*\))?$", log, re.MULTILINE)
    if field:
        from ecli_runtime.relocations import explain_relocation

        return explain_relocation(error, name, field[1], field[2], log, lines)
    from ecli_runtime.verifier import explain_refusal

    return explain_refusal(error, name, log, lines)


def _lines(data: bytes, programs: Sequence[Program], name: str) -> Lines | None:
    from ecli_runtime.line_info import SourceLines

    section = next((each.section for each in programs if each.name == name), "")
    try:
        return SourceLines(data).of_program(section, name)
    except EcliError:  # the verifier's own words are enough
        return None


def _of_extern(error: LibbpfError) -> EcliError | None:
    """Return the error that something is missing that the object expects in the kernel."""
    found = re.search(r"extern \((func|var) ksym\) '([^']*)': (not found|func_proto|incompatible types)", error.log)
    if found:
        from ecli_runtime.attach.functions import hint_for_kfunc

        kind, name, problem = found.groups()
        what = "kfunc" if kind == "func" else "variable"
        if problem != "not found":
            message = f"the kernel's {what} {name} is not declared as the object has it"
            return LibbpfError(error.function, error.errno, error.log, message, "build the package with the BTF of this kernel")
        message = f"this kernel has no {what} {name}, which the package needs"
        return LibbpfError(error.function, error.errno, error.log, message, hint_for_kfunc(name, kind))
    if "failed to open system Kconfig" in error.log:
        message = "the package asks for the kernel's configuration, and this machine does not have it"
        hint = "`modprobe configs` makes it visible in /proc/config.gz; or put it at /boot/config-$(uname -r)"
        return LibbpfError(error.function, error.errno, error.log, message, hint)
    found = re.search(r"extern \(kcfg\) '([^']*)': (.*)", error.log)
    if found:
        message = f"the kernel's configuration has no {found[1]} that the object can take: {found[2]}"
        hint = "`modprobe configs` makes it visible in /proc/config.gz; declared __weak it may be missing"
        return LibbpfError(error.function, error.errno, error.log, message, hint)
    return None


def _of_permission(error: LibbpfError, programs: Sequence[Program], maps: Sequence[OpenMap]) -> EcliError | None:
    if error.errno not in (errno.EPERM, errno.EACCES):
        return None
    from ecli_runtime.permissions import explain_refusal

    loaded = {each.name: (each.section, each.type) for each in programs if each.autoload}
    return explain_refusal(error, loaded, {each.name: each.type for each in maps})


def _of_map(error: LibbpfError, maps: Sequence[OpenMap]) -> EcliError | None:
    found = re.search(r"map '([^']*)': failed to create: ", error.log)
    known = {each.name: each for each in maps}
    if not found or found[1] not in known:
        return None
    from ecli_runtime.map_errors import hint_for_map

    each = known[found[1]]
    message = f"map {each.name} ({each.type_name}) cannot be created: {describe_errno(error.errno)}"
    return LibbpfError(error.function, error.errno, error.log, message, hint_for_map(each, error.errno))


def _of_anything(error: LibbpfError, sections: Mapping[str, str]) -> EcliError:
    detail = last_line(error.log)
    message = f"cannot load the package's object: {describe_errno(error.errno)}" + (f" ({detail})" if detail else "")
    failed = re.search(r"prog '([^']*)': BPF program load failed", error.log)
    hint = ""
    if failed:
        section = sections.get(failed[1], "?")
        message = f"{failed[1]}: the kernel refuses to load a program of {section}, and does not say why: "
        message += describe_errno(error.errno)
        if error.errno == errno.EINVAL:
            from ecli_runtime.attach.since import hint_for_old_kernel

            hint = hint_for_old_kernel(section)
    hint = hint or ("`ecli-py doctor` shows which types of programs this kernel takes; " + _ALL if failed else _ALL)
    return LibbpfError(error.function, error.errno, error.log, message, hint)


def last_line(text: str) -> str:
    """Return the last line of libbpf's log that says what is wrong, not only that something is."""
    lines = [line.removeprefix("libbpf: ").strip() for line in text.splitlines() if line.strip()]
    vague = ("failed to load object", "failed to load: -")
    return next((line for line in reversed(lines) if not any(words in line for words in vague)), "")
