"""Readings of maps that hold histograms: one for each key."""

from __future__ import annotations

import sys

from ecli_py.readings import MapLines
from ecli_py.render.histogram import Look, are_counts, histogram
from ecli_py.report import printable
from ecli_runtime.decode.entries import find, padded, short_names, with_short_names
from ecli_runtime.decode.lines import Style, make_program
from ecli_runtime.decode.plan import flattened
from ecli_runtime.decode.python import make_decoder
from ecli_runtime.decode.rows import PythonLines
from ecli_runtime.read.run import Run

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from ecli_runtime.stream import Source


def slots_name(source: Source) -> str:
    """Return the member of a map's entries that holds the slots of a histogram, ``""`` if it is none."""
    if source.sample is None or source.sample.kind not in ("log2_hist", "linear_hist") or not source.plans:
        return ""
    value = source.plans[1]
    for op in value.top_level():
        if op.code == "array" and not op.meaning and op.name in ("slots", ""):
            return "value.slots" if op.name else "value"
    return ""


class HistogramLines(MapLines):
    """Draws the histograms of one map; arguments as :class:`~ecli_py.readings.MapLines`."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.title = b""
        member = slots_name(self.source)
        slots = find(self.plan, member)
        assert slots is not None  # as slots_name has found it
        self._slots = make_decoder(slots)
        utf8 = (sys.stdout.encoding or "").lower() in ("utf-8", "utf8")
        self._look = Look(self.form.columns, bool(self.form.columns) and utf8)
        names = short_names(self.plan)
        self._plan_of_titles = with_short_names(self.plan, names)
        wanted = [op.name for op in flattened(self.plan).top_level() if op.name != member]
        if self.fields is not None:
            wanted = [name for name in self.fields.of(flattened(self.plan)) if name != member]
        self._keys = [(names[name], self._program(names[name])) for name in wanted if name.partition(".")[0] in ("key", "cpu")]
        self._others = [(names[name], self._program(names[name])) for name in wanted if name.partition(".")[0] == "value"]

    def _program(self, name: str) -> PythonLines:
        style = Style("text", (name,), **self.clocks())
        return PythonLines(make_program(self._plan_of_titles, style))

    def block(self, rows: Sequence[bytes], limit: int) -> tuple[list[bytes], int]:
        """Return the histograms of a reading, and how many there are; of several only those that count anything."""
        all_rows, head = rows, padded(self.source.plans[0].size_bytes)
        if len(rows) > 1:
            rows = [row for row in rows if any(row[head:])]
        empty = len(all_rows) - len(rows)
        if empty and not rows:
            return [printable(self.source.name).encode(), b"(no values)"], 0
        shown = list(rows if limit < 0 else rows[:limit])
        if not shown:
            return [], 0
        run = Run.of(shown)
        keys = [program.render(run, b"", -1)[0].split(b"\n") for _name, program in self._keys]
        others = [(name.encode(), program.render(run, b"", -1)[0].split(b"\n")) for name, program in self._others]
        sample = self.source.sample
        assert sample is not None
        name = printable(self.source.name).encode()
        lines: list[bytes] = []
        for index, row in enumerate(shown):
            key = b"[%b]" % b", ".join(texts[index] for texts in keys) if keys else b""
            title = b"  ".join([name + key, *(b"%b = %b" % (member, texts[index]) for member, texts in others)])
            slots = self._slots(row)
            drawn = ["(no histogram)"]
            if are_counts(slots):
                drawn = histogram(slots, sample.unit, self._look, sample.kind == "linear_hist")
            lines += [*([b""] if lines else []), title, *(line.encode() for line in drawn)]
        if len(rows) > len(shown):
            lines += [b"", b"... %d more" % (len(rows) - len(shown))]
        if empty:
            lines += [b"", b"... %d without values" % empty]
        return lines, len(shown)
