"""What the commands have in common that tell a run something: RUN in, a line out."""

from __future__ import annotations

from ecli_py.control.client import PATIENCE_S, ask, find_run
from ecli_py.parser import Parser

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ecli_py.control.client import Run

_EPILOG = "RUN is the pid of a run, or the name of its package if only one run has it: `ecli-py ps` lists them."


def make_parser(command: str, description: str) -> Parser:
    """Return the parser of a command that concerns one run."""
    parser = Parser(f"ecli-py {command}", description, _EPILOG)
    parser.add_argument("run", metavar="RUN", help="pid of the run, or name of its package")
    return parser


def tell(words: list[str], command: str, description: str, timeout_s: float = PATIENCE_S) -> tuple[Run, dict[str, Any]]:
    """Send what needs no more words to the run that the command line names; return that, and what came of it.

    Raises:
        EcliError: There is no such run, or it cannot.
    """
    run = find_run(make_parser(command, description).parse_args(words).run)
    return run, ask(run, {"do": command}, timeout_s)
