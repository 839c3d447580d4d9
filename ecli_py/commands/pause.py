"""``ecli-py pause``: a run's programs are detached for a while."""

from __future__ import annotations

from ecli_py.control.verbs import tell
from ecli_py.report import printable, write_out


def main(words: list[str]) -> int:
    """Pause a run; returns the exit status."""
    description = "Detach the programs of a run until `ecli-py resume`: they cost nothing meanwhile, and nothing is lost."
    run, answer = tell(words, "pause", description)
    write_out(printable(f"{run} {'was paused already' if answer.get('was') == 'paused' else 'is paused'}\n"))
    return 0
