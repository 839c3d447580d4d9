"""Readings of maps that count stack traces: lists, folded lines, flame graphs."""

from __future__ import annotations

from ecli_py.readings import MapLines
from ecli_py.render.jsonlines import to_json
from ecli_runtime.decode.entries import entry_plan, find, first_counter
from ecli_runtime.decode.escapes import ESCAPES, TEXT
from ecli_runtime.decode.events import STACK_MEMBERS
from ecli_runtime.decode.python import make_decoder
from ecli_runtime.decode.stacks import LOST, frame_lines, functions

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from ecli_runtime.decode.stacks import Frame, Stacks
    from ecli_runtime.stream import Readings

_KERNEL_MARK = "_[k]"  # as the tools for flame graphs have it
_MAX_STACKS = 1 << 17


class StackLines(MapLines):
    """Renders the counts of stack traces of one map; arguments as :class:`~ecli_py.readings.MapLines`."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._stacks: Stacks | None = None
        self._key_size = self.source.plans[0].size_bytes
        member = find(entry_plan(self.source), first_counter(self.source))
        self._count = make_decoder(member) if member is not None else None
        self._totals: dict[tuple[str, ...], int] = {}
        self._adds_up = self.source.sample is not None and self.source.sample.clear

    def hidden(self) -> frozenset[str]:
        """Return the members that hold the ids of stacks, which say nothing to people."""
        assert self.source.stacks is not None
        return frozenset(f"key.{name}" for name in (self.source.stacks.kstack, self.source.stacks.ustack))

    def rows(self, readings: Readings, time_s: float) -> list[bytes]:
        """Return the entries to show, as :meth:`MapLines.rows`."""
        self._stacks = readings.stacks
        return super().rows(readings, time_s)

    def render(self, rows: Sequence[bytes]) -> list[bytes]:
        """Return a line for each entry; of JSON with the names of its functions."""
        lines = super().render(rows)
        if self.form.kind != "json":
            return lines
        found = []
        for row, line in zip(rows, lines, strict=True):
            pair = self._frames(row[: self._key_size])
            names = to_json({name: functions(frames) for name, frames in zip(STACK_MEMBERS, pair, strict=True)})
            found.append(line[:-1] + b"," * (line != b"{}") + names[1:].encode("utf-8", "replace"))
        return found

    def block(self, rows: Sequence[bytes], limit: int) -> tuple[list[bytes], int]:
        """Return the entries with their stacks, the innermost function first."""
        shown = rows if limit < 0 else rows[:limit]
        lines = [self.heading]
        for row, line in zip(shown, super().render(shown), strict=True):
            lines.append(line)
            for frames in self._frames(row[: self._key_size]):
                lines += frame_lines(frames)
        if len(rows) > len(shown):
            lines.append(b"... %d more" % (len(rows) - len(shown)))
        return lines, len(shown)

    def add(self, rows: Sequence[bytes]) -> None:
        """Take the stacks of a reading into the profile of the whole run; without clearing a reading is that of the whole run."""
        if not self._adds_up:
            self._totals.clear()
        for row in rows:
            key = row[: self._key_size]
            kernel, user = self._frames(key)
            stack = [self._stacks.comm(key) if self._stacks is not None else ""]
            stack += [LOST] if user is None else [function for function, _file in reversed(user)]
            stack += (
                [LOST + _KERNEL_MARK] if kernel is None else [function + _KERNEL_MARK for function, _file in reversed(kernel)]
            )
            folded = tuple(stack)
            if folded not in self._totals and len(self._totals) >= _MAX_STACKS:
                folded = ("[other stacks]",)
            count = self._count(row) if self._count is not None else 1
            self._totals[folded] = self._totals.get(folded, 0) + (max(count, 0) if isinstance(count, int) else 1)

    def _frames(self, key: bytes) -> tuple[Sequence[Frame] | None, Sequence[Frame] | None]:
        """Return the frames of the kernel and of the process."""
        stacks = self._stacks
        return (stacks.frames(0, key), stacks.frames(1, key)) if stacks is not None else (None, None)

    @property
    def profile(self) -> dict[tuple[str, ...], int]:
        """Stacks of the run, the outermost function first, below what the process is called; and their counts."""
        return self._totals


def folded_lines(profile: dict[tuple[str, ...], int]) -> bytes:
    """Return stacks as the tools for flame graphs read them: names with semicolons between them, a blank, the count."""
    escape = ESCAPES[TEXT]
    lines = [b";".join(escape(name.replace(";", ":")) for name in stack) + b" %d\n" % count for stack, count in profile.items()]
    return b"".join(sorted(lines))
