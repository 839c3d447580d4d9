"""Objects that a guest has loaded, with what belongs to them: links, buffers that are polled, descriptors of maps."""

from __future__ import annotations

from ecli_runtime.attach import attach_loaded
from ecli_runtime.attach.options import AttachOptions
from ecli_runtime.errors import TargetError, WasmError
from ecli_runtime.libbpf.object import OpenObject
from ecli_runtime.wasm.controller.polling import Poller, open_ring
from ecli_schemas.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ecli_runtime.attach import Attached
    from ecli_runtime.libbpf.object import LoadedMap, LoadedObject
    from ecli_runtime.wasm.controller.polling import Ring
    from ecli_runtime.wasm.stopping import Stop

OBJECT_SIZE_LIMIT_BYTES = 16 << 20
_OBJECTS_LIMIT = 16


class Loading(Record):
    """How objects are loaded, and their programs attached, as far as the user says it.

    Attributes:
        attach: Where programs are attached.
        kernel_btf: File to take the kernel's BTF from instead of the running kernel's own.
        token: BPF file system that gives the right to load, where the process has it not.
        admit: Called with each object and its name before it is loaded; raises EcliError if it may not be. ``None``: all may.
    """

    attach: AttachOptions = AttachOptions()
    kernel_btf: str | None = None
    token: str | None = None
    admit: Callable[[bytes, str], None] | None = None


class BpfObject:
    """One object in the kernel. Closing it detaches and unloads everything.

    Args:
        loaded: The object, owned by this one from now on.
        open_ring: Opens the ring of a map.

    Attributes:
        maps: The maps that the guest has asked for, by their descriptors.
    """

    def __init__(self, loaded: LoadedObject, open_ring: Callable[[LoadedMap], Ring] = open_ring) -> None:
        self._loaded, self._open_ring = loaded, open_ring
        self._links: list[Attached] = []
        self._pollers: dict[int, Poller] = {}  # by descriptor of the map
        self.maps: dict[int, LoadedMap] = {}

    @property
    def attached(self) -> bool:
        """Whether a program is attached."""
        return bool(self._links)

    def attach(self, name: str, target: str | None, options: AttachOptions) -> bool:
        """Attach a program; return whether there is one of that name.

        Raises:
            TargetError: It needs a target, or has one that it cannot be attached to.
            AttachError: libbpf or the kernel refused.
        """
        for program in self._loaded.programs:
            if program.name == name:
                self._links += attach_loaded(self._loaded, program, target, options)
                return True
        return False

    def program_names(self) -> list[str]:
        """Return the names of its programs."""
        return [program.name for program in self._loaded.programs]

    def find_map(self, name: str) -> int | None:
        """Return the descriptor of a map, ``None`` if there is none of that name.

        Guests name the maps of data sections as the tool did that made their skeletons, whatever stands before the section.
        """
        section = name[name.index(".") :] if "." in name else None
        found = next((each for each in self._loaded.maps if each.name == name), None)
        if found is None and section is not None:
            found = next((each for each in self._loaded.maps if each.data_section == section), None)
        if found is None:
            return None
        fd = found.fd
        self.maps[fd] = found
        return fd

    def poller(self, fd: int, stop: Stop) -> Poller:
        """Return what polls a map, made when it is asked for first.

        Raises:
            KeyError: The guest has not asked for that map.
            LibbpfError: It cannot be polled.
            OSError: It cannot be mapped.
        """
        if fd not in self._pollers:
            self._pollers[fd] = Poller(self._open_ring(self.maps[fd]), stop)
        return self._pollers[fd]

    def lost(self) -> Iterator[tuple[str, int]]:
        """Yield the maps that have lost samples, as far as the kernel counts them, with how many."""
        for fd, poller in self._pollers.items():
            if poller.lost:
                yield self.maps[fd].name, poller.lost

    def close(self) -> None:
        """Detach and unload it; a second call does nothing."""
        try:
            while self._links:
                self._links.pop().close()
        finally:
            if self._links:  # one could not be detached: the others all the same
                self.close()
            while self._pollers:
                self._pollers.popitem()[1].close()
            self.maps.clear()
            self._loaded.close()


class Objects:
    """The objects of a guest, by the handles that it knows them by, from 1 on.

    Args:
        name: What the objects are called; names of internal maps begin with it.
        loading: How they are loaded, and their programs attached.
    """

    def __init__(self, name: str, loading: Loading) -> None:
        self._name, self._loading = name, loading
        self._objects: dict[int, BpfObject] = {}
        self._last = 0

    def load(self, data: bytes) -> int:
        """Load an object into the kernel and return its handle.

        Raises:
            WasmError: There are too many.
            EcliError: It is no object, or the kernel refused it.
        """
        if len(self._objects) >= _OBJECTS_LIMIT:
            raise WasmError(f"the module has {_OBJECTS_LIMIT} objects, and no more are loaded", "it should close some")
        made = self._make(data)
        self._last += 1
        self._objects[self._last] = made
        return self._last

    def _make(self, data: bytes) -> BpfObject:
        if self._loading.admit is not None:
            self._loading.admit(data, self._name)
        with OpenObject.open(data, self._name, self._loading.kernel_btf, self._loading.token) as opened:
            return BpfObject(opened.load())

    def get(self, handle: int) -> BpfObject | None:
        """Return an object by its handle, ``None`` if there is none."""
        return self._objects.get(handle)

    def attach(self, handle: int, name: str, target: str | None) -> None:
        """Attach a program.

        Raises:
            TargetError: There is no such program, or no such target.
            AttachError: libbpf or the kernel refused.
        """
        found = self._objects[handle]
        if not found.attach(name, target, self._loading.attach):
            raise TargetError(f"the object has no program {name!r}", f"programs: {', '.join(found.program_names()) or 'none'}")

    @property
    def attached(self) -> bool:
        """Whether a program of one is attached."""
        return any(each.attached for each in self._objects.values())

    def map(self, fd: int) -> LoadedMap | None:
        """Return the map behind a descriptor that the guest was given, ``None`` for any other."""
        return next((each.maps[fd] for each in self._objects.values() if fd in each.maps), None)

    def __contains__(self, fd: object) -> bool:
        return any(fd in each.maps for each in self._objects.values())

    def lost(self) -> Iterator[tuple[str, int]]:
        """Yield the maps that have lost samples, as far as the kernel counts them, with how many."""
        for each in self._objects.values():
            yield from each.lost()

    def close_one(self, handle: int) -> None:
        """Detach and unload one."""
        self._objects.pop(handle).close()

    def close(self) -> None:
        """Detach and unload all; a second call does nothing."""
        try:
            while self._objects:
                self._objects.popitem()[1].close()
        finally:
            if self._objects:
                self.close()
