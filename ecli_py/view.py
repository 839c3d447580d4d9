"""How the user wants to see maps: options of `run` and `replay`, and what they say."""

from __future__ import annotations

from ecli_schemas.errors import EcliError
from ecli_schemas.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Literal

    from ecli_py.arguments import Values

TERMINAL_TOP = 20  # rows shown on a terminal, where the user does not say


class View(Record):
    """How readings of maps are shown.

    Attributes:
        sort: Member to sort by, greatest first; with ``-`` before it the other way round; ``None``: the value's first counter.
        top: Entries of each reading to show; 0: all.
        per_cpu: What is made of the values of all CPUs; ``None``: their sum, in JSON a list.
        change: Counters are shown as they are, as what they have grown by since the reading before, or that per second.
        folded: Stack traces are written at the end, as lines that tools for flame graphs read.
        flamegraph: File that a flame graph of the stack traces is written to at the end.
    """

    sort: str | None = None
    top: int | None = None
    per_cpu: Literal["sum", "max", "list"] | None = None
    change: Literal["", "delta", "rate"] = ""
    folded: bool = False
    flamegraph: str | None = None


def make_view(arguments: Values) -> View:
    """Return what the command line says by the options in `showing.py`.

    Raises:
        EcliError: An option has a value that it does not take.
    """
    if arguments.delta and arguments.rate:
        raise EcliError("--delta and --rate exclude each other", "choose one")
    if arguments.folded and (arguments.json or arguments.csv):
        raise EcliError("--folded and --json or --csv exclude each other", "choose one")
    change: Literal["", "delta", "rate"] = "delta" if arguments.delta else "rate" if arguments.rate else ""
    if change and (arguments.folded or arguments.flamegraph is not None):
        raise EcliError(f"--{change} and --folded or --flamegraph exclude each other", "these show the whole run")
    top = None
    if arguments.top is not None:
        if not (arguments.top.isascii() and arguments.top.isdigit() and len(arguments.top) < 10):
            raise EcliError(f"--top: expected a number of entries, got {arguments.top!r}", "for example --top 10; 0 shows all")
        top = int(arguments.top)
    per_cpu: Any = arguments.per_cpu
    if per_cpu not in (None, "sum", "max", "list"):
        raise EcliError(f"--per-cpu: expected sum, max or list, got {per_cpu!r}", "for example --per-cpu max")
    return View(arguments.sort, top, per_cpu, change, bool(arguments.folded), arguments.flamegraph)
