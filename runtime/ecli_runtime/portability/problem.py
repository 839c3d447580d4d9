"""Why something cannot run on a kernel."""

from __future__ import annotations

from ecli_schemas.record import Record


class Problem(Record):
    """One reason.

    Attributes:
        topic: What it is about, in a word or two: ``types``, ``helper``, ``target``, ``map``…
        text: In words, with the kernel as "this kernel".
        hint: What to try, or empty text.
    """

    topic: str
    text: str
    hint: str = ""
