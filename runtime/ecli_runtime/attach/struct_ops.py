"""Maps of callbacks (``.struct_ops``): they are attached themselves, and their programs with them."""

from __future__ import annotations

import errno

from ecli_runtime.errors import AttachError, LibbpfError, describe_errno
from ecli_runtime.libbpf._ffi import lib
from ecli_runtime.libbpf.object import Link
from ecli_runtime.permissions import hint_for_refusal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ecli_runtime.libbpf.object import LoadedMap, OpenMap

_STRUCT_OPS = 27  # BPF_PROG_TYPE_STRUCT_OPS
_F_LINK = 1 << 13  # BPF_F_LINK, include/uapi/linux/bpf.h
_KERNEL_BTF = "/sys/kernel/btf/vmlinux"


def prepare_map(each: OpenMap) -> bool:
    """Make a map one that is attached by a link, where the kernel has such; return whether it is to be attached.

    Callbacks of ``SEC(".struct_ops")`` stay registered when the process is killed; those of a link go with its descriptor.
    """
    if not each.autocreate:
        return False
    if not each.flags & _F_LINK and _has_links():
        each.flags |= _F_LINK
    return True


def _has_links() -> bool:
    """Tell whether libbpf makes links of such maps (since 1.2), and the kernel.

    It knows ``BPF_F_LINK`` since Linux 6.4 (68b04864ca42), and its BTF has that name then.
    """
    if lib.version_numbers < (1, 2):
        return False
    try:
        with open(_KERNEL_BTF, "rb") as file:
            return b"\0BPF_F_LINK\0" in file.read()
    except OSError:
        return False


def attach_map(each: LoadedMap) -> Link:
    """Register callbacks, and return the link, which the caller owns.

    Raises:
        AttachError: The kernel refused.
    """
    try:
        return Link(lib.bpf_map__attach_struct_ops(each.handle))
    except LibbpfError as error:
        hints = {
            errno.EEXIST: "the kernel has something registered under the same name",
            errno.EBUSY: "the kernel has something registered in that place already",
            errno.EPERM: hint_for_refusal([_STRUCT_OPS]),
            524: "struct_ops needs Linux 5.6 (x86) or 6.0 (arm64), and CONFIG_BPF_JIT",  # ENOTSUPP of include/linux/errno.h
            errno.EINVAL: "the kernel wants a callback that it lacks, or a name; `--verbose` and the kernel's log may say more",
        }
        message = f"{each.name}: the kernel does not take these callbacks: {describe_errno(error.errno)}"
        raise AttachError(error.function, error.errno, error.log, message, hints.get(error.errno, "")) from error
