"""What makes programs report, with the standard library alone: guests of another architecture have nothing else."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import mmap
import os
import socket
import subprocess
import tempfile
import time
from pathlib import Path

NOBODY_HAS = 1234567  # the id of a process that there is not


def nothing() -> None:
    """Do nothing: the program reports by itself, or cannot be made to from here."""


def execute() -> None:
    """Make a process that executes a program, opens files and ends."""
    subprocess.run(["/bin/true"], check=True)


def call() -> None:
    """Call getpgid, which hardly anybody calls."""
    with contextlib.suppress(ProcessLookupError):
        os.getpgid(NOBODY_HAS)


def open_file() -> None:
    """Open a file and read it."""
    Path("/etc/passwd").read_bytes()


def change_directory() -> None:
    os.chdir(os.getcwd())


def make_and_remove() -> None:
    """Make a directory, rename it and remove a file."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        (directory / "one").mkdir()
        (directory / "one").rename(directory / "two")
        (directory / "file").touch()
        (directory / "file").unlink()


def send_signal() -> None:
    os.kill(os.getpid(), 0)


def write_to_stdout() -> None:
    """Write to descriptor 1 of a new process."""
    subprocess.run(["/bin/echo", "hello"], stdout=subprocess.DEVNULL, check=True)


def sleep() -> None:
    """Block, and have another process block and end."""
    time.sleep(0.01)
    execute()


def busy() -> None:
    """Use 0.1 s of a CPU."""
    deadline = time.process_time() + 0.1
    while time.process_time() < deadline:
        pass


def touch_pages() -> None:
    """Cause page faults."""
    with mmap.mmap(-1, 64 * mmap.PAGESIZE) as pages:
        for page in range(64):
            pages[page * mmap.PAGESIZE] = 1


def mount() -> None:
    """Mount a file system, and unmount it."""
    libc = ctypes.CDLL(None)
    with tempfile.TemporaryDirectory() as directory:
        libc.mount(b"none", directory.encode(), b"tmpfs", 0, None)
        libc.umount2(directory.encode(), 0)


def connect() -> None:
    """Make a TCP connection to ourselves, and say something."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        with socket.create_connection(server.getsockname()) as client, server.accept()[0] as other:
            client.send(b"hello")
            other.recv(5)
            client.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE)


def connect_with_fixed_window() -> None:
    """Make a TCP connection under the congestion control of a package."""
    with socket.socket() as server, socket.socket() as client:
        server.bind(("127.0.0.1", 0))
        server.listen()
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"bpf_fixed")
        client.connect(server.getsockname())
        client.send(b"hello")


def send_datagram(port: int = 4242) -> None:
    """Send a datagram to ourselves, where nobody listens."""
    query = bytes.fromhex("1234 0100 0001 0000 0000 0000") + b"\x07example\x00\x00\x01\x00\x01"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s, contextlib.suppress(OSError):
        s.sendto(query, ("127.0.0.1", port))


def ask_for_a_name() -> None:
    send_datagram(53)


def connect_over_ipv6() -> None:
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as s, contextlib.suppress(OSError):
        s.connect(("fd00::1", 9))


def set_option() -> None:
    """Read and set options of a socket."""
    with socket.socket() as s, contextlib.suppress(OSError):
        s.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)


def open_device() -> None:
    with contextlib.suppress(OSError):
        os.close(os.open("/dev/zero", os.O_RDONLY))


def read_sysctl() -> None:
    Path("/proc/sys/kernel/hostname").read_bytes()


def ask_for_priority() -> None:
    os.sched_get_priority_max(os.SCHED_IDLE)


def ask_for_parent() -> None:
    os.getppid()


_LOOP_SET_FD, _LOOP_CLR_FD, _LOOP_CTL_GET_FREE = 0x4C00, 0x4C01, 0x4C82


def read_block_device() -> None:
    """Write to a block device and read it: a file by way of a loop device."""
    with tempfile.TemporaryFile(dir="/run") as file, open("/dev/loop-control", "rb") as control:
        file.truncate(1 << 20)
        number = fcntl.ioctl(control, _LOOP_CTL_GET_FREE)
        with open(f"/dev/loop{number}", "r+b", buffering=0) as device:
            fcntl.ioctl(device, _LOOP_SET_FD, file.fileno())
            try:
                device.write(bytes(4096))
                os.fsync(device.fileno())
            finally:
                fcntl.ioctl(device, _LOOP_CLR_FD)


class Shop:
    """A process that passes its USDT probe ``shop:sale`` with the number that it is sent; started by the first of them."""

    path = ""
    _process: subprocess.Popen[bytes] | None = None

    @classmethod
    def sell(cls) -> None:
        if cls._process is None:
            cls._process = subprocess.Popen([cls.path], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert cls._process.stdin
        assert cls._process.stdout
        cls._process.stdin.write(b"\x11")
        cls._process.stdin.flush()
        cls._process.stdout.read(1)

    @classmethod
    def close(cls) -> None:
        if cls._process is not None:
            cls._process.communicate()
