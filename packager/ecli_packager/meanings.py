"""``@meaning`` in the comments of members: what they stand for, by the author's word.

The annotation belongs to the declaration of a struct, so it holds wherever the struct is: as an event, within one, in an array of
them, as key or value of a map.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ecli_runtime.btf import Array, Btf, Composite, Qualifier, Typedef
from ecli_runtime.decode.meaning import MEANINGS, PLAIN, misfits
from ecli_runtime.decode.plan import MAX_DEPTH, make_event_plan

if TYPE_CHECKING:
    from ecli_packager.comments import Comment
    from ecli_packager.describe import Sources
    from ecli_packager.dwarf import Declarations

_WORD = "meaning"


class Meanings:
    """What the author says of the members of his structs.

    Args:
        declared: What his files declare.
        sources: His files.

    Attributes:
        heeded: Comments of members of the types that were asked for.

    Raises:
        AnnotationError: An annotation cannot be understood.
    """

    def __init__(self, declared: Declarations, sources: Sources) -> None:
        self.heeded: list[Comment] = []
        self._said: dict[str, dict[str, Comment]] = {}  # C name of a struct → path in it → comment
        for struct in declared.structs:
            comments = {path: sources.member_comment(path.rpartition(".")[2], *at) for path, at in struct.members.items()}
            said = {path: comment for path, comment in comments.items() if _WORD in comment.annotations}
            for comment in said.values():
                _check_word(comment)
            if said:
                self._said[struct.c_name] = said

    def of(self, btf: Btf, type_id: int) -> dict[str, str]:
        """Return path → meaning of the members of a type.

        Raises:
            AnnotationError: One does not fit its member.
        """
        if not self._said or not type_id:
            return {}
        comments = dict(self._walk(btf, type_id, "", MAX_DEPTH))
        self.heeded += comments.values()
        said = {path: comment.text_of(_WORD) for path, comment in comments.items()}
        for path, words in misfits(make_event_plan(btf, type_id), said).items() if said else ():
            fitting = ", ".join(words)
            hint = f"one of {fitting}, or {PLAIN}" if words else f"no meaning fits its type; {PLAIN} is always right"
            raise comments[path].error(_WORD, f"{path} cannot be {said[path]!r} by its type", hint)
        return said

    def _walk(self, btf: Btf, type_id: int, outside: str, depth: int) -> Iterator[tuple[str, Comment]]:
        name, found = _named(btf, type_id)
        if not isinstance(found, Composite) or not depth:
            return
        before = f"{outside}." if outside else ""
        for path, comment in self._said.get(name, {}).items():
            yield before + path, comment
        for member in found.members:
            yield from self._walk(btf, member.type_id, before + member.name if member.name else outside, depth - 1)


def _named(btf: Btf, type_id: int) -> tuple[str, object]:
    """Return a struct or union, of an array its elements, and its C name as :class:`ecli_packager.dwarf.Struct` has it."""
    typedef = ""
    for _ in range(MAX_DEPTH):
        found = btf.type(type_id)
        if isinstance(found, Composite):
            return f"{found.keyword} {found.name}" if found.name else typedef, found
        if isinstance(found, Array):
            type_id, typedef = found.element, ""
        elif isinstance(found, (Typedef, Qualifier)):
            type_id, typedef = found.target, found.name or typedef
        else:
            break
    return "", None


def _check_word(comment: Comment) -> None:
    word = comment.text_of(_WORD)
    if word not in MEANINGS and word != PLAIN:
        near = difflib.get_close_matches(word, MEANINGS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"one of {', '.join(MEANINGS)}, or {PLAIN} for none"
        raise comment.error(_WORD, f"there is no meaning {word!r}", hint)
