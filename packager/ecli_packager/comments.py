"""Comments that belong to a declaration, and the annotations in them.

An annotation is ``@word`` and a value: JSON, which may go over several lines, or plain text up to the end of the line. It stands
at the beginning of a comment's line, or right behind another one; elsewhere it is prose. The words are those of upstream's
compiler, its misspelt ``@intepreter`` included.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ecli_packager.errors import AnnotationError

if TYPE_CHECKING:
    from ecli_schemas.model import Json

# Word → whether its value must be JSON. What else begins with @ is Doxygen's and means nothing here.
WORDS = {
    "cmdarg": True,
    "value": True,
    "sample": True,
    "intepreter": True,
    "interpreter": True,
    "tchook": True,
    "tcopts": True,
    "xdpopts": True,
    "ifindex": True,
    "flags": True,
    "export": False,
    "meaning": False,
    "alternative": False,
    "target": False,
    "optional": False,
    "description": False,
    "brief": False,
    "details": False,
    "version": False,
    "license": False,
    "homepage": False,
}
_TRAILING_COMMENT = re.compile(r"(?<=[;,{}])\s*(//.*|/\*.*\*/)$")
_ALIASES = {"interpreter": "intepreter"}
# Words of Doxygen that are nearer to one of ours than a typing error would be.
_DOXYGEN = frozenset(("detail", "versions", "licence", "flag", "values", "sa", "brief", "short", "param", "return", "note"))


@dataclass(frozen=True)
class Written:
    """The value of an annotation as it is written.

    Attributes:
        file: Name of the source.
        text: The value; in JSON that goes over several lines, without the marks of the comment.
        places: (line, column) of each of its characters, from 1.
        at: (line, column) of the word.
    """

    file: str
    text: str
    places: list[tuple[int, int]]
    at: tuple[int, int]

    def place(self, key: str = "") -> str:
        """Return file, line and column of the value, or of what a key in it stands for."""
        found = re.search(rf'"{re.escape(key)}"\s*:\s*', self.text) if key else None
        line, column = self.places[min(found.end() if found else 0, len(self.places) - 1)]
        return f"{self.file}:{line}:{column}"


@dataclass(frozen=True)
class Comment:
    """The comment of a declaration.

    Attributes:
        text: Its plain text, the lines joined by blanks.
        annotations: Word → value.
        written: Word → its value as it is written.
    """

    text: str = ""
    annotations: dict[str, Json] = field(default_factory=dict)
    written: dict[str, Written] = field(default_factory=dict, compare=False, repr=False)

    def text_of(self, word: str) -> str:
        """Return the value of an annotation as text, empty if it is not there."""
        value = self.annotations.get(word, "")
        return value if isinstance(value, str) else json.dumps(value)

    def error(self, word: str, message: str, hint: str = "", key: str = "") -> AnnotationError:
        """Return the error that the value of an annotation is wrong, or what a key in it stands for."""
        shown = f"@{word}: {key}: " if key else f"@{word}: "
        return AnnotationError(f"{self.written[word].place(key)}: {shown}{message}", hint)


def comment_at(file: str, lines: list[str], line: int, member: str = "") -> Comment:
    """Return the comment of the declaration that begins on a line: behind it, else the block right above it.

    Where there are both, the text is that of the one behind it, and the annotations are those of both.

    Args:
        file: Name of the source, for errors.
        lines: The source, a line each.
        line: Number of the line, from 1.
        member: Name of the member of a struct that is declared there, maybe beside others.

    Raises:
        AnnotationError: The value of an annotation is not the JSON that it should be.
    """
    if not 0 < line <= len(lines):
        return Comment()
    above = _parse(file, list(_block_above(lines, _first_line(lines, line))))
    pattern = rf"\b{re.escape(member)}\b[^;]*;\s*(//.*|/\*.*?\*/)" if member else r"[;,]\s*(//.*|/\*.*\*/)\s*$"
    found = re.search(pattern, lines[line - 1])
    if found is None:
        return above
    behind = _parse(file, [(line, found.start(1), found[1])])
    return Comment(behind.text, {**above.annotations, **behind.annotations}, {**above.written, **behind.written})


def head_comment(lines: list[str]) -> str:
    """Return the first paragraph of the comment that a file begins with; lines for tools and of the license do not count."""
    block: list[str] = []
    for line in lines:
        text = line.strip()
        if not text.startswith(("//", "/*", "*")) and not (block and text.endswith("*/")):
            break
        block.append(_strip(line)[1])
        if text.endswith("*/"):
            break
    paragraph: list[str] = []
    for text in block:
        if re.search(r"SPDX-License-Identifier|[Cc]opyright|\(c\)|^go:build |^\+build |-\*-.*-\*-|^clang-format o", text):
            continue
        if not text and paragraph:
            break
        if text:
            paragraph.append(text)
    return " ".join(paragraph)


def _first_line(lines: list[str], line: int) -> int:
    """Go up from the line that names something to the one that its declaration begins on (``SEC("…")``, the return type)."""
    while line > 1:
        above = _TRAILING_COMMENT.sub("", lines[line - 2].strip())
        if not above or above.endswith((";", "}", "*/", "{")) or above.startswith(("//", "#", "*")):
            break
        line -= 1
    return line


def _block_above(lines: list[str], line: int) -> Iterator[tuple[int, int, str]]:
    """Yield (line, column, text) of the comment that ends right above a line."""
    at = line - 2
    if at < 0:
        return
    first = at
    if lines[at].rstrip().endswith("*/"):
        while first >= 0 and "/*" not in lines[first]:
            first -= 1
        if first < 0 or not lines[first].lstrip().startswith("/*"):  # it is behind another declaration
            return
    else:
        while first >= 0 and lines[first].lstrip().startswith("//"):
            first -= 1
        first += 1
    for index in range(first, at + 1):
        yield index + 1, 0, lines[index]


def _strip(line: str) -> tuple[int, str]:
    """Return the text of a comment's line without its marks, and the column where it begins."""
    begin = re.match(r"\s*(/\*+[!<]*|//+[!<]*|\*(?!/))?\s*", line)
    assert begin is not None
    return begin.end(), re.sub(r"\s*\*+/\s*$", "", line[begin.end() :]).rstrip()


def _parse(file: str, block: list[tuple[int, int, str]]) -> Comment:
    # All text in one string, and where each of its characters is from.
    text, places = "", []
    for line, column, raw in block:
        start, stripped = _strip(raw)
        places += [(line, column + start + index + 1) for index in range(len(stripped) + 1)]
        text += stripped + "\n"
    plain: list[str] = []
    annotations: dict[str, Json] = {}
    written: dict[str, Written] = {}
    at = 0  # behind the last annotation
    for found in re.finditer(r"@(\w+)[ \t]*", text):
        line_start = text.rfind("\n", 0, found.start()) + 1
        if found.start() < at or text[max(at, line_start) : found.start()].strip():
            continue
        word = found[1]
        if word not in WORDS:
            _check_typo(file, places[found.start()], word)
            continue
        plain.append(text[at : found.start()])
        value, at = _value(file, places, word, text, found.end())
        name = _ALIASES.get(word, word)
        annotations[name] = value
        begin = at - len(text[found.end() : at].lstrip())
        written[name] = Written(file, text[begin:at], places[begin : at + 1], places[found.start()])
    plain.append(text[at:])
    return Comment(" ".join(" ".join(plain).split()), annotations, written)


def _value(file: str, places: list[tuple[int, int]], word: str, text: str, start: int) -> tuple[Json, int]:
    """Return the value that begins at an index, and the index behind it."""
    end = text.index("\n", start)
    if not WORDS[word]:
        return text[start:end].strip(), end
    begin = start + len(text[start:]) - len(text[start:].lstrip())
    try:
        value, after = json.JSONDecoder().raw_decode(text, begin)
    except json.JSONDecodeError as error:
        line, column = places[min(error.pos, len(places) - 1)]
        raise AnnotationError(
            f"{file}:{line}:{column}: @{word}: not JSON: {error.msg}",
            "quote names and text with \", and keep the value's braces paired",
        ) from error
    return value, after


def _check_typo(file: str, place: tuple[int, int], word: str) -> None:
    near = difflib.get_close_matches(word, WORDS, n=1, cutoff=0.8)
    if near and word not in _DOXYGEN:
        line, column = place
        raise AnnotationError(f"{file}:{line}:{column}: there is no annotation @{word}", f"did you mean @{near[0]}?")
