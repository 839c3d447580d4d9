"""The kernels that guests boot: Debian's cloud kernels, with the modules that guests need, unpacked."""

from __future__ import annotations

import lzma
import platform
import re
import shutil
import struct
import subprocess
import tarfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath

from tests.guest import cache
from tests.guest.apt import Apt, Resolved
from tests.guest.errors import GuestError, MissingError

SUITES = {"5.10": "bullseye", "6.1": "bookworm", "6.12": "trixie", "7.2": "sid"}
ALIASES = {"sid": "7.2"}
DEBIAN_NAMES = {"x86_64": "amd64", "aarch64": "arm64"}
# What a guest needs to start, and what programs are attached to. A kernel may have some of them built in.
MODULES = (
    *("virtio_pci", "virtio_console", "virtiofs", "overlay"),
    *("veth", "sch_ingress", "cls_bpf", "nf_defrag_ipv4", "nf_defrag_ipv6", "loop"),
)


@dataclass(frozen=True)
class Kernel:
    """A kernel to boot.

    Attributes:
        version: The series: ``6.12``.
        architecture: Debian's name of an architecture: ``amd64``.
    """

    version: str
    architecture: str

    def __str__(self) -> str:
        return f"{self.architecture}/{self.version}"

    @property
    def is_native(self) -> bool:
        """This machine's programs run on it."""
        return self.architecture == native()


@dataclass(frozen=True)
class Prepared:
    """A kernel in the cache.

    Attributes:
        image: What QEMU boots.
        config: Its configuration.
        modules: Modules, uncompressed, in an order in which they can be inserted.
    """

    image: Path
    config: Path
    modules: tuple[Path, ...]


def native() -> str:
    """Return this machine's architecture, as Debian calls it."""
    return DEBIAN_NAMES.get(platform.machine(), platform.machine())


def names() -> list[str]:
    """Return what ``kernel`` understands, this machine's architecture first."""
    others = sorted(set(DEBIAN_NAMES.values()) - {native()})
    return [*SUITES, *(f"{architecture}/{version}" for architecture in others for version in SUITES)]


def kernel(name: str) -> Kernel:
    """Return the kernel of a name: ``6.12``, or with an architecture ``arm64/6.12``.

    Raises:
        GuestError: There is none of that name.
    """
    architecture, _, version = name.rpartition("/")
    found = Kernel(ALIASES.get(version, version), architecture or native())
    if found.version not in SUITES or found.architecture not in DEBIAN_NAMES.values():
        raise GuestError(f"there is no kernel {name!r}", f"kernels: {', '.join(names())}")
    return found


def prepare(wanted: Kernel) -> Prepared:
    """Fetch a kernel if the cache does not have it.

    Raises:
        GuestError: It cannot be had.
    """
    name = f"linux-{wanted.version}-{wanted.architecture}"
    directory = cache.fetched(
        name,
        SUITES[wanted.version],
        wanted.architecture,
        lambda apt: _packages(apt, wanted),
        _unpack,
        f"{MODULES} vmlinuz config",
    )
    order = (directory / "modules" / "order").read_text().split()
    return Prepared(
        directory / "vmlinuz", directory / "config", tuple(directory / "modules" / f"{module}.ko" for module in order)
    )


def _packages(apt: Apt, wanted: Kernel) -> list[Resolved]:
    # Image and modules are one package, and in sid three. Their names hold the version; today's are found by a name without.
    needed = apt.resolve(f"linux-image-cloud-{wanted.architecture}")
    return [package for package in needed if re.match(r"linux-(image|binary|modules|base)-\d", package.name)]


def _unpack(debs: Path, directory: Path) -> None:
    modules: dict[str, tuple[str, bytes]] = {}
    for file, read in _files(debs):
        if file.name.startswith("vmlinuz"):
            (directory / "vmlinuz").write_bytes(read())
        elif file.name == "config" or file.name.startswith("config-"):
            (directory / "config").write_bytes(read())
        elif ".ko" in file.suffixes:
            modules[file.name.partition(".")[0].replace("-", "_")] = (file.suffix, read())
    if not (directory / "vmlinuz").exists() or not modules:
        raise GuestError("the packages hold no kernel with modules", "Debian may have renamed them: tests/guest/kernels.py")
    (directory / "modules").mkdir()
    order: list[str] = []
    for name in MODULES:
        _add(name, modules, order, directory / "modules")
    (directory / "modules" / "order").write_text("\n".join(order))


def _files(debs: Path) -> Iterator[tuple[PurePath, Callable[[], bytes]]]:
    for deb in sorted(debs.glob("*.deb")):
        with (
            subprocess.Popen(["dpkg-deb", "--fsys-tarfile", deb], stdout=subprocess.PIPE) as process,
            tarfile.open(fileobj=process.stdout, mode="r|") as archive,
        ):
            for member in archive:
                if member.isfile() and (file := archive.extractfile(member)):
                    yield PurePath(member.name), file.read
        if process.returncode:
            raise GuestError(f"{deb.name}: dpkg-deb cannot read it")


def _add(name: str, modules: dict[str, tuple[str, bytes]], order: list[str], directory: Path) -> None:
    """Write a module after those that it needs. One that there is not is built in."""
    if name in order or name not in modules:
        return
    suffix, data = modules[name]
    if suffix == ".xz":
        data = lzma.decompress(data)
    elif suffix == ".zst":
        if not shutil.which("zstd"):
            raise MissingError("this kernel's modules are compressed with zstd", "apt-get install zstd")
        data = subprocess.run(["zstd", "-dcq"], input=data, stdout=subprocess.PIPE, check=True).stdout
    for needed in _needs(data):
        _add(needed, modules, order, directory)
    (directory / f"{name}.ko").write_bytes(data)
    order.append(name)


def _needs(module: bytes) -> Iterable[str]:
    """Return which modules a module (an ELF file) names in its section ``.modinfo``: the packages have no modules.dep."""
    (table,) = struct.unpack_from("<Q", module, 40)
    size, count, names_at = struct.unpack_from("<HHH", module, 58)
    sections = [struct.unpack_from("<IIQQQQ", module, table + index * size) for index in range(count)]
    for name, _type, _flags, _address, offset, length in sections:
        at = sections[names_at][4] + name
        if module[at : module.index(b"\0", at)] == b".modinfo":
            for entry in module[offset : offset + length].split(b"\0"):
                key, _, value = entry.decode().partition("=")
                if key == "depends":
                    return [each.replace("-", "_") for each in value.split(",") if each]
    return []
