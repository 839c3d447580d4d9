"""Predicates: conditions on samples as data, which every backend runs before anything is decoded.

A predicate is a postfix program over one stack of values: integers of at most 65 bits with their sign, doubles, bytes.

===================================  =========================================================================
instruction                          stack
===================================  =========================================================================
``int, bit_offset, bits, signed``    push the integer of 1 to 64 bits at that place of the sample
``float, bit_offset, bits``          push the float of 32 or 64 bits
``string, byte_offset, size_bytes``  push the bytes up to the first NUL; size 0: up to the end of the sample
``const, value``                     push an integer, a double or bytes
``cmp, op``                          pop b and a, push ``a op b`` as 0 or 1: of two numbers, exactly; or of two
                                     strings of bytes
``bit_and``                          pop b and a, both integers, push ``a & b`` in two's complement
``glob``                             pop a pattern and a, push whether it matches all of a (see :func:`glob_regex`)
``contains``                         pop b and a, push whether b is somewhere in a
``and``, ``or``, ``not``             pop two (one) of 0 and 1, push 0 or 1
===================================  =========================================================================
"""

from __future__ import annotations

import struct

from ecli_schemas.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any, Literal, TypeAlias

    Instruction: TypeAlias = tuple[Any, ...]  # a name and its operands
    Code: TypeAlias = tuple[Instruction, ...]
    # A backend's term: how its values are joined ("" for one alone), and the texts of these values.
    Term: TypeAlias = tuple[str, list[str]]

# Beyond what a person writes; backends need no more memory than for that.
MAX_INSTRUCTIONS = 4096
MAX_STACK = 64

COMPARISONS = ("==", "!=", "<", "<=", ">", ">=")
# How many values each instruction takes; each gives one.
_TAKES = {"int": 0, "float": 0, "string": 0, "const": 0, "not": 1}

_INT_FORMATS = {8: "b", 16: "h", 32: "i", 64: "q"}
_FLOAT_FORMATS = {32: "f", 64: "d"}


class Predicate(Record):
    """A condition on samples of one type; its program leaves one value, 0 or 1."""

    code: Code


def stack_size(code: Iterable[Instruction]) -> int:
    """Return how many values the stack holds at most while a program runs."""
    size = most = 0
    for name, *_ in code:
        size += 1 - _TAKES.get(name, 2)
        most = max(most, size)
    return most


def glob_regex(pattern: bytes) -> str:
    r"""Return a regular expression for what a pattern matches.

    ``*`` stands for any number of characters, ``?`` for one, and ``\`` takes the next one literally. A character is one of
    UTF-8, or a byte that is part of none: what decoding with ``surrogateescape`` makes of bytes.
    """
    pieces = [""]
    escaped = False
    for character in pattern.decode("utf-8", "surrogateescape"):
        if not escaped and character == "*":
            pieces.append("")
        elif not escaped and character == "\\":
            escaped = True
            continue
        else:
            pieces[-1] += "." if character == "?" and not escaped else _escape(character)
        escaped = False
    if len(pieces) == 1:
        return f"(?s:{pieces[0]})"
    first, *middle, last = pieces
    # A piece that was found is never given back (each is found as early as can be): a hostile text costs no more than its
    # length times that of the pattern. Atomic groups exist since Python 3.11; a back reference to a lookahead is one.
    found = "".join(f"(?=(?P<g{at}>.*?{piece}))(?P=g{at})" for at, piece in enumerate(middle) if piece)
    return f"(?s:{first}{found}.*{last})"


def _escape(character: str) -> str:
    return character if character.isalnum() else f"\\U{ord(character):08x}"


def compile_predicate(predicate: Predicate, byteorder: Literal["little", "big"]) -> Callable[[bytes, int, int], bool]:
    """Return a function of (data, byte offset of a sample in it, length of the sample) that tells whether it is so.

    It is false of a sample too short to hold what is looked at, and raises nothing whatever the sample holds.
    """
    return _Compiler(byteorder).compile(predicate.code)


class _Compiler:
    """Makes the source of one Python function. All that reaches it are integers and names that are made up here."""

    def __init__(self, byteorder: Literal["little", "big"]) -> None:
        self.prefix = "<" if byteorder == "little" else ">"
        self.byteorder = byteorder
        self.names: dict[str, object] = {"from_bytes": int.from_bytes, "byteorder": byteorder}
        self.need_bytes = 0

    def compile(self, code: Code) -> Callable[[bytes, int, int], bool]:
        loads: dict[Instruction, str] = {}
        lines: list[str] = []
        for instruction in code:
            if instruction[0] in ("int", "float", "string") and instruction not in loads:
                load = self._load(*instruction)
                if code.count(instruction) > 1:
                    lines.append(f"value{len(lines)} = {load}")
                    load = f"value{len(lines) - 1}"
                loads[instruction] = load
        stack: list[Term] = []
        constants: list[Any] = [None]  # the constant that an instruction pushed, for the next one
        for instruction in code:
            constants.append(instruction[1] if instruction[0] == "const" else None)
            stack.append(("", [loads[instruction]]) if instruction in loads else self._apply(instruction, stack, constants[-2]))
        (result,) = stack
        body = [f"if length < {self.need_bytes}: return False", *lines, f"return True if {_text(result)} else False"]
        exec("def matches(data, at, length):\n    " + "\n    ".join(body), self.names)
        return self.names["matches"]  # type: ignore[return-value]

    def _name(self, value: object) -> str:
        """Return a name by which the function knows a value."""
        name = f"bound{len(self.names)}"
        self.names[name] = value
        return name

    def _load(self, name: str, offset: int, size: int, signed: bool = False) -> str:
        if name == "string":
            self.need_bytes = max(self.need_bytes, offset + size)
            end = f"at + {offset + size}" if size else "at + length"
            return f"data[at + {offset} : {end}].partition({self._name(bytes(1))})[0]"
        start, skipped = divmod(offset, 8)
        size_bytes = (skipped + size + 7) // 8
        self.need_bytes = max(self.need_bytes, start + size_bytes)
        letter = _FLOAT_FORMATS[size] if name == "float" else _INT_FORMATS.get(size)
        if letter and not skipped:
            if name == "int" and not signed:
                letter = letter.upper()
            return f"{self._name(struct.Struct(self.prefix + letter).unpack_from)}(data, at + {start})[0]"
        # A bitfield, as the reference decoder reads it.
        shift = skipped if self.byteorder == "little" else size_bytes * 8 - skipped - size
        text = f"from_bytes(data[at + {start} : at + {start + size_bytes}], byteorder) >> {shift} & {(1 << size) - 1}"
        sign = 1 << size - 1
        return f"(({text} ^ {sign}) - {sign})" if signed else f"({text})"

    def _apply(self, instruction: Instruction, stack: list[Term], constant: Any) -> Term:
        """Take an instruction's operands from the stack and return what it pushes; ``constant`` is the last, if it is one."""
        name, *operands = instruction
        if name == "const":
            (value,) = operands
            return "", [str(value) if isinstance(value, int) else self._name(value)]
        second = stack.pop()
        if name == "not":
            return "", [f"(not {_text(second)})"]
        first = stack.pop()
        if name in ("and", "or"):  # flat, or a long list would nest deeper than Python's parser can
            return name, [text for term in (first, second) for text in (term[1] if term[0] == name else [_text(term)])]
        if name == "glob":
            import re

            matches = self._name(re.compile(glob_regex(constant)).fullmatch)
            return "", [f'({matches}({_text(first)}.decode("utf-8", "surrogateescape")) is not None)']
        if name == "contains":
            return "", [f"({_text(second)} in {_text(first)})"]
        operator = "&" if name == "bit_and" else COMPARISONS[COMPARISONS.index(operands[0])]
        return "", [f"({_text(first)} {operator} {_text(second)})"]


def _text(term: Term) -> str:
    joined, texts = term
    return f"({f' {joined} '.join(texts)})" if joined else texts[0]
