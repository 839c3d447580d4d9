"""Events as aligned columns for people."""

from __future__ import annotations

import time

from ecli_py.render.histogram import log2_histogram
from ecli_py.render.jsonlines import JsonLines

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from ecli_runtime.decode.events import Event
    from ecli_runtime.decode.plan import Op

# Wide enough for what integers of that many bits usually hold (process ids have at most seven digits); larger ones push
# the rest of their line aside.
_INT_WIDTHS = {8: 4, 16: 6, 32: 7, 64: 12}
_STRING_WIDTH = 32


class _Column:
    def __init__(self, name: str, width: int, right: bool) -> None:
        self.name, self.right = name, right
        self.width = max(width, len(name))

    def cell(self, text: str) -> str:
        return text.rjust(self.width) if self.right else text.ljust(self.width)


class Text:
    """Columns, each type of event under its own heading; readings of maps as key and value, or as a histogram."""

    def __init__(self) -> None:
        self._columns: dict[tuple[str, str], list[_Column]] = {}
        self._heading: tuple[str, str] | None = None

    def render(self, event: Event) -> str:
        """Return the lines of an event, with a heading where its type is not that of the event before."""
        if event.source.sample is not None:
            return self._reading(event)
        kind = (event.source.name, event.type_name)
        columns = self._columns.get(kind)
        if columns is None:
            columns = self._columns[kind] = list(_columns(event))
        line = self._line(columns, [time.strftime("%H:%M:%S"), *(_text(value) for value in event.values())])
        if kind == self._heading:
            return line
        blank = "\n" if self._heading else ""
        self._heading = kind
        return blank + self._line(columns, [column.name for column in columns]) + line

    def _line(self, columns: list[_Column], cells: list[str]) -> str:
        return "  ".join(column.cell(cell) for column, cell in zip(columns, cells, strict=True)).rstrip() + "\n"

    def _reading(self, event: Event) -> str:
        sample = event.source.sample
        key, value = event["key"], event["value"]
        if sample is None or sample.kind != "log2_hist" or not isinstance(value, dict) or "slots" not in value:
            return f"{time.strftime('%H:%M:%S')}  {_text(key)}  {_text(value)}\n"
        others = [f"{name} = {_text(member)}" for name, member in value.items() if name != "slots"]
        title = "  ".join([time.strftime("%H:%M:%S"), f"{event.source.name}[{_text(key)}]", *others])
        return "\n".join([title, *log2_histogram(value["slots"], sample.unit or "value"), "", ""])


def _columns(event: Event) -> Iterator[_Column]:
    yield _Column("TIME", 8, right=False)
    plans = (plan for plan in event.source.plans if plan.type_name == event.type_name)
    ops = {op.name: op for plan in plans for op in plan.top_level()}
    for name in event:
        op = ops.get(name)
        yield _Column(name.upper(), _width(op) if op else 0, right=op is not None and op.code in ("int", "float"))


def _width(op: Op) -> int:
    if op.code == "string":
        return min(op.bit_size // 8 - 1, _STRING_WIDTH)
    if op.code == "enum":
        return max((len(name) for _value, name in op.names), default=0)
    return {"int": _INT_WIDTHS.get(op.bit_size, 4), "bool": 5, "float": 12, "pointer": 18}.get(op.code, 0)


def _text(value: Any) -> str:
    if isinstance(value, str):
        # A control character from a sample must not reach the terminal.
        return value if value.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return str(value)
    return JsonLines().render(value).rstrip("\n")
