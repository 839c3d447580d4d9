"""Boots a kernel in QEMU and runs one command in it, with this machine's files to read."""

from __future__ import annotations

import os
import selectors
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.guest import initramfs, kernels, userland
from tests.guest.errors import GuestError, MissingError

TIMED_OUT, DIED = 124, 125  # status of a guest that took too long, and of one that ended without a status
CONSOLE_LINES = 40  # of the console, shown when a guest fails

# The C program comes with QEMU up to Debian 12, the one in Rust is a package of its own.
_VIRTIOFSD = ("/usr/lib/qemu/virtiofsd", "/usr/libexec/virtiofsd", "/usr/lib/virtiofsd", "virtiofsd")


@dataclass(frozen=True)
class _Emulator:
    program: str
    package: str
    options: tuple[str, ...]
    console: str


_EMULATORS = {
    "amd64": _Emulator("qemu-system-x86_64", "qemu-system-x86", ("-M", "pc", "-cpu", "max"), "ttyS0"),
    # `max` has pointer authentication, which doubles the time.
    "arm64": _Emulator("qemu-system-aarch64", "qemu-system-arm", ("-M", "virt", "-cpu", "cortex-a57"), "ttyAMA0"),
}


@dataclass(frozen=True)
class Ended:
    """How a guest ended.

    Attributes:
        status: The command's, or ``TIMED_OUT`` or ``DIED``.
        console: The end of the kernel's log, and what the emulator said.
    """

    status: int
    console: str


@dataclass
class Guest:
    """What to boot, and what to run.

    Attributes:
        kernel: The kernel.
        directory: Where the command runs; shown to a guest of another architecture, too.
        shares: More directories to show to a guest of another architecture. Others see all files.
        environment: Variables of the command.
        parameters: More parameters of the kernel.
        timeout_s: How long it may take from boot to end.
        memory_mib: Its memory.
    """

    kernel: kernels.Kernel
    directory: Path = field(default_factory=Path.cwd)
    shares: Sequence[Path] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    parameters: Sequence[str] = ()
    timeout_s: float = 120.0
    memory_mib: int = 1024

    def run(self, command: Sequence[str], stdout: Callable[[bytes], object], stderr: Callable[[bytes], object]) -> Ended:
        """Boot, run a command as root, and power off. What it writes is handed on as it comes.

        Raises:
            GuestError: The guest could not be started.
        """
        check(self.kernel)
        prepared = kernels.prepare(self.kernel)
        root = Path("/") if self.kernel.is_native else userland.prepare(self.kernel.architecture)
        shares = [] if self.kernel.is_native else [self.directory, *self.shares]
        with ExitStack() as stack:
            work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ecli-guest.")))
            archive = work / "initramfs"
            initramfs.write(
                archive,
                _busybox(self.kernel, root),
                prepared.config,
                prepared.modules,
                command,
                directory=self.directory,
                environment=self.environment,
                shares=shares,
            )
            sockets = {"root": stack.enter_context(_serving(root, work / "root"))}
            if shares:
                sockets["host"] = stack.enter_context(_serving(Path("/"), work / "host"))
            line = ["-kernel", str(prepared.image), "-initrd", str(archive)]
            emulator = self._emulator(work / "console") + _shares(sockets) + line
            return _follow(emulator, work / "console", self.timeout_s, stdout, stderr)

    def _emulator(self, console: Path) -> list[str]:
        emulator = _EMULATORS[self.kernel.architecture]
        parameters = [
            f"console={emulator.console}",
            "quiet",
            "panic=-1",  # at once, and -no-reboot ends QEMU
            "cryptomgr.notests",
            *self.parameters,
        ]
        return [
            emulator.program,
            *emulator.options,
            # With thread=multi QEMU 7.2 now and then kills a guest while its kernel patches its own code ("Oops: int3").
            *("-accel", "tcg,thread=single", "-smp", "2", "-m", f"{self.memory_mib}M"),
            *("-display", "none", "-nodefaults", "-no-user-config", "-no-reboot"),
            # virtiofsd reads and writes the guest's memory.
            *("-object", f"memory-backend-memfd,id=memory,size={self.memory_mib}M,share=on", "-machine", "memory-backend=memory"),
            *("-serial", f"file:{console}", "-device", "virtio-serial-pci"),
            *("-append", " ".join(parameters)),
        ]


def check(kernel: kernels.Kernel) -> None:
    """See whether this machine can run guests.

    Raises:
        MissingError: It cannot.
    """
    emulator = _EMULATORS[kernel.architecture]
    if not shutil.which(emulator.program):
        raise MissingError(f"there is no {emulator.program}", f"apt-get install {emulator.package}")
    _virtiofsd()
    if kernel.is_native:
        _busybox(kernel, Path("/"))
    if os.geteuid():
        raise MissingError("sharing files with a guest needs root", "sudo")


def _virtiofsd() -> str:
    for program in _VIRTIOFSD:
        if found := shutil.which(program):
            return found
    raise MissingError("there is no virtiofsd", "apt-get install virtiofsd, or before Debian 13 qemu-system-common")


def _busybox(kernel: kernels.Kernel, root: Path) -> Path:
    for path in (root / "usr" / "bin" / "busybox", root / "bin" / "busybox"):
        if path.is_file() and b"/ld-" not in path.read_bytes()[:4096]:  # the name of what loads a program's libraries
            return path
    raise MissingError(f"there is no static busybox for {kernel.architecture}", "apt-get install busybox-static")


def _dying(command: Sequence[str]) -> list[str]:
    """Return a command that is killed when we are, however that happens."""
    return ["setpriv", "--pdeathsig", "KILL", *command]


@contextmanager
def _serving(directory: Path, socket: Path) -> Iterator[Path]:
    """Serve the files of a directory, for the guest to mount read-only."""
    program = _virtiofsd()
    usage = subprocess.run([program, "--help"], capture_output=True, text=True, check=False).stdout
    if "--shared-dir" in usage:
        # Submounts that are announced make overlayfs fail (EREMOTE).
        options = ["--shared-dir", str(directory), "--cache", "always", "--sandbox", "chroot", "--no-announce-submounts"]
    else:
        options = ["-o", f"source={directory}", "-o", "cache=always", "-o", "sandbox=chroot"]
    with socket.with_suffix(".log").open("wb") as log:
        server = subprocess.Popen(
            _dying([program, f"--socket-path={socket}", *options]), stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
    try:
        deadline = time.monotonic() + 10
        while not socket.exists():
            if server.poll() is not None or time.monotonic() > deadline:
                raise GuestError(f"virtiofsd did not start: {socket.with_suffix('.log').read_text().strip()}")
            time.sleep(0.01)
        yield socket
    finally:
        server.kill()  # it does not heed SIGTERM while nobody is connected
        server.wait()


def _shares(sockets: Mapping[str, Path]) -> list[str]:
    words: list[str] = []
    for tag, socket in sockets.items():
        words += ["-chardev", f"socket,id={tag},path={socket}"]
        words += ["-device", f"vhost-user-fs-pci,chardev={tag},tag={tag},queue-size=1024"]
    return words


def _follow(
    emulator: list[str],
    console: Path,
    timeout_s: float,
    stdout: Callable[[bytes], object],
    stderr: Callable[[bytes], object],
) -> Ended:
    """Run the emulator and hand on what comes from its ports, until it ends."""
    status = bytearray()
    takers = {initramfs.STDOUT: stdout, initramfs.STDERR: stderr, initramfs.STATUS: status.extend}
    ends: list[int] = []
    with selectors.DefaultSelector() as selector, tempfile.TemporaryFile() as log:
        for number, take in takers.items():
            read_end, write_end = os.pipe()
            ends.append(write_end)
            selector.register(read_end, selectors.EVENT_READ, take)
            emulator += ["-add-fd", f"fd={write_end},set={number}"]
            emulator += ["-chardev", f"file,id=port{number},path=/dev/fdset/{number},append=on"]
            emulator += ["-device", f"virtserialport,chardev=port{number},nr={number}"]
        try:
            process = subprocess.Popen(_dying(emulator), stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=ends)
        finally:
            for end in ends:
                os.close(end)
        try:
            in_time = _pass_on(selector, time.monotonic() + timeout_s)
        finally:
            process.kill()
            process.wait()
            for key in list(selector.get_map().values()):
                os.close(key.fd)
        log.seek(0)
        said = log.read().decode(errors="replace")
    lines = console.read_text(errors="replace").splitlines() if console.exists() else []
    tail = "\n".join([*said.splitlines(), *lines[-CONSOLE_LINES:]])
    if status.strip().isdigit():
        return Ended(int(status), tail)
    return Ended(DIED if in_time else TIMED_OUT, tail)


def _pass_on(selector: selectors.BaseSelector, deadline: float) -> bool:
    """Hand on what comes until all ports are closed, and tell whether that was before the deadline."""
    while selector.get_map():
        if (left := deadline - time.monotonic()) <= 0:
            return False
        for key, _events in selector.select(left):
            if data := os.read(key.fd, 1 << 16):
                key.data(data)
            else:
                selector.unregister(key.fd)
                os.close(key.fd)
    return True
