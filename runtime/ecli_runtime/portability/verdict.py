"""The verdict: whether a package runs on a kernel, program by program, and why not.

The programs that `run` would load are looked at, with the options' defaults. Root's privileges and a current libbpf are taken for
granted, and so is what the verifier judges beyond which instructions, helpers and types a kernel has.
"""

from __future__ import annotations

from ecli_runtime.attach.options import AttachOptions
from ecli_runtime.btf import Btf
from ecli_runtime.code import section_bytes
from ecli_runtime.core.resolve import KernelTypes
from ecli_runtime.kernel_btf import embedded
from ecli_runtime.libbpf.object import OpenObject
from ecli_runtime.portability.kernel import KernelView
from ecli_runtime.portability.problem import Problem
from ecli_runtime.portability.programs import Judge
from ecli_runtime.portability.settings import set_options
from ecli_runtime.portability.targets import missing_target
from ecli_schemas.errors import PackageError
from ecli_schemas.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Literal, TypeAlias

    from ecli_runtime.libbpf.object import Program
    from ecli_runtime.portability.snapshot import Snapshot
    from ecli_schemas.model import Hook, Package

    Outcome: TypeAlias = Literal["runs", "alternative", "fails"]

_STRUCT_OPS = 27


class ProgramVerdict(Record):
    """What becomes of one program.

    Attributes:
        name: The program.
        section: Its section.
        problems: Why it cannot be loaded or attached; empty: it can.
        spare: It is one of several alternatives, so its problems need not matter.
    """

    name: str
    section: str
    problems: tuple[Problem, ...]
    spare: bool = False


class ServedHook(Record):
    """Which alternative serves a hook on a kernel.

    Attributes:
        name: Of the hook.
        alternative: Its name; empty: none is possible.
        programs: Name → what it is attached to, as ``kprobe/filename_unlinkat``.
        is_first: It is the one that the author prefers, at the place that its section names.
        optional: The package does without.
    """

    name: str
    alternative: str
    programs: dict[str, str]
    is_first: bool
    optional: bool


class Verdict(Record):
    """Whether a package runs on a kernel.

    Attributes:
        snapshot: The kernel.
        outcome: ``runs``, ``alternative`` (something else than what the author prefers serves), or ``fails``.
        problems: What keeps the whole object from being loaded.
        programs: Those that are loaded, or may be.
        hooks: What serves each hook.
    """

    snapshot: Snapshot
    outcome: Outcome
    problems: tuple[Problem, ...] = ()
    programs: tuple[ProgramVerdict, ...] = ()
    hooks: tuple[ServedHook, ...] = ()

    def reasons(self) -> Iterator[tuple[str, Problem]]:
        """Walk what makes it fail: program with its section, or empty text, and the problem."""
        for problem in self.problems:
            yield "", problem
        members = {one.name for one in self.programs if one.spare}
        unserved = any(not hook.alternative and not hook.optional for hook in self.hooks)
        for each in self.programs:
            if each.name not in members or unserved:
                for problem in each.problems:
                    yield f"{each.name} ({each.section})", problem


def check_package(
    package: Package, snapshot: Snapshot, options: AttachOptions | None = None, values: Mapping[str, str] | None = None
) -> Verdict:
    """Return whether a package runs on a kernel.

    Args:
        package: The package.
        snapshot: The kernel.
        options: What the user says of targets, as to `run`; ``None`` says nothing.
        values: Values of global variables, as text; others have their defaults.

    Raises:
        BtfError: The types of the kernel or of the object are damaged.
        ObjectError: It is no eBPF object that libbpf can open.
        OptionError: There is no such variable as the values are for, or one does not fit.
        TargetError: There is no such program as the options name.
    """
    try:
        data = package.object_for(snapshot.machine)
    except PackageError as error:
        return Verdict(snapshot, "fails", (Problem("machine", str(error), error.hint),))
    view, options = KernelView(snapshot), options or AttachOptions()
    with OpenObject.open(data, package.object_name) as opened:
        set_options(opened, package, values or {})
        judge = Judge(opened, data, Btf(section_bytes(data, ".BTF") or b""), view, _types(package, view))
        problems = [*judge.problems_of_types(), *judge.externs.problems, *judge.problems_of_maps()]
        targets = options.check_names(opened)
        by_name = {each.name: each for each in opened.programs if each.name not in options.disabled}
        members = {one.name for hook in package.hooks for each in hook.alternatives for one in each.programs}
        alone = [each for each in by_name.values() if each.name in targets or (each.autoload and each.name not in members)]
        named = {each.name for each in package.programs} | targets.keys()
        verdicts = []
        for program in alone:
            found = judge.problems_of_code(program)
            target = None
            if program.name in named and program.type != _STRUCT_OPS:
                target = missing_target(view, program, targets.get(program.name) or None)
            verdicts.append(_verdict(program, [*found, *([target] if target is not None else [])]))
        hooks = [hook for hook in package.hooks if _is_served(hook, by_name, targets)]
        served = [_Server(judge, view, by_name).serve(hook, verdicts) for hook in hooks]
    fails = problems or any(each.problems and not each.spare for each in verdicts)
    fails = fails or any(not hook.alternative and not hook.optional for hook in served)
    other = any(not hook.is_first for hook in served)
    outcome: Outcome = "fails" if fails else "alternative" if other else "runs"
    return Verdict(snapshot, outcome, tuple(problems), tuple(verdicts), tuple(served))


def _types(package: Package, view: KernelView) -> KernelTypes | None:
    """Return what relocations are resolved against."""
    if view.types is not None:
        return view.types
    kernel = view.snapshot
    brought = embedded(package, kernel.release, kernel.version, kernel.machine)
    return None if brought is None else KernelTypes(Btf(brought))


def _verdict(program: Program, problems: list[Problem], spare: bool = False) -> ProgramVerdict:
    return ProgramVerdict(program.name, program.section, tuple(problems), spare)


def _is_served(hook: Hook, programs: Mapping[str, Program], targets: Mapping[str, str]) -> bool:
    """Tell whether a choice is to be made for a hook: not where the user has made it, or all is ``SEC("?…")`` on request."""
    members = {one.name for each in hook.alternatives for one in each.programs}
    is_on_request = hook.optional and len(hook.alternatives) == 1
    is_on_request = is_on_request and not any(programs[name].autoload for name in members if name in programs)
    return not is_on_request and not members & targets.keys()


class _Server:
    """Finds what serves a hook.

    Args:
        judge: Judges programs.
        view: The kernel.
        programs: Those that may be loaded, by name.
    """

    def __init__(self, judge: Judge, view: KernelView, programs: Mapping[str, Program]) -> None:
        self._judge, self._view, self._programs = judge, view, programs

    def serve(self, hook: Hook, verdicts: list[ProgramVerdict]) -> ServedHook:
        """Return what serves a hook, and add what becomes of its programs up to that."""
        for position, alternative in enumerate(hook.alternatives):
            places: dict[str, str] = {}
            is_preferred = position == 0
            for one in alternative.programs:
                program = self._programs.get(one.name)
                if program is None:  # left out by the user
                    continue
                problems = self._judge.problems_of_code(program)
                missing = missing_target(self._view, program)
                others = [text for text in one.targets if missing is not None and self._has(program, text)]
                if missing is not None and not others:
                    problems.append(missing)
                is_preferred &= missing is None
                verdicts.append(_verdict(program, problems, spare=True))
                if not problems:
                    kind = program.section.partition("/")[0]
                    places[one.name] = f"{kind}/{others[0]}" if others else program.section
            if len(places) == len(alternative.programs):
                return ServedHook(hook.name, alternative.name, places, is_preferred, hook.optional)
        return ServedHook(hook.name, "", {}, False, hook.optional)

    def _has(self, program: Program, text: str) -> bool:
        return missing_target(self._view, program, text) is None
