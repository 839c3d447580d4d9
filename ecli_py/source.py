"""Where a package comes from.

A local file is read here, with nothing imported for it. What else a reference may be is the business of ``ecli_py.fetch``.
"""

from __future__ import annotations

import os
import sys

from ecli_py.trust import is_guarded, policy_paths
from ecli_schemas.errors import EcliError, PackageError
from ecli_schemas.read import MAX_DOCUMENT_SIZE_BYTES, read_package
from ecli_schemas.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Protocol

    from ecli_py.fetch import Fetched
    from ecli_py.trust.guard import Guard
    from ecli_py.trust.policy import WasmRights
    from ecli_runtime.opening import OpenSession
    from ecli_schemas.model import MapBehaviour, Package, WasmModule

    class Admission(Protocol):
        """Raises TrustError if an object may not be loaded."""

        def __call__(self, elf: bytes, object_name: str, maps: Iterable[MapBehaviour] | None = None) -> None:
            """Look into an object; arguments as :func:`ecli_py.trust.admit.admit_behaviour`."""


# Where tar has its magic number (POSIX.1, ustar).
_TAR_MAGIC = slice(257, 262)
_KERNEL_BTF = "/sys/kernel/btf/vmlinux"


class Admitting(Record):
    """How a package is fetched to be run, and what the user says of it.

    Attributes:
        offline: What is remote comes from the cache.
        insecure: Registries on other machines may be asked over plain HTTP.
        allow_unsigned: Take a package of another machine that nobody here trusts has signed.
        allow_wasm: Its Wasm may have what it asks for.
        ask: Ask on the terminal, if there is one, where these do not say it.
        later: Only warn that nobody has signed it, until :meth:`Source.admission` or :meth:`Source.admit` is called.
    """

    offline: bool = False
    insecure: bool = False
    allow_unsigned: bool = False
    allow_wasm: bool = False
    ask: bool = False
    later: bool = False


class Source:
    """What a reference stands for.

    Attributes:
        data: The package's JSON document.
        kernel_btf: File with the running kernel's types, from an archive that has them; ``None``: the kernel has its own, or
            nobody has them. It lasts as long as this process.
        guard: What must still be asked before it runs; ``None``: nothing.
        how: What the user says of it.
        fetched: What was fetched, as it is published; ``None``: a local file, read as it is.
    """

    def __init__(self, data: bytes, kernel_btf: str | None = None) -> None:
        self.data, self.kernel_btf = data, kernel_btf
        self.guard: Guard | None = None
        self.how = Admitting()
        self.fetched: Fetched | None = None

    def admit(self, name: str, opened: OpenSession, allow: str | Iterable[str] | None) -> None:
        """Return if the package may do what its object for this machine can do; nothing of it has been loaded yet.

        Args:
            name: What it is called, for messages.
            opened: The package that :attr:`data` is, as it will be loaded.
            allow: Words of ``--allow``, or one text with commas between them; ``None``: what is allowed by default.

        Raises:
            TrustError: It may not.
            EcliError: Its object is broken, or there is none for this machine.
        """
        check = self.admission(name, allow)
        if check is not None:
            package = opened.package
            check(package.object_for(os.uname().machine), package.object_name, opened.map_behaviours())

    def admission(self, name: str, allow: str | Iterable[str] | None) -> Admission | None:
        """Return what raises if an object may not be loaded, ``None`` if any may; arguments and errors as :meth:`admit`."""
        if self.guard is not None:
            self.guard.admit()
        elif allow is None:
            return None
        from ecli_py.trust.admit import Terms, admit_behaviour
        from ecli_py.trust.allowances import parse_allowance

        words = None if allow is None else parse_allowance(allow)
        terms = Terms((), (), False) if self.guard is None else self.guard.terms

        def check(elf: bytes, object_name: str, maps: Iterable[MapBehaviour] | None = None) -> None:
            admit_behaviour(name, elf, object_name, terms, words, maps)

        return check

    @property
    def wasm_rights(self) -> tuple[WasmRights, ...]:
        """What policies say of Wasm modules."""
        return () if self.guard is None else self.guard.terms.wasm

    def confirm_handlers(self, name: str, modules: Sequence[WasmModule]) -> None:
        """Return if the package's event handlers may have what they ask for; :meth:`admit` comes before.

        Raises:
            TrustError: They may not.
        """
        if self.guard is not None and modules:
            from ecli_py.trust.wasm import confirm_handlers

            confirm_handlers(name, modules, self.guard, allowed=self.how.allow_wasm, ask=self.how.ask)

    def admit_controller(self, name: str) -> int | None:
        """Return the memory in bytes that this module may have, which drives eBPF itself; ``None``: what it has by default.

        Raises:
            TrustError: It may not run.
            EcliError: It is no module.
        """
        if self.guard is None:
            return None
        from ecli_py.trust.wasm import admit_controller, confirm_controller

        most = admit_controller(name, self.data, self.wasm_rights)
        confirm_controller(name, self.data, self.guard, allowed=self.how.allow_wasm, ask=self.how.ask)
        return most


def find_source(reference: str | os.PathLike[str], *, offline: bool = False, insecure: bool = False) -> Source:
    """Return what a reference stands for.

    Args:
        reference: File, ``-`` for standard input, URL, or place in a registry.
        offline: What is remote comes from the cache.
        insecure: Registries on other machines may be asked over plain HTTP.

    Raises:
        EcliError: It cannot be had.
    """
    name = os.fspath(reference)
    data = _read_local(name)
    if data is None:
        from ecli_py.fetch import FetchOptions
        from ecli_py.trust.guard import look_up

        fetched = look_up(name, FetchOptions(offline=offline, insecure=insecure))
        source = unpack(fetched.content, name)
        source.fetched = fetched
        return source
    return unpack(data, name)


def find_source_to_run(reference: str | os.PathLike[str], how: Admitting) -> Source:
    """Return what a reference stands for, if it is what a lock pins, and signed as policies want it.

    Args:
        reference: As :func:`find_source`.
        how: What the user says.

    Raises:
        EcliError: It cannot be had, or must not run.
    """
    name = os.fspath(reference)
    data = None if is_guarded() else _read_local(name)
    if data is not None:
        return unpack(data, name)
    from ecli_py.fetch import FetchOptions
    from ecli_py.trust.guard import Guard

    options = FetchOptions(offline=how.offline, insecure=how.insecure)
    guard = Guard(name, options, allow_unsigned=how.allow_unsigned, ask=how.ask, later=how.later)
    source = unpack(guard.fetched.content, name)
    source.guard, source.how = guard, how
    return source


def unpack(data: bytes, name: str) -> Source:
    """Return what was fetched, taken out of its archive if it is in one.

    Raises:
        EcliError: The archive is damaged, or has no package.
    """
    return _from_archive(data, name) if data[_TAR_MAGIC] == b"ustar" else Source(data)


def parse_package(data: bytes, object_file: str | None = None) -> Package:
    """Return the package that a document is.

    Args:
        data: The document.
        object_file: ELF object for a document that is only metadata.

    Raises:
        EcliError: It is no package, or the object cannot be read.
    """
    return read_package(data, object=read_source(object_file) if object_file is not None else None)


def any_object(package: Package) -> tuple[str, bytes]:
    """Return a machine and its object, to look into: this one if there is an object for it, else the first."""
    here = os.uname().machine
    try:
        return here, package.object_for(here)
    except PackageError:
        return package.arches[0], package.object


def read_source(path: str) -> bytes:
    """Return the bytes of a local file, or of standard input (``-``).

    Raises:
        EcliError: It cannot be read.
    """
    try:
        return _read(path)
    except OSError as error:
        raise EcliError(f"cannot read {path}: {error.strerror}", "check the path") from error


def _read_local(name: str) -> bytes | None:
    """Return the bytes of a local file; ``None`` if there is none and the name may be of something else."""
    if "://" in name or name.startswith(("-@", "-#")):
        return None
    try:
        return _read(name)
    except OSError as error:
        is_missing = isinstance(error, (FileNotFoundError, NotADirectoryError))
        if is_missing and (":" in name or "sha256=" in name or ("/" not in name and policy_paths())):
            return None
        raise EcliError(f"cannot read {name}: {error.strerror}", "check the path") from error


def _read(path: str) -> bytes:
    if path == "-":
        data = sys.stdin.buffer.read(MAX_DOCUMENT_SIZE_BYTES + 1)
    else:
        with open(path, "rb") as file:
            data = file.read(MAX_DOCUMENT_SIZE_BYTES + 1)
    if len(data) > MAX_DOCUMENT_SIZE_BYTES:
        raise EcliError(f"{path} is larger than {MAX_DOCUMENT_SIZE_BYTES >> 20} MiB", "this is no package")
    return data


def _from_archive(content: bytes, name: str) -> Source:
    """Return the package in an archive of upstream's, and the types of this kernel if it has none of its own."""
    from ecli_py.fetch.archive import read_archive
    from ecli_py.report import warn

    archive = read_archive(content, name)
    if os.path.exists(_KERNEL_BTF):
        return Source(archive.package)
    if archive.types is None:
        warn(f"this kernel has no types (BTF) of its own, and the archive has none of it: {archive.types_name}")
        return Source(archive.package)
    # A file in memory: nothing of it is left behind, however the run ends.
    handle = os.memfd_create("ecli-py-btf", os.MFD_CLOEXEC)
    with open(handle, "wb", closefd=False) as file:
        file.write(archive.types)
    return Source(archive.package, f"/proc/self/fd/{handle}")
