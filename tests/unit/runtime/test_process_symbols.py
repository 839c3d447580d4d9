"""Functions of processes: out of ELF files, which may be anybody's, and of what JIT compilers say."""

from __future__ import annotations

import ctypes
import mmap
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ecli_runtime.symbols.elf import ElfFunctions, open_regular
from ecli_runtime.symbols.process import UNKNOWN, Processes


def functions(path: str | Path) -> ElfFunctions:
    fd = open_regular(str(path))
    try:
        return ElfFunctions(fd)
    finally:
        os.close(fd)


def address_of(name: str) -> int:
    address = ctypes.cast(getattr(ctypes.CDLL(None), name), ctypes.c_void_p).value
    assert address
    return address


def library() -> str:
    """Return the file of the C library that this process has mapped."""
    with open("/proc/self/maps") as file:
        found = [line.split()[-1] for line in file if "/libc.so" in line or "/libc-" in line]
    if not found:
        pytest.skip("no C library of its own is mapped")
    return found[0]


@pytest.fixture
def processes() -> Iterator[Processes]:
    found = Processes()
    yield found
    found.close()


def test_a_function_of_this_process(processes: Processes) -> None:
    processes.meet(os.getpid())
    name, module = processes.frame(os.getpid(), address_of("getppid") + 1)
    assert (name, module) == ("getppid", os.path.basename(library()))
    assert processes.comm(os.getpid()) == Path("/proc/self/comm").read_text().strip()


def test_addresses_without_a_name(processes: Processes) -> None:
    assert processes.frame(os.getpid(), address_of("getppid")) == (UNKNOWN, "")  # not met
    processes.meet(os.getpid())
    for address in (0, 1, 0xFFFF_FFFF_FFFF_FFFF):
        assert processes.frame(os.getpid(), address) == (UNKNOWN, "")


def test_a_process_that_has_ended_keeps_its_names(processes: Processes) -> None:
    script = (
        "import ctypes, sys; print(ctypes.cast(ctypes.CDLL(None).getppid, ctypes.c_void_p).value, flush=True); sys.stdin.read()"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        address = int(process.stdout.readline())
        processes.meet(process.pid)
    processes.meet(process.pid)
    assert processes.frame(process.pid, address)[0] == "getppid"


def test_a_process_that_there_is_not(processes: Processes) -> None:
    processes.meet(1 << 22)
    assert processes.frame(1 << 22, 0x1000) == (UNKNOWN, "")
    assert processes.comm(1 << 22) == ""


def test_what_a_jit_compiler_says_of_its_code(processes: Processes) -> None:
    code = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    start = ctypes.addressof(ctypes.c_char.from_buffer(code))
    path = Path(f"/tmp/perf-{os.getpid()}.map")
    path.write_text(f"{start:x} 20 js:~tick app.js:7\nno line\n{start + 0x20:x} zz x\n{start + 0x40:x} 10 second\n")
    try:
        processes.meet(os.getpid())
        assert processes.frame(os.getpid(), start + 0x1F) == ("js:~tick app.js:7", "JIT")
        assert processes.frame(os.getpid(), start + 0x20)[0] == UNKNOWN
        assert processes.frame(os.getpid(), start + 0x40) == ("second", "JIT")
    finally:
        path.unlink()


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(library())
    with pytest.raises(OSError, match="regular"):
        open_regular(str(tmp_path / "pipe"))
    with pytest.raises(OSError):  # noqa: PT011  its words are those of the kernel
        open_regular(str(tmp_path / "link"), follow=False)


def test_the_c_library() -> None:
    found = functions(library())
    assert len(found) > 1000
    names = set(found.names())
    assert {"getppid", "malloc"} <= names
    assert len(bytes.fromhex(found.build_id)) in (0, 8, 16, 20)


def test_files_that_are_no_elf_or_a_damaged_one(tmp_path: Path) -> None:
    whole = Path(shutil.which("true") or sys.executable).read_bytes()
    dice = random.Random(7)
    path = tmp_path / "file"
    for data in (b"", b"\x7fELF", b"#!/bin/sh\n", b"\x7fELF\x09\x09" + bytes(100), whole[:64], whole[: len(whole) // 2]):
        path.write_bytes(data)
        list(functions(path).names())
    for _ in range(150):
        damaged = bytearray(whole)
        for _ in range(dice.randrange(1, 40)):
            damaged[dice.choice([dice.randrange(64), dice.randrange(1024), len(whole) - 1 - dice.randrange(2000)])] = (
                dice.randrange(256)
            )
        path.write_bytes(damaged)
        found = functions(path)
        list(found.names())
        found.address(dice.randrange(1 << 20))
