r"""The expression language of ``--where``: text and a plan in, a predicate out. docs/where.md tells users.

::

    condition  = all ("or" | "||") all …
    all        = one ("and" | "&&") one …
    one        = ("not" | "!") one | comparison
    comparison = operand [("==" | "=" | "!=" | "<" | "<=" | ">" | ">=" | "=~" | "!~" | "in" | "not" "in") operand …]
    operand    = masked ("|" masked …)                  of literals alone
    masked     = primary ("&" primary …)
    primary    = number | text | address | "true" | "false" | member | "(" condition ")"
    member     = ["."] name ("." name | "[" number "]")…
    right of "in": "(" operand "," … ")", an address with a prefix, or a member that is text

What a literal means depends on what it is compared with (the unit of a duration, the enum of a name), so literals stay as they
are written until the member beside them is known.
"""

from __future__ import annotations

from ecli_runtime.decode.predicate import COMPARISONS, MAX_INSTRUCTIONS, MAX_STACK, Predicate, compile_predicate, stack_size
from ecli_runtime.decode.where_tokens import KEYWORDS, QUOTING, Literal, read_number, read_text, tokenize
from ecli_runtime.decode.where_values import (
    Scope,
    UnknownNameError,
    condition_value,
    joined,
    members_of,
    negated,
    unknown_member,
)
from ecli_runtime.errors import WhereError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ecli_runtime.decode.plan import Op, Plan
    from ecli_runtime.decode.predicate import Code
    from ecli_runtime.decode.where_tokens import Token, TokenKind
    from ecli_runtime.decode.where_values import Node

__all__ = ["MAX_DEPTH", "Predicate", "compile_predicate", "parse", "parse_for"]

MAX_DEPTH = 32


def parse(text: str, plan: Plan, arch: str = "") -> Predicate:
    """Turn an expression into a predicate on samples of a plan's type.

    Args:
        text: The expression.
        plan: With meanings, addresses and names of errors and the like are understood.
        arch: Machine whose system calls have names, as ``uname -m`` says it.

    Raises:
        WhereError: The expression is malformed, or does not fit the type.
    """
    return _Parser(text, plan, arch).predicate()


def parse_for(text: str, plans: Sequence[Plan], arch: str = "") -> list[Predicate | None]:
    """Turn an expression into a predicate for each of several types; ``None`` for those of which it can never be true.

    These are the types that lack a member or a name in the expression, or that it does not fit, as long as it fits one.

    Raises:
        WhereError: As :func:`parse`; of all types, for the one whose error comes last in the expression.
    """
    found: list[Predicate | None] = []
    errors: list[WhereError] = []
    for plan in plans:
        try:
            found.append(parse(text, plan, arch))
        except WhereError as error:
            found.append(None)
            errors.append(error)
    if errors and len(errors) == len(found):
        worst = max(errors, key=lambda error: (not isinstance(error, UnknownNameError), error.column))
        if len({error.column for error in errors}) > 1 and isinstance(worst, UnknownNameError):
            worst.hint = f"no type of event has all that is named; {worst.hint}"
        raise worst
    return found


class _Parser:
    def __init__(self, text: str, plan: Plan, arch: str) -> None:
        self.tokens = tokenize(text)
        self.at = 0
        self.depth = 0
        self.scope = Scope(plan, arch)

    @property
    def token(self) -> Token:
        """The next token."""
        return self.tokens[self.at]

    def accept(self, *texts: str) -> str:
        """Take the next token if it is one of some words or operators; return it, or nothing."""
        token = self.token
        if token.kind in ("word", "operator") and token.text in texts:
            self.at += 1
            return token.text
        return ""

    def take(self, kind: TokenKind, expected: str) -> Token:
        token = self.token
        if token.kind != kind:
            raise self.unexpected(expected)
        self.at += 1
        return token

    def expect(self, text: str) -> None:
        if not self.accept(text):
            raise self.unexpected(repr(text))

    def unexpected(self, expected: str) -> WhereError:
        if self.token.kind == "end":
            return WhereError(f"expected {expected}, got the end", self.token.column)
        return WhereError(
            f"expected {expected}, got {self.token.text!r}", self.token.column, QUOTING if self.token.kind == "word" else ""
        )

    def nested(self, parse_inner: Callable[[], Node]) -> Node:
        """Parse what is one deeper."""
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise WhereError(f"expression nests more than {MAX_DEPTH} deep", self.token.column)
        inner = parse_inner()
        self.depth -= 1
        return inner

    def predicate(self) -> Predicate:
        code = self.scope.condition(self.any())
        if self.token.kind != "end":
            raise self.unexpected("and, or, or a comparison")
        if len(code) > MAX_INSTRUCTIONS or stack_size(code) > MAX_STACK:
            raise WhereError("expression is too long", 1)
        return Predicate(code)

    def any(self) -> Node:
        return self.joined(self.all, "or", "||")

    def all(self) -> Node:
        return self.joined(self.one, "and", "&&")

    def joined(self, parse_one: Callable[[], Node], word: str, symbol: str) -> Node:
        first = parse_one()
        if not self.accept(word, symbol):
            return first
        codes = [self.scope.condition(first)]
        while True:
            codes.append(self.scope.condition(parse_one()))
            if not self.accept(word, symbol):
                return condition_value(first, joined(codes, word))

    def one(self) -> Node:
        if not self.accept("not", "!"):
            return self.comparison()
        inner = self.nested(self.one)
        return condition_value(inner, negated(self.scope.condition(inner)))

    def comparison(self) -> Node:
        first = left = self.operand()
        codes: list[Code] = []
        while True:
            column = self.token.column
            if operator := self.accept(*COMPARISONS, "="):
                right = self.operand()
                codes.append(self.scope.compare("==" if operator == "=" else operator, left, right, column))
            elif operator := self.accept("=~", "!~"):
                right = self.operand()
                code = self.scope.glob(left, right)
                codes.append(code if operator == "=~" else negated(code))
            elif self.accept("not"):
                self.expect("in")
                codes.append(negated(self.inside(left, column)))
                break
            elif self.accept("in"):
                codes.append(self.inside(left, column))
                break
            else:
                break
            left = right
        return condition_value(first, joined(codes, "and")) if codes else first

    def inside(self, left: Node, column: int) -> Code:
        """Parse what is right of ``in``: a list, or one thing that others can be inside of."""
        if not self.accept("("):
            return self.scope.inside(left, self.operand(), column)
        codes = [self.scope.compare("==", left, self.operand(), column)]
        while self.accept(",") and self.token.text != ")":
            codes.append(self.scope.compare("==", left, self.operand(), column))
        self.expect(")")
        return joined(codes, "or")

    def operand(self) -> Node:
        left = self.masked()
        if not self.accept("|"):
            return left
        parts = [left, self.masked()]
        while self.accept("|"):
            parts.append(self.masked())
        literals = tuple(part for part in parts if isinstance(part, Literal))
        if len(literals) < len(parts):
            raise WhereError("| joins numbers and names, not members", left.column, "write flags & (A | B)")
        return Literal("flags", "|".join(part.text for part in literals), left.column, parts=literals)

    def masked(self) -> Node:
        left = self.primary()
        while self.accept("&"):
            left = self.scope.mask(left, self.primary())
        return left

    def primary(self) -> Node:
        token = self.token
        if self.accept("("):
            inner = self.nested(self.any)
            self.expect(")")
            return inner
        if self.accept("true", "false"):
            return Literal("bool", token.text, token.column, (int(token.text == "true"), 1))
        if self.accept("-"):
            return read_number(self.take("number", "a number"), negative=True)
        if token.text == "." or (token.kind == "word" and token.text not in KEYWORDS):
            return self.member()
        if token.kind not in ("number", "text", "address"):
            raise self.unexpected("a member or a value")
        self.at += 1
        if token.kind == "address":
            return Literal("address", token.text, token.column)
        return read_number(token) if token.kind == "number" else read_text(token)

    def member(self) -> Node:
        """Parse the path to a member; a name alone that no member has is a literal, perhaps an enumerator."""
        column = self.token.column
        dotted = self.accept(".")
        name = path = self.take("word", "the name of a member").text
        if name not in self.scope.members:
            if dotted or self.token.text in (".", "["):
                raise unknown_member(name, column, self.scope.members)
            return Literal("name", name, column)
        op, body = self.scope.members[name]
        base = 0  # bits from the start of the sample to that of the element that holds the member
        while True:
            if self.accept("."):
                token = self.take("word", "the name of a member")
                inner = members_of(body) if op.code == "struct" else {}
                name = token.text
                if name not in inner:
                    raise unknown_member(name, token.column, inner, path)
                op, body = inner[name]
                path = f"{path}.{name}"
            elif self.accept("["):
                index = self.index(path, op)
                base += op.bit_offset + index * op.stride_bits
                op, body = body[0], body[1:]
                path = f"{path}[{index}]"
            else:
                return self.scope.value(op, body, base, path, name, column)

    def index(self, path: str, op: Op) -> int:
        """Parse the index of an array's element."""
        token = self.take("number", "the number of an element")
        self.expect("]")
        number, below = read_number(token).number
        if op.code != "array":
            raise WhereError(f"{path} is no array", token.column)
        if op.count is None:
            raise WhereError(f"{path} has as many elements as an event brings, perhaps none,", token.column)
        if number % below or number // below >= op.count:
            raise WhereError(f"{path} has the elements 0 to {op.count - 1}", token.column)
        return number // below
