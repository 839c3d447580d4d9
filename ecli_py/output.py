"""Chunks of a stream as lines: the one place where a format, a choice of members, a filter and a limit meet."""

from __future__ import annotations

import sys
import time

from ecli_py.report import printable, write_out, write_text
from ecli_runtime.decode.adaptive import Lines
from ecli_runtime.decode.lines import Style, csv_cell, default_widths, fit, heading, make_program
from ecli_runtime.decode.plan import flattened
from ecli_runtime.stream import Readings, Samples, TextLines, event_count
from ecli_schemas.errors import EcliError
from ecli_schemas.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Literal

    from ecli_py.readings import ReadingsOutput
    from ecli_py.view import View
    from ecli_runtime.decode.events import Event, EventDecoder
    from ecli_runtime.decode.lines import LineProgram
    from ecli_runtime.decode.plan import Plan
    from ecli_runtime.decode.predicate import Predicate
    from ecli_runtime.decode.stacks import StackWriter
    from ecli_runtime.stream import Chunk, Source

_TIME_WIDTH = 8


class Format(Record):
    """What the user wants to see.

    Attributes:
        kind: Columns, JSON lines, or CSV.
        fields: What ``--fields`` says.
        where: What ``--where`` says.
        columns: Width of the terminal; 0: it is none, so nothing is cut.
        colour: Headings may be set off.
        view: How maps are shown; ``None``: nothing is said of it.
    """

    kind: Literal["text", "json", "csv"]
    fields: str | None = None
    where: str | None = None
    columns: int = 0
    colour: bool = False
    view: View | None = None


class Clock(Record):
    """What makes wall-clock time of a kernel's clocks.

    Attributes:
        clock_offset_ns: Realtime minus CLOCK_MONOTONIC.
        boot_offset_ns: Realtime minus CLOCK_BOOTTIME.
        utc_offset_s: Local time minus UTC.
        arch: The machine whose system calls are numbered.
    """

    clock_offset_ns: int
    boot_offset_ns: int
    utc_offset_s: int
    arch: str


def running_clock() -> Clock:
    """Return the clocks of the running kernel, as they are now."""
    import os

    now = time.time_ns()
    offset_s = time.localtime().tm_gmtoff
    boot = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    return Clock(now - time.clock_gettime_ns(time.CLOCK_MONOTONIC), now - boot, offset_s, os.uname().machine)


class Output:
    """Renders chunks.

    Args:
        sources: Where they come from.
        form: How they are shown.
        clock: For members that are times of the kernel.
        now: Returns the time that text shows for a chunk, in seconds since the epoch.

    Attributes:
        filters: Whether the user wants only some events.
        left_out: How many events of the chunk that was rendered last were left out for that.

    Raises:
        EcliError: A name or an expression in ``form`` does not fit the events.
    """

    def __init__(self, sources: Sequence[Source], form: Format, clock: Clock, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._form = form
        self.filters, self.left_out = form.where is not None, 0
        self._clock = clock
        self._decoder: EventDecoder | None = None
        self._renderers: dict[int, _Renderer | None] = {}  # by identity of the plan
        self._has_begun = False
        self._readings: ReadingsOutput | None = None
        self._fields: Fields | None = None
        self._sources = sources
        plans = [plan for source in sources if source.sample is None for plan in source.plans]
        predicates: list[Predicate | None] = [None] * len(plans)
        sampled = [source for source in sources if source.sample is not None and source.plans]
        where_plans = [where_plan(source, form.view) for source in sampled] if sampled and form.where is not None else []
        if form.where is not None:
            predicates = _predicates(form.where, [*plans, *where_plans], clock.arch)
        if form.fields is not None:
            from ecli_py.render.fields import Fields

            self._fields = Fields(form.fields, sources)
        if form.view is not None and (form.view.folded or form.view.flamegraph) and not any(each.stacks for each in sampled):
            option = "--folded" if form.view.folded else "--flamegraph"
            raise EcliError(f"{option}: this package counts no stack traces", "`ecli-py inspect` shows what its maps hold")
        if sampled:
            self._readings = self._make_readings(sampled, predicates[len(plans) :])
            predicates = predicates[: len(plans)]
        labels = _labels(sources) if form.kind == "text" and len(plans) > 1 else [""] * len(plans)
        origins = [source for source in sources if source.sample is None for _plan in source.plans]
        for source, plan, label, predicate in zip(origins, plans, labels, predicates, strict=True):
            if form.where is None or predicate is not None:
                self._renderers[id(plan)] = self._renderer(source, plan, label, predicate)
        if form.kind == "csv":
            self._check_table()

    def _make_readings(self, sampled: Sequence[Source], predicates: Sequence[Predicate | None]) -> ReadingsOutput:
        from ecli_py.readings import ReadingsOutput

        chosen: dict[str, Predicate | None]
        if self._form.where is None:
            chosen = {source.name: None for source in sampled}
        else:
            chosen = {source.name: each for source, each in zip(sampled, predicates, strict=True) if each is not None}
        tags = {source.name: tags_of(self._sources, source, None) if self._form.kind == "json" else () for source in sampled}
        return ReadingsOutput(self._sources, self._form, self._clock, self._now, self._fields, chosen, tags)

    def _renderer(self, source: Source, plan: Plan, label: str, predicate: Predicate | None) -> _Renderer | None:
        """Return what renders events of a type; nothing if none of their members is chosen."""
        form, clock = self._form, self._clock
        nested = plan
        if form.kind != "json":  # members of structs have columns of their own
            plan = flattened(plan)
        names = None if self._fields is None else self._fields.of(plan)
        if names == ():
            return None
        stacks, columns = None, names
        if source.stack_kinds:
            from ecli_runtime.decode.stacks import StackWriter, is_stack

            stacks = StackWriter(nested)
            below = [op.name for op in plan.top_level() if is_stack(op)]
            columns = tuple(name for name in names or [op.name for op in plan.top_level()] if name not in below)
        tags = tags_of(self._sources, source, plan) if form.kind == "json" else ()
        before = f"{label}  " if label else ""
        widths: tuple[int, ...] = ()
        if form.kind == "text":
            widths = default_widths(plan, columns)
            if form.columns:
                widths = fit(widths, plan, form.columns - _TIME_WIDTH - 2 - len(before), columns)
        style = Style(
            form.kind,
            names,
            widths,
            bool(form.columns),
            tags,
            clock.clock_offset_ns,
            clock.boot_offset_ns,
            clock.utc_offset_s,
            clock.arch,
            stacks is not None,
        )
        title = heading(plan, style)
        if form.kind == "text":
            title = b"TIME".ljust(_TIME_WIDTH + 2) + (b"EVENT".ljust(len(before)) if before else b"") + title
            if form.colour:
                title = b"\x1b[1m%b\x1b[0m" % title
        title += b"\n" if title else b""
        return _Renderer(make_program(plan, style, predicate), title, before.encode(), stacks)

    def _check_table(self) -> None:
        """Make sure that all rows of a table have the same columns."""
        shown = [source.name for source in self._sources for plan in source.plans if self._renderers.get(id(plan)) is not None]
        if self._form.where is None:
            rest = [(source.name, ["key", "value"]) for source in self._sources if source.sample is not None]
            rest += [(source.name, ["data"]) for source in self._sources if source.sample is None and not source.plans]
            shown += [name for name, members in rest if self._fields is None or self._fields.names(members)]
        if len(shown) > 1:
            message = f"--csv: events are of several types, from {', '.join(dict.fromkeys(shown))}"
            raise EcliError(message, "--json shows them all; --fields or --where may choose those of one type")

    def render(self, chunk: Chunk, limit: int) -> tuple[bytes, int]:
        """Return the lines of a chunk, and how many events they show: at most ``limit``, if that is not negative."""
        if not isinstance(chunk, Samples) or chunk.plan is None:
            if self._readings is not None and isinstance(chunk, Readings) and chunk.source.plans:
                self.left_out = 0
                return self._readings.render(chunk, limit)
            return self._render_events(chunk, limit)
        renderer = self._renderers.get(id(chunk.plan))
        if renderer is None:
            self.left_out = 0 if self._form.where is None else chunk.run.live
            return b"", 0
        prefix = b""
        if self._form.kind == "text":
            prefix = time.strftime("%H:%M:%S  ", time.localtime(self._now())).encode() + renderer.label
        if renderer.stacks is not None:
            renderer.stacks.stacks = chunk.stacks
        lines, shown, looked_at = renderer.lines.render(chunk.run, prefix, limit)
        self.left_out = looked_at - shown
        if shown and renderer.heading:  # once for each type: events of several come mixed
            lines = (b"\n" if self._has_begun and self._form.kind == "text" else b"") + renderer.heading + lines
            renderer.heading = b""
        self._has_begun = self._has_begun or bool(shown)
        return lines, shown

    def finish(self) -> bytes:
        """Return what is shown at the end, and write what goes to other files.

        Raises:
            EcliError: Such a file cannot be written.
        """
        return self._readings.finish() if self._readings is not None else b""

    def _render_events(self, chunk: Chunk, limit: int) -> tuple[bytes, int]:
        """Render what is of no known type, and lines of iterators and event handlers."""
        self.left_out = 0
        is_remark = isinstance(chunk, TextLines) and chunk.role == "handler"  # which no condition on events is about
        if self._form.where is not None and not is_remark:
            self.left_out = event_count(chunk)
            return b"", 0
        if self._form.kind == "csv" and is_remark:  # it has no columns
            self._remark(chunk)
            return b"", 0
        tags = dict(tags_of(self._sources, chunk.source, None)) if self._form.kind == "json" else {}
        lines: list[str] = []
        if self._decoder is None:
            from ecli_runtime.decode.events import EventDecoder

            self._decoder = EventDecoder()
        for event in self._decoder.events(chunk):
            if len(lines) == limit:
                break
            shown = self._fields.pick(event) if self._fields else event
            if not shown:
                continue
            if tags:
                shown = type(event)({**tags, **shown}, event.source, event.type_name)
            lines.append(self._line(shown))
        return "".join(lines).encode("utf-8", "backslashreplace"), len(lines)

    def _remark(self, chunk: Chunk) -> None:
        if isinstance(chunk, TextLines):
            sys.stderr.write("".join(f"{printable(line)}\n" for line in chunk.lines))

    def open_files(self) -> None:
        """Open what :meth:`finish` writes to besides the standard output already: later, it may not be permitted.

        Raises:
            EcliError: It cannot be written.
        """
        if self._readings is not None:
            self._readings.open_files()

    def write(self, lines: bytes) -> None:
        """Write lines to standard output, at once.

        Raises:
            BrokenPipeError: Nobody reads it any more.
            EcliError: It cannot be written, for example to a full disk.
        """
        (write_text if self._form.kind == "text" else write_out)(lines)

    def _line(self, event: Event) -> str:
        from ecli_py.render.jsonlines import to_json
        from ecli_py.render.text import event_text

        if self._form.kind == "json":
            return to_json(event) + "\n"
        if self._form.kind == "csv":
            return ",".join(csv_cell(to_json(value).encode()).decode() for value in event.values()) + "\n"
        return event_text(event, self._now())


class _Renderer:
    """What renders samples of one type.

    Attributes:
        lines: Renders them.
        heading: What stands above the first of them; empty when that has been shown.
        label: What stands before each, behind the time.
        stacks: Writes their stack traces; ``None``: they have none.
    """

    def __init__(self, program: LineProgram, heading: bytes, label: bytes, stacks: StackWriter | None) -> None:
        self.lines = Lines(program, stack=stacks)
        self.stacks = stacks
        self.heading = heading
        self.label = label


def tags_of(sources: Sequence[Source], source: Source, plan: Plan | None) -> tuple[tuple[str, str], ...]:
    """Return members that tell the events of several maps, or of several types in one map, apart in JSON: name and text."""
    tags = (("@map", source.name),) if len(sources) > 1 and not source.lines else ()
    return (*tags, ("@type", plan.type_name)) if plan is not None and len(source.plans) > 1 else tags


def _labels(sources: Sequence[Source]) -> list[str]:
    """Return what tells the types of all events apart in columns, each as long as the longest."""
    types = [(source.name, plan.type_name or source.name) for source in sources if source.sample is None for plan in source.plans]
    are_distinct = len({name for _map, name in types}) == len(types)
    labels = [printable(name if are_distinct else f"{map_name}/{name}") for map_name, name in types]
    width = max(map(len, [*labels, "EVENT"]))
    return [label.ljust(width) for label in labels]


def where_plan(source: Source, view: View | None) -> Plan:
    """Return the plan that a filter reads the entries of a map by."""
    from ecli_py import readings
    from ecli_py.view import View

    return readings.where_plan(source, view or View())


def _predicates(text: str, plans: Sequence[Plan], arch: str) -> list[Predicate | None]:
    from ecli_runtime.decode.where import parse_for

    if not plans:
        raise EcliError("--where: this package has no events of a type that is known", "leave it out, and all is shown")
    return parse_for(text, plans, arch)
