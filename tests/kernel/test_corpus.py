"""The programs of the corpus in the running kernel: each starts, or is at least accepted."""

from __future__ import annotations

import pytest

from ecli_runtime.errors import LibbpfError
from ecli_runtime.libbpf.object import OpenObject
from ecli_runtime.opening import OpenSession
from tests.corpus_programs import CORPUS, built

pytestmark = [pytest.mark.kernel, pytest.mark.compiler]

# Programs that are only loaded, and what they would have to be attached to.
NEEDS_TARGET = {
    "bashread": "a function that somebody chooses, for one of its uprobes",
    "ccfixed": "the kernel's list of congestion controls, where a map of type struct_ops is registered",
    "cgconnect": "a control group",
    "cgpolicy": "a control group",
    "cgsocket": "a control group",
    "cgsysctl": "a control group",
    "cgtraffic": "a control group",
    "heartbeat": "nothing: user space runs it",
    "mapiter": "a map to walk",
    "nfdrop": "a netfilter hook with a priority",
    "sockbypass": "a control group, and a map of sockets",
    "sockfilter": "a socket",
    "steer": "a network namespace",
    "tcdns": "a network interface, and this machine's are not for tests",
    "tcxchain": "a network interface, and this machine's are not for tests",
    "xdpguard": "a network interface, and this machine's are not for tests",
    "xdpspread": "a network interface, and this machine's are not for tests",
}
# Programs that not every kernel takes → what it says then, and why. Nothing is missing on such a machine: even CI skips them.
NOT_EVERYWHERE = {
    "lsmguard": ("permits nobody to load", "LSM and fmod_ret programs are refused where the kernel is locked down"),
    "mountsnoop": ("No such file or directory", "the kernel has no kprobes"),
    "multiprobe": ("Operation not permitted", "the kernel has no kprobe.multi (CONFIG_FPROBE)"),
    "pygc": ("No such file or directory", "/usr/bin/python3 has no USDT probes"),
    "unlinksnoop": ("No such file or directory", "the kernel has no kprobes, or no do_unlinkat (renamed in Linux 7)"),
    "vfslat": ("permits nobody to load", "fentry and fexit programs are refused where the kernel is locked down"),
}


@pytest.mark.parametrize("name", CORPUS)
def test_the_kernel_takes_it(name: str) -> None:
    package = built(name).package
    try:
        if name in NEEDS_TARGET:
            OpenObject.open(package.object, package.object_name).load().close()
        else:
            OpenSession(package).load().start().close()
    except LibbpfError as error:
        message, reason = NOT_EVERYWHERE.get(name, ("", ""))
        if not message or message not in str(error):
            raise
        pytest.skip(f"{name}: {reason}")


def test_the_tables_name_programs_of_the_corpus() -> None:
    assert NEEDS_TARGET.keys() | NOT_EVERYWHERE.keys() <= CORPUS.keys()
