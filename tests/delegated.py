"""Runs a command in a user namespace that has a BPF file system on /mnt, which delegates everything: ``delegated.py WORDS``.

What delegates must be said by somebody with rights outside, about a file system that was opened inside (Linux 6.9).
"""

from __future__ import annotations

import ctypes
import os
import socket
import sys

# The same on all machines; include/uapi/linux/{mount,sched}.h.
MOVE_MOUNT, FSOPEN, FSCONFIG, FSMOUNT = 429, 430, 431, 432
FSCONFIG_SET_STRING, FSCONFIG_CMD_CREATE, MOVE_MOUNT_F_EMPTY_PATH, AT_FDCWD = 1, 6, 4, -100
CLONE_NEWNS, CLONE_NEWUSER = 0x20000, 0x1000_0000

libc = ctypes.CDLL(None, use_errno=True)


def call(number: int, *arguments: object) -> int:
    result: int = libc.syscall(number, *arguments)
    if result < 0:
        raise OSError(ctypes.get_errno(), f"system call {number}: {os.strerror(ctypes.get_errno())}")
    return result


def inside(outside: socket.socket, words: list[str]) -> None:
    if libc.unshare(CLONE_NEWUSER | CLONE_NEWNS):
        raise OSError(ctypes.get_errno(), "unshare")
    outside.send(b"unshared")
    outside.recv(100)
    os.setgid(0)
    os.setuid(0)
    socket.send_fds(outside, [b"opened"], [call(FSOPEN, b"bpf", 0)])
    _, (mount,), _, _ = socket.recv_fds(outside, 100, 1)
    call(MOVE_MOUNT, mount, b"", AT_FDCWD, b"/mnt", MOVE_MOUNT_F_EMPTY_PATH)
    os.execvp(words[0], words)


def write(path: str, text: str) -> None:
    with open(path, "w") as file:
        file.write(text)


def main(words: list[str]) -> int:
    here, there = socket.socketpair()
    child = os.fork()
    if not child:
        here.close()
        inside(there, words)
    there.close()
    here.recv(100)
    for name in ("uid_map", "gid_map"):
        write(f"/proc/{child}/{name}", "0 0 1000000")
    here.send(b"mapped")
    _, (file_system,), _, _ = socket.recv_fds(here, 100, 1)
    for what in (b"delegate_cmds", b"delegate_maps", b"delegate_progs", b"delegate_attachs"):
        call(FSCONFIG, file_system, FSCONFIG_SET_STRING, what, b"any", 0)
    call(FSCONFIG, file_system, FSCONFIG_CMD_CREATE, None, None, 0)
    socket.send_fds(here, [b"mounted"], [call(FSMOUNT, file_system, 0, 0)])
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
