"""The package as typed, immutable data. Both dialects, upstream's and ours, become one :class:`Package`."""

from __future__ import annotations

from .errors import PackageError
from .record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Literal, TypeAlias

    Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"
    SampleKind: TypeAlias = Literal["log2_hist", "linear_hist", "default_kv"]

FORMAT_VERSION = 1  # of our own dialect, ``$.ecli.format``


class Doc(Record):
    """What a package says about itself to people; empty text where it says nothing."""

    brief: str = ""
    details: str = ""
    version: str = ""
    description: str = ""
    license: str = ""
    homepage: str = ""


class Option(Record):
    """A global variable of the program that the user may set before it is loaded.

    Attributes:
        name: The C variable.
        section: ELF section that holds it: ``.rodata``, ``.data``, ``.bss`` or one of their dotted variants.
        type: C type as text, for people; the object's BTF decides.
        long: Long option without the dashes.
        short: One character, or empty.
        help: One or more sentences, or empty.
        default: Value applied when the user gives none; ``None`` leaves the C initialiser untouched.
        choices: Enumerator names, when the type is an enum.
    """

    name: str
    section: str
    type: str
    long: str
    short: str = ""
    help: str = ""
    default: Json = None
    choices: tuple[str, ...] = ()


class Sample(Record):
    """How often a map is read, and how its values are shown.

    Attributes:
        interval_ms: Milliseconds between two readings (at least 1).
        kind: ``log2_hist``, ``linear_hist`` or ``default_kv`` (key and value).
        unit: Unit of what is counted, for people.
        clear: Entries are removed once they have been read.
    """

    interval_ms: int
    kind: SampleKind = "default_kv"
    unit: str = ""
    clear: bool = False


class StackTrace(Record):
    """Samples of a map are stack traces: which member holds which part (upstream's ``field_map``)."""

    with_symbols: bool = True
    pid: str = "pid"
    cpu_id: str = "cpu_id"
    comm: str = "comm"
    kstack_sz: str = "kstack_sz"
    ustack_sz: str = "ustack_sz"
    kstack: str = "kstack"
    ustack: str = "ustack"


class MapSpec(Record):
    """A map that the package names.

    Attributes:
        name: As libbpf reports it after open (``events``, ``execsnoo.rodata``).
        ident: Stable C identifier (``events``, ``rodata``).
        mmaped: The map is memory-mapped (data sections are).
        sample: Set when user space reads the map periodically.
        stack_trace: Set when its samples are stack traces.
    """

    name: str
    ident: str
    mmaped: bool = False
    sample: Sample | None = None
    stack_trace: StackTrace | None = None


class ProgramSpec(Record):
    """A program that the package names.

    Attributes:
        name: The C function.
        section: ELF section name, which tells libbpf type and target (``tp/sched/sched_process_exec``).
        link: Informational upstream flag, always true there.
        attach: Extra attach parameters as upstream spells them (``ifindex``, ``flags``, ``xdpopts``, ``tchook``,
            ``tcopts``).
    """

    name: str
    section: str
    link: bool = True
    attach: Mapping[str, Json] = {}


class Member(Record):
    """A member of an event type.

    Attributes:
        name: C name; empty for an anonymous struct or union.
        type: C type as text; upstream writes ``composite`` and ``enum`` for those kinds.
        byte_offset: Offset from the start of the event, only in upstream's ``custom_members``; else ``None``: BTF
            decides.
        btf_id: BTF type id, only in upstream's ``custom_members``; else ``None``.
    """

    name: str
    type: str = ""
    byte_offset: int | None = None
    btf_id: int | None = None


class Tag(Record):
    """What tells a type of events from others of its size in the same map.

    Attributes:
        member: An integer or enum of the type, ``kind``, or one within structs, ``head.kind``.
        values: What it holds in events of this type.
    """

    member: str
    values: tuple[int, ...]


class EventType(Record):
    """The C type of an event.

    Attributes:
        name: Struct name, without ``struct``; may be empty when only ``btf_id`` is known.
        size_bytes: ``sizeof`` the type; ``None`` if the document does not say.
        btf_id: Type id in the object's own BTF; ``None`` if the document does not say.
        members: In order.
        layout: Ours only: the type as BTF describes it, nested, so that a reader with no BTF parser can decode.
        tag: Ours only: what tells it from another type of its size; ``None``: nothing, or there is no such type.
        meanings: Ours only: what members stand for by the author's word, by their dotted paths: ``head.saddr`` → ``ipv4``.
    """

    name: str
    size_bytes: int | None = None
    btf_id: int | None = None
    members: tuple[Member, ...] = ()
    layout: Mapping[str, Json] | None = None
    tag: Tag | None = None
    meanings: Mapping[str, str] = {}


class Export(Record):
    """Which events a map carries.

    Attributes:
        map: Map name; ``None`` (upstream's ``export_types``) stands for every ring buffer and perf event array with no
            export of its own.
        types: Candidates; several types in one map are told apart by the size of the sample, those of one size by their
            tags. Empty: the value type of the map's BTF.
    """

    map: str | None
    types: tuple[EventType, ...] = ()


class HookProgram(Record):
    """A program of an alternative.

    Attributes:
        name: The C function.
        targets: Where it is attached if there is no such place as its section names, in the words of ``--attach``; the first
            that there is serves.
    """

    name: str
    targets: tuple[str, ...] = ()


class Alternative(Record):
    """One way to serve a hook: programs that are loaded and attached together, or not at all.

    Attributes:
        name: ``fentry``, ``kprobe``, or the name of its only program.
        programs: At least one.
    """

    name: str
    programs: tuple[HookProgram, ...]


class Hook(Record):
    """Something that programs are there to see, and that one of several alternatives serves.

    Attributes:
        name: What the author calls it.
        alternatives: In the order of preference, at least one.
        optional: The package does without where there is none.
    """

    name: str
    alternatives: tuple[Alternative, ...]
    optional: bool = False


class Build(Record):
    """Provenance: which tools and which sources made the package. No timestamp, so that two builds give the same bytes.

    Attributes:
        tools: Tool name to version.
        sources: File name to ``sha256:…`` of its bytes.
    """

    tools: Mapping[str, str] = {}
    sources: Mapping[str, str] = {}


class Kernel(Record):
    """One build of Linux.

    Attributes:
        release: As ``uname -r`` has it.
        version: As ``uname -v`` has it; empty: every build of the release.
    """

    release: str
    version: str = ""


class KernelBtf(Record):
    """The types of some kernels, minimised: those that the object for a machine is relocated against.

    Attributes:
        machine: As ``uname -m`` has it.
        kernels: The kernels for which these are right.
        btf: A ``.BTF`` section, compressed with zlib, in base64: most are never looked at.
    """

    machine: str
    kernels: tuple[Kernel, ...]
    btf: str


# Facts about a program that matter to whoever lets it run, those that act before those that only read.
FACTS = (
    "writes_user_memory",  # bpf_probe_write_user
    "sends_signals",  # bpf_send_signal and its kin
    "overrides_returns",  # bpf_override_return, fmod_ret, registers written by a probe
    "drops_or_redirects_packets",  # XDP, TC, netfilter and other programs with a verdict on packets, redirecting helpers
    "modifies_packets",  # helpers that do, and stores into packets
    "denies_operations",  # LSM and cgroup programs that may refuse what a process asks for
    "changes_sockets",  # options and addresses of sockets, or which socket gets what
    "replaces_kernel_functions",  # struct_ops, freplace
    "other_effects",  # acts in a way that no other fact covers
    "reads_user_memory",
    "reads_kernel_memory",
)
READING_FACTS = frozenset(("reads_user_memory", "reads_kernel_memory"))


class ProgramBehaviour(Record):
    """A program of the object.

    Attributes:
        name: The C function.
        type: Program type as libbpf names it (``tracepoint``, ``sched_cls``); ``unspec`` for a section that it does not know.
        section: ELF section name: where the program attaches.
    """

    name: str
    type: str
    section: str


class MapBehaviour(Record):
    """A map of the object.

    Attributes:
        name: As libbpf reports it after open.
        type: Map type as libbpf names it (``ringbuf``, ``percpu_hash``).
        key_size_bytes: Size of a key.
        value_size_bytes: Size of a value, for one CPU if it is a per-CPU map.
        max_entries: Entries it can hold; bytes of a ring buffer; 0: decided when it is loaded.
        memory_bytes: Estimate of the kernel memory that it takes when it is full; ``None``: no bound is known.
        memory_per_cpu_bytes: Estimate of what it takes besides for each possible CPU.
    """

    name: str
    type: str
    key_size_bytes: int
    value_size_bytes: int
    max_entries: int
    memory_bytes: int | None = None
    memory_per_cpu_bytes: int = 0


class Behaviour(Record):
    """What an object can do, as its byte code and sections show it.

    Attributes:
        programs: In the order of the object.
        maps: In the order of the object, data sections included.
        helpers: Helpers called (``bpf_send_signal``), sorted; ``helper#300`` is one without a known name.
        kfuncs: Kernel functions called, sorted.
        facts: Name of each fact that holds (of :data:`FACTS`, in that order), and what shows it: helpers, kernel functions,
            programs.
    """

    programs: tuple[ProgramBehaviour, ...] = ()
    maps: tuple[MapBehaviour, ...] = ()
    helpers: tuple[str, ...] = ()
    kfuncs: tuple[str, ...] = ()
    facts: Mapping[str, tuple[str, ...]] = {}

    @property
    def only_observes(self) -> bool:
        """It changes nothing outside of its own maps."""
        return READING_FACTS.issuperset(self.facts)


class WasmLimits(Record):
    """What a Wasm module may use; ``None`` where the default is meant.

    Attributes:
        memory_bytes: Its memory.
        stack_bytes: Stack of its functions.
        batch_ms: Milliseconds for one batch of events, rounded up to tenths of a second.
        fuel: Instructions, roughly, for each event and each other call.
        emitted_bytes: What it may emit in one batch.
    """

    memory_bytes: int | None = None
    stack_bytes: int | None = None
    batch_ms: int | None = None
    fuel: int | None = None
    emitted_bytes: int | None = None

    def over(self, other: WasmLimits) -> WasmLimits:
        """Return these where they say something, else another's."""
        chosen = {name: getattr(self, name) for name in self._fields}
        return other.replace(**{name: value for name, value in chosen.items() if value is not None})


class WasmModule(Record):
    """A Wasm module that belongs to a package.

    Attributes:
        name: What people call it.
        code: The module. It may be hostile: only its size was checked.
        kind: ``handler``: the package's events pass through it.
        writes: Names of the maps that it may change, by the author's word; those that it names in imports it may read.
        wasi: It is given what of WASI cannot touch the machine.
        limits: What it may use.
    """

    name: str
    code: bytes
    kind: Literal["handler"] = "handler"
    writes: tuple[str, ...] = ()
    wasi: bool = False
    limits: WasmLimits = WasmLimits()


class Package(Record):
    """A package: inert, checked data.

    Attributes:
        name: What people call it (``execsnoop``).
        object_name: Name given to libbpf when the object is opened: internal map names begin with it, cut to 8
            characters.
        object: The ELF object, decompressed. It may still be hostile: only its size was checked.
        arches: Machines that ``object`` is for, as ``uname -m`` names them; empty: all of its byte order.
        objects: Machine → ELF object, for others.
        meanings: Of maps that are read, by their names: ``key`` and ``value`` → path of a member → what it stands for.
        results: Ours only: global variables that are read periodically as maps are, by their C names.
        kernel_btf: Ours only: types of kernels that may have none of their own.
        hooks: Whose programs are alternatives. No program is in two of them; those in none are always attached.
        behaviour: What the package says that its object can do; a claim until it is compared with the object. ``None``: it
            says nothing.
        wasm: Modules, in the order in which events pass through them.
        format: Version of our own format; ``None`` for a package in upstream's dialect.
        upstream_version: What upstream's compiler recorded about itself, or empty.
    """

    name: str
    object_name: str
    object: bytes
    arches: tuple[str, ...] = ()
    objects: Mapping[str, bytes] = {}
    doc: Doc = Doc()
    options: tuple[Option, ...] = ()
    maps: tuple[MapSpec, ...] = ()
    programs: tuple[ProgramSpec, ...] = ()
    exports: tuple[Export, ...] = ()
    poll_timeout_ms: int = 100
    perf_buffer_page_count: int = 64
    meanings: Mapping[str, Mapping[str, Mapping[str, str]]] = {}
    results: Mapping[str, Sample] = {}
    kernel_btf: tuple[KernelBtf, ...] = ()
    hooks: tuple[Hook, ...] = ()
    behaviour: Behaviour | None = None
    wasm: tuple[WasmModule, ...] = ()
    build: Build | None = None
    format: int | None = None
    upstream_version: str = ""

    def object_for(self, machine: str) -> bytes:
        """Return the object for a machine, named as ``uname -m`` does.

        Raises:
            PackageError: The package has none for it.
        """
        if machine in self.objects:
            return self.objects[machine]
        if not self.arches or machine in self.arches:
            return self.object
        known = ", ".join(sorted({*self.arches, *self.objects}))
        raise PackageError(f"the package has no object for {machine}, only for {known}", hint=f"build it with --arch {machine}")
