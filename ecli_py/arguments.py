"""Options and operands of a command that must start quickly: read by a loop when they are plain, by argparse otherwise.

argparse and what it brings (gettext, locale) take 3.9 ms, a tenth of the time that `run` takes to its first event. A plain
command line has only long options, each known and with its value, and all operands. Any other, ``--help`` and whatever is
wrong included, goes to an argparse parser made of the same declarations, and what that says holds.
"""

from __future__ import annotations

from itertools import islice

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from ecli_py.parser import Parser


class Values:
    """What a command line says, each option and operand an attribute."""

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...


class Arguments:
    """Declarations of options and operands, in argparse's words.

    Args:
        prog: Command, as help and errors call it.
        description: What it does.
        epilog: What help says at its end.
        usage: What help says at its beginning; empty: argparse finds something.
    """

    def __init__(self, prog: str, description: str, epilog: str = "", usage: str = "") -> None:
        self._prog, self._description, self._epilog, self._usage = prog, description, epilog, usage
        self._options: list[tuple[str, tuple[str, ...], dict[str, Any]]] = []
        self._operands: list[tuple[str, dict[str, Any]]] = []
        self._rest = ""
        self.flags: set[str] = set()

    def add_option(self, group: str, *flags: str, **settings: Any) -> None:
        """Declare an option as ``add_argument`` of argparse does, under a heading of the help.

        ``help=None`` hides it; a help that is no text is made one when it is shown. With ``nargs`` "=" a value can be left out,
        for which ``const`` stands then, and must follow an equals sign: the next word is another one.
        """
        self._options.append((group, flags, settings))
        self.flags.update(flags)

    def add_operand(self, name: str, **settings: Any) -> None:
        """Declare an operand, which must be given."""
        self._operands.append((name, settings))

    def add_rest(self, name: str) -> None:
        """Take all words after the last operand, whatever they are."""
        self._rest = name

    def parse(self, words: list[str], values: Values | None = None) -> Values:
        """Return the values by their names; an option that was not given is ``None``, one that may be repeated a list.

        Args:
            words: The command line.
            values: Where to put them, if not in a namespace of their own. Options that are not given stay as they are there.

        Raises:
            SystemExit: Help was asked for, or the command line is wrong, which argparse has reported.
        """
        values = Values() if values is None else values
        found = self._parse_plain(words)
        if found is None:
            return self._make_parser().parse_args([*self._completed(words)], values)
        for _group, flags, settings in self._options:
            name = _destination(flags, settings)
            before = vars(values).setdefault(name, None)
            if before and name in found and settings.get("action") == "append":
                found[name] = [*before, *found[name]]
        vars(values).update(found)
        return values

    def _parse_plain(self, words: list[str]) -> dict[str, Any] | None:
        """Return what a plain command line says, ``None`` for any other."""
        if "--" in words:  # argparse has rules of its own for it
            return None
        options = {flag: (_destination(flags, settings), settings) for _group, flags, settings in self._options for flag in flags}
        found: dict[str, Any] = {}
        operands = [name for name, _settings in self._operands]
        following = iter(words)
        for word in following:
            if word == "-" or not word.startswith("-"):
                if not operands:
                    return None
                found[operands.pop(0)] = word
                if self._rest and not operands:
                    found[self._rest] = list(following)
                continue
            flag, equals, value = word.partition("=")
            if flag not in options or not flag.startswith("--"):
                return None
            destination, settings = options[flag]
            if settings.get("action") == "store_true" and not equals:
                found[destination] = True
            elif settings.get("nargs") == "=" and (value or not equals):
                found[destination] = value or settings["const"]
            elif settings.get("action", "append") == "append" and "nargs" not in settings:
                value = value if equals else next(following, "")
                if not value or value.startswith("-"):
                    return None
                found[destination] = [*found.get(destination, ()), value] if "action" in settings else value
            else:
                return None
        return None if operands else found

    def _completed(self, words: list[str]) -> Iterator[str]:
        """Give options whose value can be left out the one that stands for it: argparse would take the next word."""
        flags = {flag: settings for _group, flags, settings in self._options for flag in flags}
        following = iter(words)
        for word in following:
            settings = flags.get(word, {"action": "unknown"})
            yield f"{word}={settings['const']}" if settings.get("nargs") == "=" else word
            if word == "--" or (self._rest and (word == "-" or not word.startswith("-"))):
                yield from following  # those after the operand may be somebody else's
            elif settings.get("action", "append") == "append" and "nargs" not in settings:
                yield from islice(following, 1)

    def _make_parser(self) -> Parser:
        import argparse

        from ecli_py.parser import Parser

        parser = Parser(self._prog, self._description, self._epilog)
        parser.usage = self._usage or None
        groups = {group: parser.add_argument_group(group) for group in dict.fromkeys(group for group, *_ in self._options)}
        for group, flags, settings in self._options:
            text = argparse.SUPPRESS if settings.get("help") is None else str(settings["help"])
            words = {"default": None, **settings, "help": text}
            if words.get("nargs") == "=":
                del words["nargs"], words["const"]
            groups[group].add_argument(*flags, **words)
        for name, settings in self._operands:
            parser.add_argument(name, **settings)
        if self._rest:
            rest = parser.add_argument(self._rest, nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
            rest.required = False  # before Python 3.12 it would be named among the operands that are missing
        return parser


def _destination(flags: tuple[str, ...], settings: dict[str, Any]) -> str:
    """Return the name of an option's value, as argparse makes it: of the first long flag."""
    name: str = settings.get("dest") or next((flag for flag in flags if flag.startswith("--")), flags[0])
    return name.lstrip("-").replace("-", "_")
