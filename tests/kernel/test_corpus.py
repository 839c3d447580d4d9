"""The programs of the corpus in the running kernel: each starts."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest

from ecli_runtime.errors import LibbpfError
from ecli_runtime.opening import OpenSession
from ecli_schemas.write import write_package
from tests.cli import Ecli
from tests.corpus_programs import CORPUS, built
from tests.kernel.conftest import Cgroup
from tests.matrix.rows import CORPUS as ROWS

pytestmark = [pytest.mark.kernel, pytest.mark.compiler]

# Programs that not every kernel takes → what it says then, and why. Nothing is missing on such a machine: even CI skips them.
NOT_EVERYWHERE = {
    "lsmguard": ("permits nobody to load", "LSM and fmod_ret programs are refused where the kernel is locked down"),
    "mountsnoop": ("No such file or directory", "the kernel has no kprobes"),
    "multiprobe": ("Operation not permitted", "the kernel has no kprobe.multi (CONFIG_FPROBE)"),
    "pygc": ("No such file or directory", "/usr/bin/python3 has no USDT probes"),
    "unlinksnoop": ("No such file or directory", "the kernel has no kprobes, or no do_unlinkat (renamed in Linux 7)"),
    "vfslat": ("permits nobody to load", "fentry and fexit programs are refused where the kernel is locked down"),
}


# What the user says of programs that do not say it all, as in guests. Their network is empty: a namespace of the run's own.
TARGETS = {row.name: row.words for row in ROWS if row.words and row.name not in NOT_EVERYWHERE} | {"ccfixed": ()}


@pytest.mark.parametrize("name", [name for name in CORPUS if name not in TARGETS])
def test_the_kernel_takes_it(name: str) -> None:
    descriptors = os.listdir("/proc/self/fd")
    try:
        OpenSession(built(name).package).load().start().close()
    except LibbpfError as error:
        assert len(os.listdir("/proc/self/fd")) == len(descriptors)  # nothing is left to the garbage collector
        message, reason = NOT_EVERYWHERE.get(name, ("", ""))
        if not message or message not in str(error):
            raise
        pytest.skip(f"{name}: {reason}")


@pytest.mark.parametrize("name", TARGETS)
def test_it_is_attached_to_what_the_user_says(ecli: Ecli, cgroup: Cgroup, name: str) -> None:
    (ecli.directory / "package.json").write_bytes(write_package(built(name).package))
    words = [word.format(cgroup=cgroup.path, pid=os.getpid()) for word in TARGETS[name]]
    outcome = replace(ecli, prefix=["unshare", "-n"])("run", "package.json", "--duration", "10ms", *words)
    assert (outcome.status, outcome.stderr.splitlines()[0]) == (0, "attached"), outcome.stderr


def test_the_tables_name_programs_of_the_corpus() -> None:
    assert TARGETS.keys() | NOT_EVERYWHERE.keys() <= CORPUS.keys()
