"""argparse, dressed as all commands want it. A command that must start quickly has ``arguments.py`` in front of it."""

from __future__ import annotations

import argparse
import sys

from ecli_py.report import report, terminal_columns, write_out
from ecli_schemas.errors import EcliError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn


class HelpFormatter(argparse.HelpFormatter):
    """argparse's formatter, told the width: finding it out by itself imports shutil and with it every compression module."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=32, width=max((terminal_columns() or 100) - 2, 40))

    def _format_text(self, text: str) -> str:
        """Lay out a paragraph; argparse would also replace ``%(prog)s``, in texts of packages too."""
        return self._fill_text(text, self._width - self._current_indent, " " * self._current_indent) + "\n\n"


class Parser(argparse.ArgumentParser):
    """A parser whose errors look like all others. A package may have an option named ``-h`` or ``--help``, which wins."""

    def __init__(self, prog: str, description: str, epilog: str = "") -> None:
        super().__init__(
            prog=prog,
            description=description,
            epilog=epilog,
            formatter_class=HelpFormatter,
            allow_abbrev=False,
            conflict_handler="resolve",
        )

    def print_help(self, file: Any = None) -> None:
        """Write the help to stdout: argparse itself would not notice a full disk."""
        if file is not None:
            super().print_help(file)
        else:
            write_out(self.format_help())

    def error(self, message: str) -> NoReturn:
        """Report wrong usage and exit with status 2."""
        report(EcliError(message, f"{self.prog} --help shows what there is"))
        sys.exit(2)


def add_fetch_options(parser: argparse.ArgumentParser) -> None:
    """Add what every command takes that fetches a package."""
    parser.add_argument("--offline", action="store_true", help="take a package that is not local from the cache, and ask nobody")
    parser.add_argument("--insecure", action="store_true", help="ask a registry over plain HTTP, though it is on another machine")
