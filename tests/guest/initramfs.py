"""The first file system of a guest: a shell, modules, and what is to be run; written as the kernel's ``newc`` archive."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

# Ports of the virtio-serial device, by number: the command's output, its error output, and its status.
STDOUT, STDERR, STATUS = 1, 2, 3

# Each mount is tried: an old kernel may not have a file system, and a command that needs it says so.
_INIT = """#!/bin/busybox sh
B=/bin/busybox
$B mount -t proc proc /proc
$B mount -t sysfs sys /sys
$B mount -t devtmpfs dev /dev
for module in MODULES; do $B insmod /modules/$module.ko || echo "guest: $module cannot be inserted"; done
die() { echo "guest: $1" | $B tee /dev/vport0p2; $B poweroff -f; }
$B mount -t virtiofs -o ro root /lower || die "the host's files cannot be mounted"
$B mount -t tmpfs upper /upper
$B mkdir /upper/files /upper/work
$B mount -t overlay -o lowerdir=/lower,upperdir=/upper/files,workdir=/upper/work overlay /root || die "no overlay"
$B mkdir -p /root/dev /root/proc /root/sys /root/run /root/tmp
$B mount -t tmpfs run /root/run
$B mkdir -p /root/run/guest /root/boot /dev/shm /dev/pts
$B cp /config "/root/boot/config-$($B uname -r)"
$B cp /bin/busybox /command /root/run/guest/
$B mount -t bpf bpf /sys/fs/bpf
$B mount -t tracefs tracefs /sys/kernel/tracing
$B mount -t debugfs debugfs /sys/kernel/debug
$B mount -t securityfs securityfs /sys/kernel/security
$B mount -t cgroup2 cgroup2 /sys/fs/cgroup
$B mount -t tmpfs shm /dev/shm
$B mount -t devpts devpts /dev/pts
[ -e /dev/fd ] || $B ln -s /proc/self/fd /dev/fd
$B ip link set lo up
$B hostname guest
SHARES
for each in proc sys dev; do $B mount --move /$each /root/$each; done
exec $B chroot /root /run/guest/busybox sh -c '
  B=/run/guest/busybox
  shell=/bin/bash; [ -x $shell ] || shell="$B sh"
  $shell /run/guest/command < /dev/null > /dev/vport0p1 2> /dev/vport0p2
  echo $? > /dev/vport0p3
  $B poweroff -f'
"""
_SHARE = """
$B mkdir -p /root/run/host
$B mount -t virtiofs -o ro host /root/run/host || die "the host's files cannot be mounted"
for directory in DIRECTORIES; do
  $B mkdir -p "/root$directory"
  $B mount -o bind "/root/run/host$directory" "/root$directory" || die "$directory cannot be mounted"
done
"""


def write(
    file: Path,
    busybox: Path,
    config: Path,
    modules: Sequence[Path],
    command: Sequence[str],
    *,
    directory: Path,
    environment: Mapping[str, str],
    shares: Sequence[Path] = (),
) -> None:
    """Write the archive.

    Args:
        file: The archive.
        busybox: A static one for the guest's architecture.
        config: The kernel's configuration, which is in /boot where a kernel is installed.
        modules: Kernel modules, in the order of insertion.
        command: What the guest runs.
        directory: Where it runs; the root directory if the guest does not have it.
        environment: Its variables, on top of the guest's own.
        shares: Directories of the host's to show in a guest that has another root.
    """
    init = _INIT.replace("MODULES", " ".join(module.stem for module in modules))
    share = _SHARE.replace("DIRECTORIES", shlex.join(map(str, shares))) if shares else ""
    with _Archive(file) as archive:
        for name in ("bin", "dev", "lower", "modules", "proc", "root", "sys", "upper"):
            archive.directory(name)
        archive.device("dev/console", 5, 1)
        archive.device("dev/null", 1, 3)
        archive.file("init", init.replace("SHARES", share).encode(), executable=True)
        archive.file("command", _script(command, directory, environment).encode())
        archive.file("config", config.read_bytes())
        archive.file("bin/busybox", busybox.read_bytes(), executable=True)
        for module in modules:
            archive.file(f"modules/{module.name}", module.read_bytes())


def _script(command: Sequence[str], directory: Path, environment: Mapping[str, str]) -> str:
    variables = {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": "/root",
        "LANG": "C.UTF-8",
        "TERM": "dumb",
        "PYTHONDONTWRITEBYTECODE": "1",  # what a guest writes is gone at its end
        **environment,
    }
    lines = [f"export {name}={shlex.quote(value)}" for name, value in variables.items()]
    # One word is a line for the shell, several are a command.
    said = command[0] if len(command) == 1 else shlex.join(command)
    return "\n".join([*lines, f"cd {shlex.quote(str(directory))} 2>/dev/null || cd /", said, ""])


class _Archive:
    """A ``newc`` archive, see Documentation/driver-api/early-userspace/buffer-format.rst in Linux."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb")
        self._inode = 0

    def __enter__(self) -> _Archive:
        return self

    def __exit__(self, *exception: object) -> None:
        self._entry("TRAILER!!!", 0)
        self._file.close()

    def directory(self, name: str) -> None:
        self._entry(name, 0o40755)

    def device(self, name: str, major: int, minor: int) -> None:
        self._entry(name, 0o20666, device=(major, minor))

    def file(self, name: str, data: bytes, *, executable: bool = False) -> None:
        self._entry(name, 0o100755 if executable else 0o100644, data)

    def _entry(self, name: str, mode: int, data: bytes = b"", device: tuple[int, int] = (0, 0)) -> None:
        self._inode += 1
        path = name.encode() + b"\0"
        # inode, mode, uid, gid, links, time, size, device, device of the special file, length of the name, checksum
        numbers = (self._inode, mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(path), 0)
        self._file.write(b"070701" + b"".join(b"%08X" % number for number in numbers))
        self._file.write(path + bytes(-(110 + len(path)) % 4))
        self._file.write(data + bytes(-len(data) % 4))
