"""What a test needs of the machine, and what to do where it is missing."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import NoReturn

import pytest

KERNEL_BTF = Path("/sys/kernel/btf/vmlinux")
NOBODY = 65534  # uid and gid


def missing(what: str) -> NoReturn:
    """Skip the running test, or fail it where ``ECLI_REQUIRE_KERNEL=1`` says that this machine has everything."""
    if os.environ.get("ECLI_REQUIRE_KERNEL") == "1":
        pytest.fail(f"ECLI_REQUIRE_KERNEL=1, but this machine has no {what}", pytrace=False)
    pytest.skip(f"needs {what}")


def need_kernel() -> None:
    """Need what loading programs into the running kernel takes."""
    if os.geteuid():
        missing("root")
    if not KERNEL_BTF.exists():
        missing(f"BTF of the running kernel ({KERNEL_BTF})")


def need_compiler() -> None:
    """Need what building packages takes."""
    if importlib.util.find_spec("ziglang") is None and "CLANG" not in os.environ:
        missing("clang (pip install 'ecli-py[build]', or the variable CLANG)")
    if importlib.util.find_spec("elftools") is None or importlib.util.find_spec("rfc8785") is None:
        missing("build extra (pip install 'ecli-py[build]')")
    if not KERNEL_BTF.exists():
        missing(f"BTF of the running kernel to make vmlinux.h from ({KERNEL_BTF})")


@cache
def _can_unshare() -> bool:
    return subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode == 0


def mounting(**filesystems: str) -> list[str]:
    """Return the words that start a command in a mount namespace of its own, with file systems mounted: type → directory."""
    need_kernel()
    if not _can_unshare():
        missing("permission to make mount namespaces")
    # A file system of which there is one only, like tracefs, is refused where it is mounted already.
    mounts = "".join(
        f"grep -qs '^[^ ]* {directory} {kind} ' /proc/mounts && [ {kind} != tmpfs ] || mount -t {kind} none {directory}\n"
        for kind, directory in filesystems.items()
    )
    return ["unshare", "--mount", "--propagation", "private", "sh", "-ec", mounts + 'exec "$@"', "sh"]


def hiding(*directories: str) -> list[str]:
    """Return the words that start a command in a mount namespace of its own where these directories are empty."""
    return [word for directory in directories for word in mounting(tmpfs=directory)]


def python_for_anybody() -> str:
    """Return a Python that also an ordinary user can run: the one that runs the tests may live in root's home."""
    need_kernel()
    script = "import sys; sys.exit(sys.version_info < (3, 10))"
    for path in dict.fromkeys((sys.executable, "/usr/bin/python3", "/usr/local/bin/python3")):
        try:
            status = subprocess.run([path, "-c", script], user=NOBODY, group=NOBODY, extra_groups=(), check=False).returncode
        except OSError:
            continue
        if status == 0:
            return path
    missing("Python 3.10 or newer that an ordinary user can run")


def system_libbpf() -> str:
    """Return the system's libbpf."""
    try:
        ctypes.CDLL("libbpf.so.1")
    except OSError:
        missing("libbpf.so.1 of the system")
    return "libbpf.so.1"
