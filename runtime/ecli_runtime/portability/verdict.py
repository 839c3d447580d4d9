"""The verdict: whether a package runs on a kernel, program by program, and why not.

The programs that `run` would load are looked at, with the options' defaults. Root's privileges and a current libbpf are taken for
granted, and so is what the verifier judges beyond which instructions, helpers and types a kernel has.
"""

from __future__ import annotations

from ecli_runtime.btf import Btf
from ecli_runtime.code import section_bytes
from ecli_runtime.core.resolve import KernelTypes
from ecli_runtime.kernel_btf import embedded
from ecli_runtime.libbpf.object import OpenObject
from ecli_runtime.portability.kernel import KernelView
from ecli_runtime.portability.problem import Problem
from ecli_runtime.portability.programs import Judge
from ecli_runtime.portability.targets import missing_target
from ecli_schemas.errors import PackageError
from ecli_schemas.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
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


def check_package(package: Package, snapshot: Snapshot) -> Verdict:
    """Return whether a package runs on a kernel.

    Raises:
        BtfError: The types of the kernel or of the object are damaged.
        ObjectError: It is no eBPF object that libbpf can open.
    """
    try:
        data = package.object_for(snapshot.machine)
    except PackageError as error:
        return Verdict(snapshot, "fails", (Problem("machine", str(error), error.hint),))
    view = KernelView(snapshot)
    with OpenObject.open(data, package.object_name) as opened:
        judge = Judge(opened, data, Btf(section_bytes(data, ".BTF") or b""), view, _types(package, view))
        problems = [*judge.problems_of_types(), *judge.externs.problems, *judge.problems_of_maps()]
        named = {each.name for each in package.programs}
        hooks = [hook for hook in package.hooks if not _is_on_request(hook, opened.programs)]
        members = {one.name for hook in package.hooks for each in hook.alternatives for one in each.programs}
        wanted = {one.name for hook in hooks for each in hook.alternatives for one in each.programs}
        verdicts = []
        found: dict[str, list[Problem]] = {}
        for program in opened.programs:
            if program.name in wanted or (program.autoload and program.name not in members):
                found[program.name] = judge.problems_of_code(program)
        for program in opened.programs:
            if program.name in found and program.name not in wanted:
                mine = list(found[program.name])
                target = missing_target(view, program) if program.name in named and program.type != _STRUCT_OPS else None
                verdicts.append(_verdict(program, [*mine, *([target] if target is not None else [])]))
        by_name = {each.name: each for each in opened.programs}
        served = [_serve(hook, by_name, view, found, verdicts) for hook in hooks]
    fails = problems or any(each.problems and not each.spare for each in verdicts)
    fails = fails or any(not hook.alternative and not hook.optional for hook in served)
    other = any(not hook.is_first for hook in served)
    return Verdict(
        snapshot, "fails" if fails else "alternative" if other else "runs", tuple(problems), tuple(verdicts), tuple(served)
    )


def _types(package: Package, view: KernelView) -> KernelTypes | None:
    """Return what relocations are resolved against."""
    if view.types is not None:
        return view.types
    kernel = view.snapshot
    brought = embedded(package, kernel.release, kernel.version, kernel.machine)
    return None if brought is None else KernelTypes(Btf(brought))


def _verdict(program: Program, problems: list[Problem], spare: bool = False) -> ProgramVerdict:
    return ProgramVerdict(program.name, program.section, tuple(problems), spare)


def _is_on_request(hook: Hook, programs: list[Program]) -> bool:
    """Tell whether a hook is only served when the user asks: all of its programs are ``SEC("?…")``, which it may do without."""
    members = {one.name for each in hook.alternatives for one in each.programs}
    return hook.optional and len(hook.alternatives) == 1 and not any(each.autoload for each in programs if each.name in members)


def _serve(
    hook: Hook, programs: dict[str, Program], view: KernelView, found: dict[str, list[Problem]], verdicts: list[ProgramVerdict]
) -> ServedHook:
    """Return what serves a hook, and add what becomes of its programs up to that."""
    for position, alternative in enumerate(hook.alternatives):
        places: dict[str, str] = {}
        is_own_place = True
        for one in alternative.programs:
            program = programs[one.name]
            kind = program.section.partition("/")[0]
            own = missing_target(view, program)
            others = [text for text in one.targets if own is not None and missing_target(view, program, text) is None]
            problems = [*found[one.name], *([own] if own is not None and not others else [])]
            is_own_place &= own is None
            verdicts.append(_verdict(program, problems, spare=True))
            if not problems:
                places[one.name] = f"{kind}/{others[0]}" if others else program.section
        if len(places) == len(alternative.programs):
            return ServedHook(hook.name, alternative.name, places, position == 0 and is_own_place, hook.optional)
    return ServedHook(hook.name, "", {}, False, hook.optional)
