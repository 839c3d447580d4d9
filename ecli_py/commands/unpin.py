"""``ecli-py unpin``: remove what a run has pinned."""

from __future__ import annotations

from ecli_py.parser import Parser
from ecli_py.report import printable, warn, write_out
from ecli_runtime.pins import unpin


def main(words: list[str]) -> int:
    """Remove pins; returns the exit status."""
    parser = Parser(
        "ecli-py unpin",
        "Remove what `ecli-py run --pin DIR` has pinned, and say what it was. What nobody else holds is detached.",
        "Whatever else is in DIR stays.",
    )
    parser.add_argument("directory", metavar="DIR", help="directory in a BPF file system")
    directory = parser.parse_args(words).directory
    for what, is_removed in unpin(directory):
        if is_removed:
            write_out(f"{printable(what)}\n")
        else:
            warn(f"{directory}/{what} stays: no run has pinned it")
    return 0
