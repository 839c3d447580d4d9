"""``@alternative``, ``@target`` and ``@optional`` in comments of programs: what serves where the first choice is missing."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ecli_schemas.dialects import MAX_TARGETS
from ecli_schemas.model import Alternative, Hook, HookProgram

if TYPE_CHECKING:
    from ecli_packager.comments import Comment
    from ecli_packager.dwarf import Declarations
    from ecli_runtime.libbpf.object import Program

_ALTERNATIVE, _TARGET, _OPTIONAL = "alternative", "target", "optional"
_NAMES = re.compile(r"([A-Za-z_][\w.-]*)(?:\s+([A-Za-z_][\w.-]*))?")
# enum bpf_prog_type: kprobe and all probes, tracepoint, raw tracepoint, writable, tracing, LSM. A run can tell, before it loads
# one, whether its place is there.
_TYPES_WITH_PLACES = frozenset((2, 5, 17, 24, 26, 29))


def hooks_of(programs: Sequence[Program], comments: Mapping[str, Comment], declared: Declarations) -> tuple[Hook, ...]:
    """Return the hooks that comments of programs tell of; alternatives are in the order of the source.

    Args:
        programs: The object's.
        comments: Name of a program → its comment.
        declared: What the author's files declare.

    Raises:
        AnnotationError: One of the annotations cannot be understood.
    """
    files = list(dict.fromkeys(declared.lines[each.name][0] for each in programs if each.name in declared.lines))
    said = [each for each in programs if comments[each.name].annotations.keys() & {_ALTERNATIVE, _TARGET, _OPTIONAL}]

    def place(program: Program) -> tuple[int, int]:
        file, line = declared.lines[program.name]  # a comment was found there
        return files.index(file), line

    groups: dict[tuple[bool, str], dict[str, list[Program]]] = {}  # of the author's name, or of a program's → alternatives
    for program in sorted(said, key=place):
        comment = comments[program.name]
        _check_optional(comment)
        named = _ALTERNATIVE in comment.annotations
        hook, way = _names(comment) if named else (program.name, program.name)
        groups.setdefault((named, hook), {}).setdefault(way or program.name, []).append(program)
    _check_groups(groups, comments)
    return tuple(_hook(name, ways, comments) for (_named, name), ways in groups.items())


def _hook(name: str, ways: Mapping[str, list[Program]], comments: Mapping[str, Comment]) -> Hook:
    programs = [program for group in ways.values() for program in group]
    optional = any(_OPTIONAL in comments[each.name].annotations for each in programs)
    if len(ways) > 1:
        optional = optional or not any(each.autoload for each in programs)
    alternatives = [
        Alternative(way, tuple(HookProgram(each.name, _targets(each, comments[each.name])) for each in group))
        for way, group in ways.items()
    ]
    return Hook(name, tuple(alternatives), optional)


def _names(comment: Comment) -> tuple[str, str]:
    """Return the names of the hook and of the alternative; the latter may be empty."""
    found = _NAMES.fullmatch(comment.text_of(_ALTERNATIVE))
    if found is None:
        message = f"expected the name of a hook, and maybe that of the alternative, got {comment.text_of(_ALTERNATIVE)!r}"
        raise comment.error(
            _ALTERNATIVE, message, "for example: @alternative unlink; programs that go together: @alternative io fentry"
        )
    return found[1], found[2] or ""


def _targets(program: Program, comment: Comment) -> tuple[str, ...]:
    if _TARGET not in comment.annotations:
        return ()
    if program.type not in _TYPES_WITH_PLACES:
        message = f'SEC("{program.section}") has no places that a kernel may lack'
        raise comment.error(_TARGET, message, "it is for probes, tracepoints, and functions of the kernel")
    targets = tuple(each.strip() for each in comment.text_of(_TARGET).split(","))
    if not all(targets) or len(targets) > MAX_TARGETS:
        message = f"expected up to {MAX_TARGETS} targets with commas between, got {comment.text_of(_TARGET)!r}"
        raise comment.error(_TARGET, message, "for example: @target filename_unlinkat")
    return targets


def _check_optional(comment: Comment) -> None:
    text = comment.text_of(_OPTIONAL)
    if text:
        raise comment.error(_OPTIONAL, f"it takes no value, got {text!r}", "begin a new line for what else there is to say")


def _check_groups(groups: Mapping[tuple[bool, str], Mapping[str, list[Program]]], comments: Mapping[str, Comment]) -> None:
    """Refuse a hook that has one alternative only, for its name may be a typing error, and one with the name of a program's."""
    names = [name for named, name in groups if named]
    for (named, name), ways in groups.items():
        if not named:
            continue
        (first, *_rest), *others = ways.values()
        comment = comments[first.name]
        if not others:
            near = difflib.get_close_matches(name, [each for each in names if each != name], n=1)
            hint = f"did you mean {near[0]}?" if near else "@optional alone says that a program may be missing"
            raise comment.error(_ALTERNATIVE, f"the hook {name} has no other alternative", hint)
        if (False, name) in groups:
            raise comment.error(
                _ALTERNATIVE, f"a program with annotations has the name {name}, too", "choose another for the hook"
            )
