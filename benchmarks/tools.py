"""What the benchmarks need besides ecli-py: packages, programs in C, bpftrace and bcc."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from benchmarks.harness import UnavailableError, child_environment, go_first
from ecli_runtime.errors import EcliError
from ecli_runtime.libbpf._ffi import BUNDLE
from ecli_runtime.mounts import need_tracefs
from ecli_schemas.read import read_package

ROOT = Path(__file__).parents[1]
BUILD = ROOT / "build" / "bench"
PYTHON = sys.executable
ECLI = str(Path(sys.executable).with_name("ecli-py"))


def need_kernel() -> None:
    """Need what loading programs takes, and give it tracefs, which not everybody who is measured would mount by himself."""
    if os.geteuid():
        raise UnavailableError("loading programs into the kernel needs root")
    try:
        need_tracefs()
    except EcliError as error:
        raise UnavailableError(str(error)) from error


@cache
def package(source: str, name: str, *options: str) -> Path:
    """Build the package NAME of a source in the tree, with options of ``ecli-py build``."""
    BUILD.mkdir(parents=True, exist_ok=True)
    path = BUILD / f"{name}.json"
    _run([ECLI, "build", str(ROOT / source), "-o", str(path), *options])
    return path


def sample_package(sample: str) -> Path:
    """Build the package of a sample."""
    return package(f"samples/{sample}/{sample}.bpf.c", sample)


def elf_object(package: Path) -> Path:
    """Take the ELF object out of a package."""
    path = package.with_suffix(".bpf.o")
    path.write_bytes(read_package(package.read_bytes()).object)
    return path


@cache
def c_program(name: str, with_libbpf: bool = False) -> str:
    """Compile ``c/NAME.c``, against the libbpf that ecli-py uses itself if it needs libbpf."""
    options = []
    if with_libbpf:
        library = Path(BUNDLE) / "libbpf.so.1"
        if not library.exists():
            raise UnavailableError("libbpf is not bundled here; tools/build-libbpf builds it")
        options = [f"-I{BUNDLE}/include", str(library), f"-Wl,-rpath,{BUNDLE}"]
    if not shutil.which("gcc"):
        raise UnavailableError("there is no gcc")
    BUILD.mkdir(parents=True, exist_ok=True)
    path = BUILD / name
    _run(["gcc", "-O2", "-Wall", "-Wextra", "-o", str(path), str(ROOT / "benchmarks" / "c" / f"{name}.c"), *options])
    return str(path)


def c_file(source: Path) -> str:
    """Compile a program that was written for the occasion, beside its source."""
    if not shutil.which("gcc"):
        raise UnavailableError("there is no gcc")
    _run(["gcc", "-O2", "-Wall", "-Wextra", "-o", str(source.with_suffix("")), str(source)])
    return str(source.with_suffix(""))


@cache
def bpftrace() -> str:
    """Return where bpftrace is; install Debian's if there is none and that is permitted."""
    found = shutil.which("bpftrace")
    if not found:
        _apt_install("bpftrace")
        found = shutil.which("bpftrace")
    if not found:
        raise UnavailableError("bpftrace is not installed")
    return found


@cache
def python_with_bcc() -> str:
    """Return a Python that can import bcc, where bcc has what it compiles with; install Debian's bcc as :func:`bpftrace` does."""
    headers = (f"/lib/modules/{os.uname().release}/build", "/sys/kernel/kheaders.tar.xz")
    if "BCC_KERNEL_SOURCE" not in os.environ and not any(map(os.path.exists, headers)):
        raise UnavailableError("bcc needs the headers of this kernel; BCC_KERNEL_SOURCE may name others")
    python = "/usr/bin/python3"
    if not os.path.exists(python) or _fails([python, "-c", "import bcc"]):
        _apt_install("python3-bpfcc")
    return python


def _apt_install(package: str) -> None:
    if os.geteuid() or not shutil.which("apt-get"):
        raise UnavailableError(f"{package} is not installed")
    print(f"installing {package} to compare with", file=sys.stderr, flush=True)
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for words in (["update"], ["-o", "Dpkg::Use-Pty=0", "install", "-y", "--no-install-recommends", package]):
        done = subprocess.run(["apt-get", "-qq", *words], env=quiet, stdin=subprocess.DEVNULL, capture_output=True, check=False)
        if done.returncode:
            raise UnavailableError(f"{package} is not installed, and `apt-get {words[-1]}` failed")


@contextmanager
def processes_that_end() -> Iterator[None]:
    """Let processes end all the time, on one CPU; what is measured may use all of them, as it does for users."""
    program = c_program("trigger")
    trigger = subprocess.Popen([program], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        go_first(trigger.pid)
        os.sched_setaffinity(trigger.pid, {max(os.sched_getaffinity(0))})
        yield
    finally:
        trigger.kill()
        trigger.wait()


def _fails(words: list[str]) -> bool:
    return bool(
        subprocess.run(words, env=child_environment(), stdin=subprocess.DEVNULL, capture_output=True, check=False).returncode
    )


def _run(words: list[str]) -> None:
    done = subprocess.run(words, env=child_environment(), stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise UnavailableError(
            f"`{' '.join(words[:2])}` failed" + (f": {said[-1 if 'Traceback' in said[0] else 0]}" if said else "")
        )
