"""Attaching once more what was detached for a while: what cannot be, and the rights that it takes."""

from __future__ import annotations

from ecli_runtime.errors import TargetError
from ecli_runtime.libbpf._ffi import lib
from ecli_runtime.mounts import has_tracefs
from ecli_runtime.permissions import CAPABILITIES, held_capabilities, needed_for
from ecli_runtime.privileges import CAP_DAC_READ_SEARCH, CAP_SYS_ADMIN

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

    from ecli_runtime.libbpf.object import LoadedObject

_EXT, _STRUCT_OPS = 28, 27  # enum bpf_prog_type, include/uapi/linux/bpf.h
_F_LINK = 1 << 13  # BPF_F_LINK, there
_CAP_SYS_PTRACE = 19  # include/uapi/linux/capability.h


def check_repeatable(loaded: LoadedObject, names: Collection[str]) -> None:
    """Make sure that programs and maps of callbacks that are attached can be attached again after they have been detached.

    Args:
        loaded: Their object.
        names: Those that are attached.

    Raises:
        TargetError: One of them cannot.
    """
    for program in loaded.programs:
        # Without its target's descriptor, which only loading needs, the kernel refuses (bpf_tracing_prog_attach).
        if program.name in names and program.type == _EXT:
            raise _unrepeatable(program.name, "freplace names its target only while it is loaded")
    for each in loaded.maps:
        # bpf_struct_ops_map_delete_elem leaves such a map in a state from which no way leads back.
        if each.name in names and each.is_struct_ops and not lib.bpf_map__map_flags(each.handle) & _F_LINK:
            raise _unrepeatable(each.name, "callbacks that are registered without a link (before Linux 6.4) serve once")


def _unrepeatable(name: str, why: str) -> TargetError:
    return TargetError(f"cannot pause: {name} could not be attached again: {why}", "`ecli-py stop` ends the run")


def rights_to_attach(loaded: LoadedObject, names: Collection[str], needs_tracefs: bool) -> frozenset[int]:
    """Return the bits of the capabilities that attaching programs again takes, of those that this thread has.

    Args:
        loaded: Their object.
        names: The programs that are attached, and maps of callbacks.
        needs_tracefs: libbpf looks up some of them in tracefs.
    """
    held = held_capabilities()
    programs = [each for each in loaded.programs if each.name in names]
    types = [each.type for each in programs]
    types += [_STRUCT_OPS for each in loaded.maps if each.name in names and each.is_struct_ops]
    needed = {CAPABILITIES[name] for name in needed_for(types)}
    if not all(held >> bit & 1 for bit in needed):
        needed.add(CAP_SYS_ADMIN)  # it stands for CAP_BPF and CAP_PERFMON, before Linux 5.8 always
    kinds = {each.section.lstrip("?").partition("/")[0].removesuffix(".s") for each in programs}
    if kinds & {"uprobe", "uretprobe", "usdt"}:
        needed.add(CAP_SYS_ADMIN)  # perf_uprobe_event_init asks for it
    if any(each.startswith(("uprobe", "uretprobe", "usdt")) for each in kinds):
        needed |= {_CAP_SYS_PTRACE, CAP_DAC_READ_SEARCH}  # binaries are others', or only seen by their processes
    if needs_tracefs:
        needed.add(CAP_DAC_READ_SEARCH if has_tracefs() else CAP_SYS_ADMIN)  # the latter mounts it
    return frozenset(bit for bit in needed if held >> bit & 1)
