"""Objects, maps, programs and links. The life of an object is in its types: open, then loaded.

What may only be done before loading is a method of :class:`OpenObject`, :class:`OpenMap` and :class:`Program`; what needs the
kernel's side of it belongs to :class:`LoadedObject` and :class:`LoadedMap`.
"""

from __future__ import annotations

import ctypes
import errno
import os

from ecli_runtime.btf import Btf
from ecli_runtime.elf import check_header
from ecli_runtime.errors import (
    AttachError,
    BtfError,
    LibbpfError,
    ObjectError,
    UnsupportedFeatureError,
    describe_errno,
)
from ecli_runtime.libbpf import log
from ecli_runtime.libbpf._ffi import ObjectOpenOpts, lib
from ecli_runtime.owned import Owned

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

# enum bpf_map_type, include/uapi/linux/bpf.h
MAP_TYPE_HASH, MAP_TYPE_ARRAY, MAP_TYPE_PERF_EVENT_ARRAY, MAP_TYPE_PERCPU_HASH, MAP_TYPE_PERCPU_ARRAY = 1, 2, 4, 5, 6
MAP_TYPE_STACK_TRACE, MAP_TYPE_LRU_PERCPU_HASH, MAP_TYPE_STRUCT_OPS, MAP_TYPE_RINGBUF = 7, 10, 26, 27
_PROG_TYPE_TRACING = 26  # enum bpf_prog_type, there
_MAP_TYPE_LRU_HASH, _MAP_TYPE_LPM_TRIE, _MAP_TYPE_PERCPU_CGROUP_STORAGE = 9, 11, 21
ARRAY_MAP_TYPES = frozenset((MAP_TYPE_ARRAY, MAP_TYPE_PERCPU_ARRAY))
PER_CPU_MAP_TYPES = frozenset(
    (MAP_TYPE_PERCPU_HASH, MAP_TYPE_PERCPU_ARRAY, MAP_TYPE_LRU_PERCPU_HASH, _MAP_TYPE_PERCPU_CGROUP_STORAGE)
)
# Maps that have as much room as one gives them; arrays have a meaning for each index.
SIZED_MAP_TYPES = frozenset((MAP_TYPE_HASH, _MAP_TYPE_LRU_HASH, MAP_TYPE_PERCPU_HASH, MAP_TYPE_LRU_PERCPU_HASH))
SIZED_MAP_TYPES |= frozenset((MAP_TYPE_STACK_TRACE, _MAP_TYPE_LPM_TRIE))


class _Map:
    """What can be asked of a map before and after loading. It is read here, so that it may be asked while libbpf is loading.

    Attributes:
        max_entries: Entries it can hold; bytes in a ring buffer.
    """

    def __init__(self, handle: int) -> None:
        self.handle = handle
        self.name: str = lib.bpf_map__name(handle).decode("utf-8", "replace")
        self.type: int = lib.bpf_map__type(handle)
        self.key_size_bytes: int = lib.bpf_map__key_size(handle)
        self.value_size_bytes: int = lib.bpf_map__value_size(handle)
        self.max_entries: int = lib.bpf_map__max_entries(handle)
        self._internal: bool = lib.bpf_map__is_internal(handle)
        self.btf_key_type_id: int = lib.bpf_map__btf_key_type_id(handle)
        self.btf_value_type_id: int = lib.bpf_map__btf_value_type_id(handle)

    @property
    def type_name(self) -> str:
        """Map type as libbpf names it: ``ringbuf``, ``percpu_hash``."""
        return _type_name(lib.libbpf_bpf_map_type_str(self.type), self.type)

    @property
    def is_struct_ops(self) -> bool:
        """The map holds callbacks of the kernel, which are in force while it is attached."""
        return self.type == MAP_TYPE_STRUCT_OPS

    @property
    def per_cpu(self) -> bool:
        """The map holds one value for each possible CPU."""
        return self.type in PER_CPU_MAP_TYPES

    @property
    def data_section(self) -> str:
        """ELF section behind an internal map (``.rodata``, ``.data.cold``), or empty text.

        libbpf names such a map after the object and the section, or, when the section has a second dot, after the section
        alone (``internal_map_name`` in libbpf.c).
        """
        if not self._internal:
            return ""
        return self.name[self.name.index(".") :]

    @property
    def ident(self) -> str:
        """Upstream's identifier: the name, or the data section without its leading dot, made a C identifier."""
        name = self.data_section.lstrip(".")
        return "".join(letter if letter.isalnum() else "_" for letter in name) or self.name


def _type_name(name: bytes | None, number: int) -> str:
    return name.decode() if name is not None else f"type {number}"


class OpenMap(_Map):
    """A map before it is created. Owned by its object."""

    @property
    def is_shared(self) -> bool:
        """It is the map that is pinned under its name, if there is one, and becomes it if not (``LIBBPF_PIN_BY_NAME``)."""
        return lib.bpf_map__pin_path(self.handle) is not None

    def initial_value(self) -> memoryview | None:
        """Return the bytes that a data section will start with, writable and shared with libbpf, or ``None``.

        The memory is libbpf's and stays valid until the object is loaded or closed.
        """
        size = ctypes.c_size_t()
        address = lib.bpf_map__initial_value(self.handle, ctypes.byref(size))
        if not address:
            return None
        return memoryview((ctypes.c_char * size.value).from_address(address)).cast("B")  # the object keeps it alive

    @property
    def lacks_sizes(self) -> bool:
        """The author has left to user space how large the map is."""
        return self.type in SIZED_MAP_TYPES and not (self.max_entries and self.value_size_bytes)

    def drop_event_type(self) -> None:
        """Make the sizes of an event map those that the kernel accepts.

        Authors write ``__type(value, struct event)`` on a ring buffer or perf event array to say what it carries; the kernel
        wants none there (``ringbuf_map_alloc``), or descriptors of 4 bytes (``perf_event_array_map_alloc_check``).
        """
        wanted = {MAP_TYPE_RINGBUF: 0, MAP_TYPE_PERF_EVENT_ARRAY: 4}.get(self.type)
        if wanted is None:
            return
        if self.key_size_bytes != wanted:
            lib.bpf_map__set_key_size(self.handle, wanted)
        if self.value_size_bytes != wanted:
            lib.bpf_map__set_value_size(self.handle, wanted)

    @property
    def autocreate(self) -> bool:
        """Whether loading the object creates this map: not where its section begins with a question mark."""
        return bool(lib.bpf_map__autocreate(self.handle))

    @property
    def flags(self) -> int:
        """``BPF_F_…`` of ``bpf(BPF_MAP_CREATE)``; can be set."""
        number: int = lib.bpf_map__map_flags(self.handle)
        return number

    @flags.setter
    def flags(self, number: int) -> None:
        lib.bpf_map__set_map_flags(self.handle, number)

    def set_max_entries(self, count: int) -> None:
        """Set the number of entries; of bytes for a ring buffer, where libbpf rounds up to a power of two of whole pages."""
        lib.bpf_map__set_max_entries(self.handle, count)
        self.max_entries = lib.bpf_map__max_entries(self.handle)


class LoadedMap(_Map):
    """A map that exists in the kernel. Owned by its object."""

    @property
    def fd(self) -> int:
        """File descriptor, valid until the object is closed."""
        fd: int = lib.bpf_map__fd(self.handle)
        return fd

    @property
    def exists(self) -> bool:
        """Whether loading has created it: not where its section begins with a question mark."""
        return bool(lib.bpf_map__autocreate(self.handle))

    @property
    def lookup_size_bytes(self) -> int:
        """Bytes that the kernel gives for one key: of a per-CPU map one value after the other, each padded to 8 bytes."""
        if self.per_cpu:
            return (self.value_size_bytes + 7 & ~7) * int(lib.libbpf_num_possible_cpus())
        return self.value_size_bytes

    def entries(self) -> Iterator[tuple[bytes, bytes]]:
        """Walk the entries as (key, value); a per-CPU value is one after the other, each padded to 8 bytes.

        Not a snapshot: entries that are added or removed meanwhile may be missed, or walked twice, and one that is removed
        between the two system calls is skipped.

        Raises:
            LibbpfError: The kernel refused to walk it.
        """
        fd, size = self.fd, self.lookup_size_bytes
        key = ctypes.create_string_buffer(self.key_size_bytes)
        next_key = ctypes.create_string_buffer(self.key_size_bytes)
        value = ctypes.create_string_buffer(size)
        result = lib.bpf_map_get_next_key(fd, None, next_key)
        while result == 0:
            key, next_key = next_key, key
            result = lib.bpf_map_lookup_elem(fd, key, value)
            if result == 0:
                yield key.raw, value.raw
            elif result != -errno.ENOENT:
                raise LibbpfError("bpf_map_lookup_elem", -result)
            result = lib.bpf_map_get_next_key(fd, key, next_key)
        if result != -errno.ENOENT:
            raise LibbpfError("bpf_map_get_next_key", -result)

    def take(self, key: bytes) -> bytes | None:
        """Remove an entry and return its value, ``None`` if there is none.

        Nothing is lost between the two where the kernel does both in one, for hashes since Linux 5.14 (3e87f192b405).
        """
        value = ctypes.create_string_buffer(self.lookup_size_bytes)
        result = lib.bpf_map_lookup_and_delete_elem(self.fd, key, value)
        if result == -errno.ENOENT:
            return None
        if result != 0 and (lib.bpf_map_lookup_elem(self.fd, key, value) != 0 or lib.bpf_map_delete_elem(self.fd, key) != 0):
            return None
        return value.raw

    def lookup(self, key: bytes) -> bytes | None:
        """Return the value of a key, ``None`` if there is none."""
        value = ctypes.create_string_buffer(self.lookup_size_bytes)
        return value.raw if lib.bpf_map_lookup_elem(self.fd, key, value) == 0 else None

    def delete(self, key: bytes) -> bool:
        """Remove an entry; return whether it was there."""
        return bool(lib.bpf_map_delete_elem(self.fd, key) == 0)


class Link(Owned):
    """An attached program. Closing it detaches the program."""

    _stays = False

    @property
    def pinnable_fd(self) -> int | None:
        """Descriptor of the link; ``None`` for one that libbpf makes of several, as those of USDT."""
        fd: int = lib.bpf_link__fd(self.handle)
        return fd or None

    def stay(self) -> None:
        """Let closing it leave attached what is pinned."""
        self._stays = True

    def _destroy(self, handle: int) -> None:
        if self._stays:
            fd: int = lib.bpf_link__fd(handle)
            # Otherwise libbpf would switch the perf event off that the link is on. The event's own descriptor, which only libbpf
            # knows, goes with the process; it runs no program any more once the pin is gone and the link closed.
            lib.bpf_link__disconnect(handle)
            lib.bpf_link__destroy(handle)
            os.close(fd)
        else:
            lib.bpf_link__destroy(handle)


class Program:
    """A program. Owned by its object."""

    def __init__(self, handle: int) -> None:
        self.handle = handle
        self.name: str = lib.bpf_program__name(handle).decode("utf-8", "replace")
        self.section: str = lib.bpf_program__section_name(handle).decode("utf-8", "replace")
        self.type: int = lib.bpf_program__type(handle)

    @property
    def type_name(self) -> str:
        """Program type as libbpf names it: ``tracepoint``, ``sched_cls``; ``unspec`` for a section that it does not know."""
        return _type_name(lib.libbpf_bpf_prog_type_str(self.type), self.type)

    @property
    def is_iterator(self) -> bool:
        """It writes lines of text when it is read, ``SEC("iter/…")``."""
        return self.type == _PROG_TYPE_TRACING and self.section.startswith("iter")

    @property
    def expected_attach_type(self) -> int:
        """``enum bpf_attach_type`` (include/uapi/linux/bpf.h), as the section implies it."""
        number: int = lib.bpf_program__expected_attach_type(self.handle)
        return number

    @property
    def autoload(self) -> bool:
        """Whether loading the object loads this program: not where its section begins with a question mark."""
        return bool(lib.bpf_program__autoload(self.handle))

    def set_autoload(self, autoload: bool) -> None:
        """Say whether loading the object loads this program; only before it is loaded."""
        lib.bpf_program__set_autoload(self.handle, autoload)

    def set_expected_attach_type(self, number: int) -> None:
        """Say for which ``enum bpf_attach_type`` the kernel shall check it; only before it is loaded."""
        lib.bpf_program__set_expected_attach_type(self.handle, number)

    def set_attach_target(self, name: str | None, fd: int = 0) -> None:
        """Say which function it shall be attached to, by its name in BTF; only before it is loaded.

        Args:
            name: The function; ``None`` takes that of the section, for which there must be a descriptor.
            fd: Descriptor of the program that has it, needed until this one is loaded; 0: it is the kernel's.

        Raises:
            LibbpfError: There is no such function.
        """
        lib.bpf_program__set_attach_target(self.handle, fd, name and name.encode())

    def set_ifindex(self, ifindex: int) -> None:
        """Say for which interface the kernel shall translate it, which then runs it itself; only before it is loaded."""
        lib.bpf_program__set_ifindex(self.handle, ifindex)


class LoadedProgram(Program):
    """A program that the kernel has accepted."""

    def attach(self) -> Link:
        """Attach where its section says, and return the link, which the caller owns.

        Raises:
            AttachError: libbpf or the kernel refused.
        """
        return self.link(self.section, lib.bpf_program__attach)

    @property
    def fd(self) -> int:
        """File descriptor, valid until the object is closed."""
        fd: int = lib.bpf_program__fd(self.handle)
        return fd

    def link(
        self,
        where: str,
        function: Callable[..., int],
        *arguments: object,
        hints: Mapping[int, str | Callable[[], str]] | None = None,
    ) -> Link:
        """Attach with one of libbpf's functions that return a link, which the caller owns.

        Args:
            where: Where it is attached, for an error.
            function: Takes the program and the arguments.
            arguments: What says where.
            hints: Error number → what to try then, or what finds that out, where more is known than for programs in general.

        Raises:
            AttachError: libbpf or the kernel refused.
        """
        try:
            return Link(function(self.handle, *arguments))
        except LibbpfError as error:
            raise self.explain(where, error, hints or {}) from error

    def explain(self, where: str, error: LibbpfError, hints: Mapping[int, str | Callable[[], str]]) -> AttachError:
        """Return the error that says why it cannot be attached; arguments as :meth:`link`."""
        hint: str | Callable[[], str] = ""
        if error.errno in hints:
            hint = hints[error.errno]
        elif error.errno == errno.EOPNOTSUPP:
            hint = f"section {self.section!r} names no target that can be attached to by itself"
        elif error.errno in (errno.EPERM, errno.EACCES):
            from ecli_runtime.permissions import hint_for_refusal

            hint = hint_for_refusal([self.type])
        elif error.errno in (errno.ENOENT, errno.ESRCH):
            hint = "this kernel does not have that hook; `ecli-py run --verbose` shows what was tried"
        elif error.errno == errno.ENODEV:
            hint = "`ip link` lists the interfaces and their numbers"
        message = f"{self.name}: cannot attach to {where}: {describe_errno(error.errno)}"
        return AttachError(error.function, error.errno, error.log, message, hint if isinstance(hint, str) else hint())


class OpenObject(Owned):
    """An object whose maps and globals can still be changed. Loading it hands it over to a :class:`LoadedObject`."""

    @classmethod
    def open(cls, data: bytes, name: str, kernel_btf: str | None = None, token: str | None = None) -> OpenObject:
        """Parse an ELF object.

        Args:
            data: The object.
            name: Object name, at most 63 bytes are kept; names of internal maps begin with its first 8.
            kernel_btf: File to take the kernel's BTF from instead of ``/sys/kernel/btf/vmlinux``.
            token: BPF file system that gives the right to load, where the process has it not.

        Raises:
            UnsupportedFeatureError: libbpf cannot use a token.
            ObjectError: It is no eBPF object, or lacks BTF.
            BtfError: The file with the kernel's BTF cannot be read.
            LibbpfError: libbpf cannot make sense of it.
        """
        check_header(data)
        if lib.version_numbers < (1, 3):
            _check_btf(data)
        options = ObjectOpenOpts(sz=ctypes.sizeof(ObjectOpenOpts), object_name=name.encode())
        if kernel_btf is not None:
            try:
                with open(kernel_btf, "rb"):
                    pass
            except OSError as error:
                raise BtfError(f"cannot read BTF file {kernel_btf}: {error.strerror}", "check the path") from error
            options.btf_custom_path = os.fsencode(kernel_btf)
        if token is not None:
            if lib.version_numbers < (1, 5):
                raise UnsupportedFeatureError(
                    "--token", "libbpf 1.5", f"libbpf {lib.version} ({lib.origin})", "use the bundled libbpf"
                )
            options.bpf_token_path = os.fsencode(token)
        log.take()
        try:
            handle = lib.bpf_object__open_mem(data, len(data), options)
        except LibbpfError as error:
            if "BTF is required" in error.log:
                raise _no_btf() from error
            from ecli_runtime.load_errors import last_line

            detail = last_line(error.log) or describe_errno(error.errno)
            raise ObjectError(f"libbpf cannot open the package's object: {detail}", "build the package again") from error
        opened = cls(handle)
        opened._data = data
        try:
            opened.btf = opened._read_btf()
            opened.maps = [OpenMap(each) for each in opened._walk(lib.bpf_object__next_map)]
            opened.programs = [Program(each) for each in opened._walk(lib.bpf_object__next_program)]
        except BaseException:
            opened.close()
            raise
        return opened

    _data: bytes
    btf: Btf
    maps: list[OpenMap]
    programs: list[Program]

    def _read_btf(self) -> Btf:
        address = lib.bpf_object__btf(self.handle)
        if not address:
            raise _no_btf()
        size = ctypes.c_uint32()
        data = lib.btf__raw_data(address, ctypes.byref(size))
        return Btf(ctypes.string_at(data, size.value))  # copied: the object owns the original

    def _walk(self, following: object) -> Iterator[int]:
        handle = following(self.handle, None)  # type: ignore[operator]
        while handle:
            yield handle
            handle = following(self.handle, handle)  # type: ignore[operator]

    def load(self) -> LoadedObject:
        """Create the maps, relocate against the running kernel and load the programs. This object is used up.

        It may run on a thread of its own: what this object, its maps and its programs tell does not change meanwhile.

        Raises:
            VerifierError: The kernel's verifier refused a program.
            UnsupportedFeatureError: The kernel has no BTF and the object needs it.
            LibbpfError: Anything else, with libbpf's log.
        """
        for each in self.maps:
            each.drop_event_type()
            if each.lacks_sizes:
                from ecli_runtime.libbpf.map_sizes import assume_sizes

                assume_sizes(each)
        log.take()
        try:
            lib.bpf_object__load(self.handle)
        except LibbpfError as error:
            from ecli_runtime.load_errors import explain_load_failure

            raise explain_load_failure(error, self._data, self.programs, self.maps) from error
        loaded_maps = [LoadedMap(each.handle) for each in self.maps]
        loaded_programs = [LoadedProgram(each.handle) for each in self.programs]
        return LoadedObject(self.release(), self.btf, loaded_maps, loaded_programs)

    def _destroy(self, handle: int) -> None:
        lib.bpf_object__close(handle)


class LoadedObject(Owned):
    """An object in the kernel. Closing it unloads what nothing else holds."""

    def __init__(self, handle: int, btf: Btf, maps: list[LoadedMap], programs: list[LoadedProgram]) -> None:
        super().__init__(handle)
        self.btf, self.maps, self.programs = btf, maps, programs

    def _destroy(self, handle: int) -> None:
        lib.bpf_object__close(handle)


def _check_btf(data: bytes) -> None:
    """Check the types of an object before libbpf sees them: before 1.3 it crashes on ids of types that there are not."""
    from ecli_runtime.code import section_bytes

    section = section_bytes(data, ".BTF")
    if section is None:
        raise _no_btf()
    Btf(section).check()


def _no_btf() -> ObjectError:
    return ObjectError(
        "the package's object has no BTF, so its events cannot be described", "compile with -g (clang -target bpf -g)"
    )
