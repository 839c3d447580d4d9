"""Annotations that nothing reads, since they stand where they mean nothing: an author thinks that they do."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ecli_packager.comments import Comment

# Word → where it means something. Words that Doxygen and the kernel's comments use, too, are not among them.
_BELONGS_TO = {
    "cmdarg": "a variable that is an option",
    "sample": "a map, or a global variable",
    "intepreter": "a map",
    "interpreter": "a map",
    "export": "a ring buffer or perf event array",
    "meaning": "a member of a struct that an event is made of, or the key or value of a map that is read",
    "alternative": "a program",
    "tchook": "a program",
    "tcopts": "a program",
    "xdpopts": "a program",
}
_WORD = re.compile(rf"^(?:.*[;,{{}}])?\s*(?://+|/\*+|\*)[!<]*\s*@({'|'.join(_BELONGS_TO)})\b(?!:)")

OPTION_WORDS, RESULT_WORDS = frozenset(("cmdarg",)), frozenset(("sample",))
MAP_WORDS, EVENT_MAP_WORDS = frozenset(("sample", "intepreter")), frozenset(("export",))
PROGRAM_WORDS = frozenset(("alternative", "tchook", "tcopts", "xdpopts"))
MEMBER_WORDS = frozenset(("meaning",))


def unheeded(files: Mapping[str, Sequence[str]], heeded: Iterable[tuple[frozenset[str], Iterable[Comment]]]) -> Iterator[str]:
    """Yield a warning for each annotation that has no effect.

    Args:
        files: Name of each of the author's files, as comments have it → its lines.
        heeded: Words that mean something in some comments, and these.
    """
    places = {
        (comment.written[word].file, comment.written[word].at[0])
        for words, comments in heeded
        for comment in comments
        for word in words & comment.written.keys()
    }
    for file, lines in files.items():
        for number, line in enumerate(lines, 1):
            found = _WORD.match(line)
            if found and (file, number) not in places:
                where = f"{file}:{number}:{found.start(1)}"
                yield f"warning: {where}: @{found[1]} has no effect here: it is for {_BELONGS_TO[found[1]]}\n"
