"""Which of a hook's alternatives serves: the first whose programs all have a place on this machine.

That is found out before anything is loaded. What only loading or attaching shows makes :func:`after_failure` name it, and the
choice is made again without it.
"""

from __future__ import annotations

import re

from ecli_runtime.attach.places import Absence, Machine
from ecli_runtime.attach.target import Request
from ecli_runtime.errors import TargetError
from ecli_schemas.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import TypeAlias

    from ecli_runtime.attach import Attacher, Plan
    from ecli_runtime.attach.options import AttachOptions
    from ecli_runtime.errors import LibbpfError
    from ecli_runtime.libbpf.object import OpenObject, Program
    from ecli_schemas.model import Alternative, Hook, HookProgram, Json, Package

    # Program and target, empty for that of its section → why loading or attaching failed.
    Failures: TypeAlias = Mapping[tuple[str, str], Absence]
    AskFamily: TypeAlias = Callable[[Request], Attacher]


class Refusal(Record):
    """Why an alternative does not serve.

    Attributes:
        alternative: Its name.
        program: The program that has no place, empty where the user left one out.
        where: What that would have been attached to: ``fentry/do_unlinkat``.
        absence: Why not.
        tried: Only loading or attaching it showed that.
    """

    alternative: str
    program: str
    where: str
    absence: Absence
    tried: bool = False


class Served(Record):
    """Which alternative serves a hook.

    Attributes:
        hook: Name of the hook.
        alternative: Name of the alternative; of those that the user asked for, with commas. Empty: none serves.
        programs: Its programs, each with what it is attached to: ``kprobe/filename_unlinkat``.
        refusals: Why those before it do not, and which of its targets do not.
        optional: The package does without.
        left_out: The user disabled all of them.
    """

    hook: str
    alternative: str
    programs: Mapping[str, str]
    refusals: tuple[Refusal, ...] = ()
    optional: bool = False
    left_out: bool = False


class Choice:
    """What was chosen for the hooks of a package.

    Attributes:
        members: Names of all programs of hooks.
        texts: Name of a program that is to be loaded → its target as ``--attach`` has it; ``None``: where its section says.
        served: What came of each hook.
        needed: Names of programs that are to be loaded and that the package does not do without.
        asked: Names of programs that the user asked for, and of those that go with them: no others take their place.
    """

    def __init__(self) -> None:
        self.members: set[str] = set()
        self.texts: dict[str, str | None] = {}
        self.served: list[Served] = []
        self.needed: set[str] = set()
        self.asked: set[str] = set()


def choose(
    opened: OpenObject,
    package: Package,
    options: AttachOptions,
    plan: Plan,
    ask_family: AskFamily,
    failures: Failures,
) -> Choice:
    """Choose an alternative for each hook of a package.

    Args:
        opened: The object.
        package: What it is from.
        options: What the user says. A program that ``--attach`` names brings its alternative, whatever speaks against it.
        plan: What requests belong to.
        ask_family: Finds the target of a program.
        failures: What was tried in vain before.

    Raises:
        TargetError: None is possible for a hook that must have one.
    """
    choice, programs, machine = Choice(), {each.name: each for each in opened.programs}, Machine()
    said: dict[str, Mapping[str, Json]] = {spec.name: spec.attach for spec in package.programs}

    def absence(program: Program, text: str | None) -> Absence | None:
        failed = failures.get((program.name, text or ""))
        if failed is not None:
            return failed
        is_upstream = package.format is None
        request = Request(opened, program, text, said.get(program.name, {}), is_upstream, options, set(), plan)
        return machine.absence(request, lambda: ask_family(request))

    for hook in package.hooks:
        members = [one.name for each in hook.alternatives for one in each.programs]
        choice.members.update(members)
        is_asked, is_on_request = bool(set(members) & options.targets.keys()), _is_on_request(hook, programs)
        if is_on_request and not is_asked:
            continue
        served, texts = _Chooser(hook, programs, options, absence, failures).choose()
        choice.served.append(served)
        choice.texts |= texts
        if is_asked:
            choice.asked |= texts.keys()
        if not hook.optional and not is_on_request:
            choice.needed |= texts.keys()
            if not served.alternative and not served.left_out:
                raise nothing_serves([served])
    return choice


def _is_on_request(hook: Hook, programs: Mapping[str, Program]) -> bool:
    """Tell whether a hook is one program with a question mark before its section, which only ``--attach`` brings."""
    return len(hook.alternatives) == 1 and not hook.optional and not any(programs[name].autoload for name in _names(hook))


def _names(hook: Hook) -> Iterator[str]:
    return (program.name for each in hook.alternatives for program in each.programs)


class _Chooser:
    """Chooses for one hook."""

    def __init__(
        self,
        hook: Hook,
        programs: Mapping[str, Program],
        options: AttachOptions,
        absence: Callable[[Program, str | None], Absence | None],
        failures: Failures,
    ) -> None:
        self._hook, self._programs, self._options = hook, programs, options
        self._absence, self._failures = absence, failures
        self._refusals: list[Refusal] = []

    def choose(self) -> tuple[Served, dict[str, str | None]]:
        """Return what came of it, and the targets of the programs that are to be loaded."""
        hook, disabled = self._hook, self._options.disabled
        asked = [each for each in hook.alternatives if any(one.name in self._options.targets for one in each.programs)]
        if asked:
            texts = {one.name: self._as_asked(each, one) for each in asked for one in each.programs if one.name not in disabled}
            return self._served(", ".join(each.name for each in asked), texts), texts
        left_out = 0
        for each in hook.alternatives:
            if any(one.name in disabled for one in each.programs):
                left_out += 1
                self._refusals.append(Refusal(each.name, "", "", Absence("--disable leaves it out")))
                continue
            found = self._try(each)
            if found is not None:
                return self._served(each.name, found), found
        return self._served("", {}, left_out == len(hook.alternatives)), {}

    def _served(self, name: str, texts: Mapping[str, str | None], left_out: bool = False) -> Served:
        programs = {each: _where(self._programs[each], text) for each, text in texts.items()}
        return Served(self._hook.name, name, programs, tuple(self._refusals), self._hook.optional, left_out)

    def _as_asked(self, alternative: Alternative, program: HookProgram) -> str | None:
        """Return the target that the user named, else the first that there is, else that of the section."""
        text = self._options.targets.get(program.name)
        return text or (self._place(alternative, program) or None)

    def _try(self, alternative: Alternative) -> dict[str, str | None] | None:
        """Return the target of each program of an alternative; ``None`` if one of them has none."""
        found: dict[str, str | None] = {}
        for program in alternative.programs:
            text = self._place(alternative, program)
            if text is None:
                return None
            found[program.name] = text or None
        return found

    def _place(self, alternative: Alternative, one: HookProgram) -> str | None:
        """Return the first target of a program that there is, empty for that of its section; ``None`` if there is none."""
        program = self._programs[one.name]
        for text in ("", *one.targets):
            absence = self._absence(program, text or None)
            if absence is None:
                return text
            tried = (one.name, text) in self._failures
            self._refusals.append(Refusal(alternative.name, one.name, _where(program, text or None), absence, tried))
            if absence.everywhere:
                break
        return None


def _where(program: Program, text: str | None) -> str:
    return program.section if text is None else f"{program.section.partition('/')[0]}/{text}"


def nothing_serves(hooks: list[Served]) -> TargetError:
    """Return the error that hooks have no alternative that is possible here: each with its reason, and with what may help."""
    lines = []
    for served in hooks:
        lines.append(f"hook {served.hook}: nothing of what could serve it is possible here")
        for each in served.refusals:
            hint = each.absence.hint
            who = f"{each.program or each.alternative} ({each.where})" if each.where else each.alternative
            lines.append(f"  {who}: {each.absence.reason}" + (f"; {hint}" if hint else ""))
    names = dict.fromkeys(each.program for served in hooks for each in served.refusals if each.program)
    if any(not each.program for served in hooks for each in served.refusals):
        return TargetError(
            "\n".join(lines), "leave out --disable for what could serve; `ecli-py doctor` shows what this kernel takes"
        )
    hint = f"`ecli-py doctor` shows what this kernel takes; {' '.join(f'--disable {name}' for name in names)} leaves it out"
    return TargetError("\n".join(lines), hint)


def after_failure(error: LibbpfError, plan: Plan, programs: list[Program]) -> tuple[tuple[str, str], Absence] | None:
    """Return which program and target failed, and why, so that its hook may have another one; ``None`` if that is final.

    Args:
        error: Why loading or attaching failed.
        plan: What was to be attached.
        programs: Those of the object.
    """
    choice = plan.choice
    name = plan.attaching or _named_in(error.log)
    if choice is None or name not in choice.texts or name in choice.asked:
        return None
    from ecli_runtime.permissions import missing, needed_for

    if missing(needed_for(each.type for each in programs if each.name == name)):
        return None  # the others would be refused, too
    text = str(error).removeprefix(f"{name}: ").splitlines()[0]
    return (name, choice.texts[name] or ""), Absence(text, lambda: error.hint)


def _named_in(text: str) -> str:
    """Return the program that libbpf could not load, by its log; empty if it names none."""
    found = re.findall(r"prog '([^']*)': (?:BPF program load failed|failed to (?:load|find|prepare|relocate))", text)
    return found[-1] if found else ""
