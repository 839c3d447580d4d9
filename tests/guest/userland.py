"""Programs for guests of another architecture: a Debian tree with Python and libbpf, made without running a script of it."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.guest import cache
from tests.guest.errors import GuestError

SUITE = "trixie"
PACKAGES = (
    "bash",
    "bpftool",
    "busybox-static",
    "coreutils",
    "grep",
    "iproute2",
    "libbpf1",
    "libelf1t64",
    "libpython3-stdlib",
    "mount",
    "procps",
    "python3-minimal",
    "sed",
    "util-linux",
)


def prepare(architecture: str) -> Path:
    """Return the tree for an architecture; fetch it if the cache does not have it.

    Raises:
        GuestError: It cannot be had.
    """
    recipe = repr(PACKAGES)
    return cache.fetched(f"root-{architecture}", SUITE, architecture, lambda apt: apt.resolve(*PACKAGES), _unpack, recipe)


def _unpack(debs: Path, root: Path) -> None:
    for name in ("bin", "lib", "sbin"):
        (root / "usr" / name).mkdir(parents=True)
        (root / name).symlink_to(f"usr/{name}")
    for deb in sorted(debs.glob("*.deb")):
        with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", deb], stdout=subprocess.PIPE) as reader:
            unpack = ["tar", "-C", str(root), "-x", "--keep-directory-symlink"]
            done = subprocess.run(unpack, stdin=reader.stdout, capture_output=True, text=True, check=False)
        if reader.returncode or done.returncode:
            raise GuestError(f"{deb.name} cannot be unpacked: {done.stderr.strip()}")
    # Scripts of the packages would make these, and none is run: they are for another machine.
    if not (root / "bin" / "sh").exists():
        (root / "bin" / "sh").symlink_to("bash")
    for name in ("dev", "proc", "run", "sys", "tmp"):
        (root / name).mkdir(exist_ok=True)
