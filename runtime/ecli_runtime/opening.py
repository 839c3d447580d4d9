"""A package whose object is open: its options can be asked for and set. Then it is loaded, and started."""

from __future__ import annotations

import os
import sys

from ecli_runtime.attach import prepare
from ecli_runtime.background import Background
from ecli_runtime.errors import BtfError, LibbpfError, OptionError, UnsupportedFeatureError
from ecli_runtime.globals import KCONFIG, find_globals, is_settable, pack_value
from ecli_runtime.libbpf.object import MAP_TYPE_PERF_EVENT_ARRAY, MAP_TYPE_RINGBUF, OpenObject
from ecli_schemas.errors import PackageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType
    from typing import Any

    from typing_extensions import Self

    from ecli_runtime.attach import Plan
    from ecli_runtime.attach.alternatives import Failures
    from ecli_runtime.attach.options import AttachOptions
    from ecli_runtime.globals import Global
    from ecli_runtime.kernel_btf import AsFile
    from ecli_runtime.libbpf.object import LoadedObject, OpenMap
    from ecli_runtime.session import Session
    from ecli_runtime.stream import Source
    from ecli_schemas.model import Json, MapBehaviour, MapSpec, Option, Package

DEFAULT_LATENCY_MS = 2.0

# A program that cannot place a sample in map M may count that under this name: see counters.py.
LOST_SUFFIX = "_lost"

# How long one thread of Python may keep the other waiting while libbpf loads: its log messages pass through Python, and at the
# default of 5 ms each of them would wait longer than loading takes.
_SWITCH_INTERVAL_S = 5e-5


class OpenSession:
    """A package whose object is open: its options can be asked for and set. Loading uses it up.

    Args:
        package: The package; what it says about its object is checked here.
        kernel_btf: File to take the kernel's BTF from instead of the running kernel's own.
        token: BPF file system that gives the right to load, where the process has it not.

    Attributes:
        raw: Values are shown as they are, whatever they mean; until it is loaded this may be set.
        interval_ms: How often maps are read, if not as the package says; likewise.
        chosen: Values of options that were set, by the names of their variables; the package's defaults are not among them.
        page_counts: Pages of each CPU's ring of perf event arrays that shall not have as many as the package says, by name.

    Raises:
        PackageError: The package names a map, program, variable or type that its object lacks.
        ObjectError: libbpf cannot open the object.
    """

    def __init__(self, package: Package, kernel_btf: str | None = None, token: str | None = None) -> None:
        self.package = package
        self.raw = False
        self.interval_ms: int | None = None
        self.chosen: dict[str, Json] = {}
        self.page_counts: dict[str, int] = {}
        self._loading: LoadingSession | None = None
        self._kernel_btf, self._token = kernel_btf, token
        self._kernel_types: AsFile | None = None
        if kernel_btf is None and package.kernel_btf:
            from ecli_runtime.kernel_btf import own_types

            self._kernel_types = own_types(package)
            if self._kernel_types is not None:
                kernel_btf = self._kernel_types.path
        try:
            self._object = OpenObject.open(package.object_for(os.uname().machine), package.object_name, kernel_btf, token)
        except BaseException:
            self.release_kernel_types()
            raise
        try:
            self._globals = {each.name: each for each in find_globals(self._object.btf)}
            self._maps = _match_maps(package, self._object.maps)
            if not package.objects:  # those for other machines may have other programs
                _check_programs(package, [program.name for program in self._object.programs])
            self._apply_defaults()
        except BaseException:
            self.close()
            raise

    def _apply_defaults(self) -> None:
        for option in self.package.options:
            if option.name not in self._globals:
                raise PackageError(f"option {option.name!r}: the object has no such variable", "$", "build the package again")
            self._check_size(self._globals[option.name])
            if option.default is not None and is_settable(self._object.btf, self._globals[option.name].type_id):
                try:
                    self._store(option.name, option.default)
                except OptionError as error:
                    raise PackageError(f"default of {error}", "$", error.hint or "build the package again") from error

    def _check_size(self, variable: Global) -> None:
        size_bytes = self._object.btf.size_bytes(variable.type_id)
        if size_bytes != variable.size_bytes:
            message = f"variable {variable.name!r} has {variable.size_bytes} bytes in its section and {size_bytes} by its type"
            raise BtfError(message, "build the package again")

    def sources(self) -> tuple[Source, ...]:
        """Return the maps that events come from, with the types of their events.

        Raises:
            PackageError: The package names a type that its object lacks.
            BtfError: A type cannot be decoded.
        """
        from ecli_runtime.sources import make_sources

        return make_sources(self.package, self._object, self._maps, self.raw, self.interval_ms)

    def map_names(self) -> list[str]:
        """Return the names of the maps."""
        return [each.name for each in self._object.maps]

    def iterators(self) -> list[str]:
        """Return the names of the iterators, each of which writes lines of text."""
        return [program.name for program in self._object.programs if program.is_iterator]

    def options(self) -> list[tuple[Option, int]]:
        """Return the options of the package that can be set, each with the id of its type in :attr:`btf`."""
        settable = (option for option in self.package.options if option.section != KCONFIG)
        found = ((option, self._globals[option.name].type_id) for option in settable)
        return [(option, type_id) for option, type_id in found if is_settable(self._object.btf, type_id)]

    @property
    def btf(self) -> Any:
        """The object's own BTF."""
        return self._object.btf

    def initial(self, name: str) -> Any:
        """Return the value that a variable has now: the C initialiser, the package's default, or what was set."""
        variable = self._globals[name]
        view = self._section_bytes(variable)
        from ecli_runtime.decode.plan import make_plan
        from ecli_runtime.decode.python import make_decoder

        return make_decoder(make_plan(self._object.btf, variable.type_id))(bytes(view))

    def set(self, name: str, value: Json) -> None:
        """Set a global variable before the programs are loaded.

        Raises:
            OptionError: There is no such variable, or the value does not fit its type.
        """
        self._store(name, value)
        self.chosen[name] = value

    def _store(self, name: str, value: Json) -> None:
        if name not in self._globals:
            raise OptionError(f"there is no option {name!r}", f"options: {', '.join(sorted(self._globals)) or 'none'}")
        variable = self._globals[name]
        self._check_size(variable)
        if variable.section == KCONFIG:
            raise OptionError(f"option {name} cannot be set: the kernel's configuration fills it")
        try:
            data = pack_value(self._object.btf, variable.type_id, value)
        except OptionError as error:
            raise OptionError(f"option {name}: {error}", error.hint) from error
        self._section_bytes(variable)[:] = data

    def _section_bytes(self, variable: Global) -> memoryview:
        """Return a variable's own bytes in the initial value of its section, writable."""
        for each in self._object.maps:
            if each.data_section == variable.section:
                whole = each.initial_value()
                if whole is None:
                    break
                if variable.byte_offset + variable.size_bytes > len(whole):
                    raise BtfError(
                        f"variable {variable.name!r} lies outside of section {variable.section}", "build the package again"
                    )
                return whole[variable.byte_offset : variable.byte_offset + variable.size_bytes]
        raise OptionError(f"variable {variable.name!r} in section {variable.section} cannot be set")

    def set_ring_sizes(self, sizes: Mapping[str, int]) -> list[str]:
        """Set sizes of ring buffers and of each CPU's rings of perf event arrays; return in words where one is rounded up.

        Args:
            sizes: Bytes, by name of the map; of those that are not named by empty text.

        Raises:
            OptionError: There is no such map, or a size is not possible.
        """
        from ecli_runtime.ring_sizes import set_ring_sizes

        return set_ring_sizes(self._object.maps, sizes, self.page_counts)

    def map_behaviours(self) -> list[MapBehaviour]:
        """Return what is known of the maps as they will be made: with the sizes that were set."""
        from ecli_runtime.behaviour import map_behaviour

        return [map_behaviour(each) for each in self._object.maps]

    def load(self, attach: AttachOptions | None = None) -> LoadingSession:
        """Begin to load, on a thread of its own. This object is used up: nothing can be set any more.

        Args:
            attach: Where programs are attached, as far as the user says it.

        Raises:
            TargetError: A program has no target, or one that it cannot be attached to.
        """
        return self._load(attach, {})

    def _load(self, attach: AttachOptions | None, failures: Failures) -> LoadingSession:
        hooks = prepare(self._object, self.package, attach, self._has_sources(), failures)

        def following(error: LibbpfError) -> LoadingSession | None:
            return self._load_another(attach, failures, hooks, error)

        self._loading = LoadingSession(self, self._object, list(self._globals.values()), hooks, following)
        return self._loading

    def _load_another(
        self, attach: AttachOptions | None, failures: Failures, hooks: Plan, error: LibbpfError
    ) -> LoadingSession | None:
        """Begin to load with another alternative where one could not be loaded or attached; ``None`` if there is none."""
        from ecli_runtime.attach.alternatives import after_failure

        failure = after_failure(error, hooks, self._object.programs)
        if failure is None or failure[0] in failures:
            return None
        again = OpenSession(self.package, self._kernel_btf, self._token)
        try:
            again.raw, again.interval_ms, again.page_counts = self.raw, self.interval_ms, self.page_counts
            for name, value in self.chosen.items():
                again.set(name, value)
            for before, each in zip(self._object.maps, again._object.maps, strict=True):
                if each.max_entries != before.max_entries:
                    each.set_max_entries(before.max_entries)
            return again._load(attach, {**failures, failure[0]: failure[1]})
        except BaseException:
            again.close()
            raise

    def _has_sources(self) -> bool:
        sampled = any(spec.sample is not None for spec in self._maps.values())
        sampled = sampled or bool(self.package.results)
        return sampled or any(each.type in (MAP_TYPE_RINGBUF, MAP_TYPE_PERF_EVENT_ARRAY) for each in self._object.maps)

    def close(self) -> None:
        """Close the object; a second call does nothing."""
        if self._loading is not None:
            self._loading.close()
        self._object.close()
        self.release_kernel_types()

    def release_kernel_types(self) -> None:
        """Forget the kernel's types that the package brought: the object is loaded, or it will never be."""
        if self._kernel_types is not None:
            self._kernel_types.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


class LoadingSession:
    """A package whose object is being loaded, which takes several milliseconds: time for what else must be done.

    Made by :meth:`OpenSession.load`. Starting it hands the object over to a :class:`~ecli_runtime.session.Session`.
    """

    def __init__(
        self,
        opened: OpenSession,
        unloaded: OpenObject,
        variables: list[Global],
        hooks: Plan,
        following: Callable[[LibbpfError], LoadingSession | None],
    ) -> None:
        self.package = opened.package
        self._make_sources = opened.sources
        self._release = opened.release_kernel_types
        self._page_counts = opened.page_counts
        self._sources: tuple[Source, ...] | None = None
        self._object = unloaded
        self._variables = variables
        self._hooks = hooks
        self._following = following
        self._loaded: LoadedObject | None = None
        self._switch_interval_s = sys.getswitchinterval()
        sys.setswitchinterval(_SWITCH_INTERVAL_S)
        self._loading = Background(self._load)

    def _load(self) -> None:
        try:
            self._loaded = self._object.load()
        except UnsupportedFeatureError as error:
            if self.package.kernel_btf and "BTF" in error.since:
                from ecli_runtime.kernel_btf import lacking

                raise lacking(self.package, error) from error
            raise
        finally:
            self._release()

    @property
    def sources(self) -> tuple[Source, ...]:
        """The maps that events come from; errors as :meth:`OpenSession.sources`."""
        if self._sources is None:
            self._sources = self._make_sources()
        return self._sources

    def contradictions(self) -> list[str]:
        """Return where the object is not what the package says of its behaviour, as far as a quick look shows; in words.

        The programs are not followed, which `ecli-py inspect` does: this is asked for before each run.
        """
        claimed = self.package.behaviour
        if claimed is None:
            return []
        from ecli_runtime.behaviour import analyse_open, contradictions, undeclared_facts

        elf = self.package.object_for(os.uname().machine)
        found = analyse_open(self._object, elf, follow=False)
        found = found.replace(facts={**claimed.facts, **found.facts})
        return contradictions(claimed, found) if elf is self.package.object else undeclared_facts(claimed, found)

    def start(self, latency_ms: float = DEFAULT_LATENCY_MS) -> Session:
        """Wait until it is loaded, and attach. This object is used up, whether it succeeds or not.

        Where a program of a hook with alternatives could not be loaded or attached, it is all done again with another one.

        Args:
            latency_ms: How late an event may be shown while others keep coming; a lone one is shown at once. 0 saves no work.

        Raises:
            LibbpfError: Loading or attaching failed; nothing is left attached.
            PackageError: As :meth:`OpenSession.sources`.
            ValueError: It was started or closed before.
        """
        loading = self
        while True:
            try:
                return loading._start(latency_ms)
            except LibbpfError as error:
                following = loading._following(error) if loading.package.hooks else None
                if following is None:
                    raise
            following._sources = loading._sources
            loading = following

    def _start(self, latency_ms: float) -> Session:
        from ecli_runtime.session import Session  # here, since libbpf is loading meanwhile

        try:
            sources = self.sources
            self._loading.result()
        except BaseException:
            self.close()
            raise
        sys.setswitchinterval(self._switch_interval_s)
        loaded, self._loaded = self._loaded, None
        if loaded is None:
            raise ValueError("the session was started or closed before")
        return Session(self.package, loaded, sources, self._variables, self._hooks, latency_ms, self._page_counts)

    def close(self) -> None:
        """Unload it unless it was started, after waiting until it is loaded; a second call does nothing."""
        self._loading.wait()
        sys.setswitchinterval(self._switch_interval_s)
        self._hooks.close()
        if self._loaded is not None:
            self._loaded.close()
            self._loaded = None
        self._object.close()  # which owns nothing any more, unless loading failed


def _match_maps(package: Package, maps: list[OpenMap]) -> Mapping[str, MapSpec]:
    """Return what the package says of each map, by the name that libbpf gave it."""
    by_name = {each.name: each for each in maps}
    by_ident = {each.ident: each for each in maps if each.data_section}
    found = {}
    for index, spec in enumerate(package.maps):
        each = by_name.get(spec.name) or by_ident.get(spec.ident)
        if each is None:
            names = ", ".join(sorted(by_name)) or "none"
            path = f"$.meta.bpf_skel.maps[{index}].name"
            raise PackageError(f"the object has no map {spec.name!r}", path, f"maps in the object: {names}")
        found[each.name] = spec
    return found


def _check_programs(package: Package, names: list[str]) -> None:
    said = [(spec.name, f"$.meta.bpf_skel.progs[{index}].name") for index, spec in enumerate(package.programs)]
    for index, hook in enumerate(package.hooks):
        said += [(one.name, f"$.ecli.hooks[{index}]") for each in hook.alternatives for one in each.programs]
    for name, path in said:
        if name not in names:
            known = ", ".join(names) or "none"
            raise PackageError(f"the object has no program {name!r}", path, f"programs in the object: {known}")
