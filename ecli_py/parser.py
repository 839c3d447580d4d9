"""argparse, dressed as all commands want it. A command that must start quickly has ``arguments.py`` in front of it."""

from __future__ import annotations

import argparse
import os
import sys

from ecli_py.report import report
from ecli_schemas.errors import EcliError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn


class HelpFormatter(argparse.HelpFormatter):
    """argparse's formatter, told the width: finding it out by itself imports shutil and with it every compression module."""

    def __init__(self, prog: str) -> None:
        try:
            width = os.get_terminal_size(1).columns - 2
        except OSError:
            width = 98
        super().__init__(prog, max_help_position=32, width=max(width, 40))

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

    def error(self, message: str) -> NoReturn:
        """Report wrong usage and exit with status 2."""
        report(EcliError(message, f"{self.prog} --help shows what there is"))
        sys.exit(2)
