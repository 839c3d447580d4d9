"""``ecli-py resume``: a run that was paused goes on."""

from __future__ import annotations

from ecli_py.control.verbs import tell
from ecli_py.report import printable, write_out


def main(words: list[str]) -> int:
    """Resume a run; returns the exit status."""
    run, answer = tell(words, "resume", "Attach the programs of a run again, after `ecli-py pause`.")
    write_out(printable(f"{run} {'was not paused' if answer.get('was') == 'running' else 'goes on'}\n"))
    return 0
