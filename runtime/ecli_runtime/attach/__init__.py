"""Where programs are attached: what there is to say of it is found out before they are loaded, links are made after.

Each family of program types has a module, imported when a program of it is there: its ``prepare`` takes a
:class:`~ecli_runtime.attach.target.Request`, finds the target and raises what is wrong with it while nothing is loaded yet, and
returns an :data:`Attacher`. Programs whose section says all, and that nobody has said more of, need no family.
"""

from __future__ import annotations

from ecli_runtime.libbpf.object import Link

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator
    from typing import Protocol, TypeAlias

    from ecli_runtime.attach.alternatives import Choice, Failures, Served
    from ecli_runtime.attach.options import AttachOptions
    from ecli_runtime.attach.target import Request
    from ecli_runtime.libbpf.object import LoadedObject, LoadedProgram, OpenObject, Program
    from ecli_schemas.model import Package

    class Attached(Protocol):
        """What keeps a program attached. Closing it detaches the program, and so does the end of the process, if it can."""

        closing_takes: tuple[int, ...]  # bits of capabilities

        @property
        def pinnable_fd(self) -> int | None:
            """Descriptor of what can be pinned, or ``None``."""

        def stay(self) -> None:
            """Let closing it leave attached what is pinned."""

        def close(self) -> None:
            """Detach; a second call does nothing."""

    # Attaches a program and yields what keeps it attached, as it is made; the caller owns that, also when a later one fails.
    Attacher: TypeAlias = Callable[[LoadedProgram, LoadedObject], Iterator[Attached]]

# enum bpf_prog_type, include/uapi/linux/bpf.h → module
_FAMILIES = {
    1: "sockets",  # SOCKET_FILTER
    2: "probes",  # KPROBE: uprobes, USDT and the multi forms are of that type, too
    3: "interfaces",  # SCHED_CLS
    5: "tracing",  # TRACEPOINT
    6: "interfaces",  # XDP
    7: "clock",  # PERF_EVENT
    8: "cgroups",  # CGROUP_SKB
    9: "cgroups",  # CGROUP_SOCK
    13: "cgroups",  # SOCK_OPS
    14: "sockets",  # SK_SKB
    15: "cgroups",  # CGROUP_DEVICE
    16: "sockets",  # SK_MSG
    17: "tracing",  # RAW_TRACEPOINT
    18: "cgroups",  # CGROUP_SOCK_ADDR
    22: "namespaces",  # FLOW_DISSECTOR
    23: "cgroups",  # CGROUP_SYSCTL
    24: "tracing",  # RAW_TRACEPOINT_WRITABLE
    25: "cgroups",  # CGROUP_SOCKOPT
    26: "tracing",  # TRACING: typed raw tracepoints, fentry, fexit, fmod_ret, iterators
    28: "tracing",  # EXT
    29: "tracing",  # LSM
    30: "namespaces",  # SK_LOOKUP
    31: "once",  # SYSCALL
    32: "namespaces",  # NETFILTER
}
_BY_SECTION = frozenset((5, 17, 24, 26))
_KPROBE, _TRACEPOINT, _STRUCT_OPS, _SYSCALL = 2, 5, 27, 31
_MAP_TYPE_PROG_ARRAY = 3


class Plan:
    """What is to be attached, and how. Made by :func:`prepare`; it is to be attached, or closed.

    Attributes:
        finite: Nothing comes any more once it is attached, and what iterators show is read.
        has_iterators: Some of them are iterators, which somebody must read.
        needs_tracefs: libbpf looks up targets in tracefs.
        optional: Names of the programs that the package does without: that are only loaded when the user asks for them, and those
            of optional hooks.
        choice: What was chosen for the hooks of the package; ``None`` if it has none.
        attaching: Name of the program that is being attached, or that could not be; empty before and after.
    """

    def __init__(self) -> None:
        self._attachers: list[tuple[str, Attacher]] = []
        self._map_names: list[str] = []  # of type struct_ops, which are attached themselves
        self._held: list[Attached] = []  # descriptors that loading needs
        self.finite = False
        self.has_iterators = False
        self.needs_tracefs = False
        self.optional: frozenset[str] = frozenset()
        self.choice: Choice | None = None
        self.attaching = ""

    def add(self, program: Program, attacher: Attacher) -> None:
        """Add a program."""
        self._attachers.append((program.name, attacher))
        self.needs_tracefs |= program.type == _TRACEPOINT or (program.type == _KPROBE and _is_in_tracefs(program.section))

    def add_struct_ops(self, name: str) -> None:
        """Add a map of callbacks."""
        self._map_names.append(name)

    def hold(self, resource: Attached) -> None:
        """Own something that is needed until the object is loaded."""
        self._held.append(resource)

    @property
    def hooks(self) -> tuple[Served, ...]:
        """Which alternative serves each hook of the package."""
        return () if self.choice is None else tuple(self.choice.served)

    @property
    def empty(self) -> bool:
        """Whether nothing is to be attached."""
        return not self._attachers and not self._map_names

    def attach(self, loaded: LoadedObject, only: Collection[str] | None = None) -> Iterator[tuple[str, Attached]]:
        """Attach all of it and yield what keeps it attached, as it is made; the caller owns that, also when a later one fails.

        With each comes the name of its program; of callbacks that of their map.

        Args:
            loaded: The object.
            only: Names of those that were detached since and are attached again; ``None``: it is the first time, for all.

        Raises:
            AttachError: Something could not be attached.
        """
        self.close()
        programs = {each.name: each for each in loaded.programs}
        for name, attacher in self._attachers:
            if only is None or name in only:
                self.attaching = name
                for link in attacher(programs[name], loaded):
                    yield name, link
        self.attaching = ""
        if self._map_names:
            from ecli_runtime.attach.struct_ops import attach_map

            for each in loaded.maps:
                if each.name in self._map_names and (only is None or each.name in only):
                    yield each.name, attach_map(each)

    def close(self) -> None:
        """Let go of what only loading needs; a second call does nothing."""
        while self._held:
            self._held.pop().close()


def prepare(
    opened: OpenObject,
    package: Package,
    options: AttachOptions | None = None,
    has_sources: bool = True,
    failures: Failures | None = None,
) -> Plan:
    """Find out where the programs of an object go, and tell it what it must know of that before it is loaded.

    Args:
        opened: The object.
        package: What it is from: the programs that it names are attached.
        options: What the user says of it; ``None`` says nothing.
        has_sources: Whether there is something that events may still come from when all is attached.
        failures: Programs of hooks that could not be loaded or attached before, with their targets.

    Raises:
        TargetError: A target is missing, or no target for its program; or a hook has no alternative that is possible.
    """
    plan = Plan()
    plan.optional = frozenset(program.name for program in opened.programs if not program.autoload)
    taken: set[str] = set()  # shortcuts that serve a program
    endless = False
    try:
        if package.hooks:
            plan.choice = _choose(opened, package, options, plan, failures or {})
            plan.optional -= plan.choice.needed
        for program, text in _wanted(opened, package, options, plan.choice):
            is_iterator = program.is_iterator
            plan.has_iterators |= is_iterator
            # A program that was run may have started a timer.
            endless |= has_sources if program.type == _SYSCALL else not is_iterator
            if text is None and program.type in _BY_SECTION and "/" in program.section and not is_iterator:
                plan.add(program, _by_section)
            else:
                plan.add(program, _ask_family(opened, package, program, text, options, taken, plan))
        for each in opened.maps:
            if each.is_struct_ops and not (options is not None and each.name in options.disabled):
                from ecli_runtime.attach.struct_ops import prepare_map

                if prepare_map(each):
                    plan.add_struct_ops(each.name)
                    endless = True
        if options is not None:
            options.check_used(taken, plan.empty)
        if plan.empty:
            _check_optional(opened, plan)
    except BaseException:
        plan.close()
        raise
    plan.finite = not endless and not plan.empty
    return plan


def _is_in_tracefs(section: str) -> bool:
    """Tell whether libbpf looks up a probe in tracefs: those of many functions, and where probes are no perf events yet.

    They are since Linux 4.17 (e12f03d7031a, 33ea4b24277b); without kprobes, libbpf tries the old way all the same.
    """
    import os

    kind = section.lstrip("?").partition("/")[0]
    if kind.endswith((".multi", ".session")):
        return kind.startswith("k")
    return not os.path.exists(f"/sys/bus/event_source/devices/{'uprobe' if kind.startswith('u') else 'kprobe'}/type")


def _choose(opened: OpenObject, package: Package, options: AttachOptions | None, plan: Plan, failures: Failures) -> Choice:
    from ecli_runtime.attach.alternatives import choose
    from ecli_runtime.attach.options import AttachOptions

    options = options or AttachOptions()
    options.check_names(opened)
    choice = choose(opened, package, options, plan, _find_target, failures)
    plan.optional |= choice.texts.keys() - choice.needed
    return choice


def _wanted(
    opened: OpenObject, package: Package, options: AttachOptions | None, choice: Choice | None
) -> Iterator[tuple[Program, str | None]]:
    """Yield the programs to be attached in the package's order, each with what ``--attach`` says; say which shall be loaded."""
    called: frozenset[str] = frozenset()  # by others, so they are loaded and not attached
    if any(each.type == _MAP_TYPE_PROG_ARRAY for each in opened.maps):
        called = _tail_called(opened, package)
    targets, disabled = ({}, ()) if options is None else (options.check_names(opened), options.disabled)
    order = {spec.name: position for position, spec in enumerate(package.programs)}
    for hook in package.hooks:  # alternatives go where that one goes which is listed
        names = [one.name for each in hook.alternatives for one in each.programs]
        place = min((order[name] for name in names if name in order), default=len(order))
        order |= dict.fromkeys(names, place)
    for program in sorted(opened.programs, key=lambda each: order.get(each.name, len(order))):
        if program.name in disabled:
            if program.name not in called:
                program.set_autoload(False)
        elif program.name in targets:
            program.set_autoload(True)
            yield program, targets[program.name] or (None if choice is None else choice.texts.get(program.name))
        elif choice is not None and program.name in choice.members:
            program.set_autoload(program.name in choice.texts)
            if program.name in choice.texts:
                yield program, choice.texts[program.name]
        # libbpf's skeletons do not attach what is not loaded either (bpf_object__attach_skeleton). Callbacks go with their map.
        elif program.name in order and program.autoload and program.name not in called and program.type != _STRUCT_OPS:
            yield program, None


def _ask_family(
    opened: OpenObject,
    package: Package,
    program: Program,
    text: str | None,
    options: AttachOptions | None,
    taken: set[str],
    plan: Plan,
) -> Attacher:
    from ecli_runtime.attach.options import AttachOptions
    from ecli_runtime.attach.target import Request

    said = next((spec.attach for spec in package.programs if spec.name == program.name), {})
    return _find_target(Request(opened, program, text, said, package.format is None, options or AttachOptions(), taken, plan))


def _find_target(request: Request) -> Attacher:
    from importlib import import_module

    family = _FAMILIES.get(request.program.type)
    if family is None or request.program.section.endswith(("/devmap", "/cpumap")):
        raise request.unattachable()
    attacher: Attacher = import_module(f"ecli_runtime.attach.{family}").prepare(request)
    return attacher


def attach_loaded(loaded: LoadedObject, program: LoadedProgram, target: str | None, options: AttachOptions) -> list[Attached]:
    """Attach one program of an object that somebody else drives, when it is loaded; return what keeps it attached.

    Args:
        loaded: The object.
        program: The program, one of it.
        target: Where it goes, in the words of ``--attach``; ``None``: where its section says, or a shortcut of the options.
        options: What the user says of it; targets count where none is given.

    Raises:
        TargetError: It needs a target, or has one that it cannot be attached to.
        AttachError: libbpf or the kernel refused.
    """
    from ecli_runtime.attach.target import Request

    plan = Plan()
    links: list[Attached] = []
    text = options.targets.get(program.name) if target is None else target
    if text is None and program.type in _BY_SECTION and "/" in program.section and not program.is_iterator:
        plan.add(program, _by_section)
    else:
        plan.add(program, _find_target(Request(loaded, program, text, {}, False, options, set(), plan)))

    def attach() -> None:
        links.extend(link for _name, link in plan.attach(loaded))

    try:
        if plan.needs_tracefs:
            from ecli_runtime.mounts import with_tracefs

            with_tracefs(attach)
        else:
            attach()
    except BaseException:
        for link in links:
            link.close()
        raise
    return links


def _check_optional(opened: OpenObject, plan: Plan) -> None:
    refused = [each for each in plan.hooks if each.refusals and not each.left_out]
    if refused:
        from ecli_runtime.attach.alternatives import nothing_serves

        raise nothing_serves(refused)
    optional = [program.name for program in opened.programs if not program.autoload]
    if optional:
        from ecli_runtime.errors import TargetError

        raise TargetError("nothing to attach: each program is optional", f"--attach PROG loads one of {', '.join(optional)}")


def _by_section(program: LoadedProgram, _loaded: LoadedObject) -> Iterator[Link]:
    from ecli_runtime.errors import AttachError

    try:
        yield program.attach()
    except AttachError as error:
        from ecli_runtime.attach.tracing import explained

        raise explained(error, program) from error


def _tail_called(opened: OpenObject, package: Package) -> frozenset[str]:
    """Return the names of programs that a map holds from the beginning, for others to call."""
    import os

    from ecli_runtime.code import functions_in_data

    named = functions_in_data(package.object_for(os.uname().machine), ".maps")
    return frozenset(each.name for each in opened.programs if each.name in named)
