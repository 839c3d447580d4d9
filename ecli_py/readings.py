"""Readings of maps as lines: sorted tables, histograms, stack traces, and a view that refreshes in place."""

from __future__ import annotations

import os
import sys
import time

from ecli_py.report import printable
from ecli_py.view import TERMINAL_TOP, View
from ecli_runtime.decode.counters import Growth, Numbers, counters, make_merger
from ecli_runtime.decode.entries import (
    entry_plan,
    find,
    first_counter,
    make_rates,
    packer,
    padded,
    short_names,
    with_short_names,
)
from ecli_runtime.decode.lines import Style, default_widths, fit, heading, make_program
from ecli_runtime.decode.plan import flattened
from ecli_runtime.decode.predicate import compile_predicate
from ecli_runtime.decode.python import make_decoder
from ecli_runtime.decode.rows import PythonLines
from ecli_runtime.read.run import Run
from ecli_schemas.errors import EcliError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any, TextIO

    from ecli_py.output import Clock, Format
    from ecli_py.profiles import StackLines
    from ecli_py.render.fields import Fields
    from ecli_runtime.decode.plan import Plan
    from ecli_runtime.decode.predicate import Predicate
    from ecli_runtime.stream import Readings, Source


def where_plan(source: Source, view: View) -> Plan:
    """Return a plan of entries in which each member has its full name and, if it is clear, its short one."""
    nested = entry_plan(source, rates=view.change == "rate")
    names = short_names(nested)
    taken = {op.name for op in nested.top_level()}
    short = with_short_names(nested, names)
    ops, at = list(nested.ops), 0
    while at < len(short.ops):
        end = at + 1 + short.ops[at].body
        if short.ops[at].name not in taken and "." not in short.ops[at].name:
            ops += short.ops[at:end]
        at = end
    return nested.replace(ops=tuple(ops))


class MapLines:
    """Renders the readings of one map whose types are known.

    Args:
        source: The map.
        form: How they are shown; its view too.
        clock: For members that are times of the kernel.
        fields: Which members; ``None``: all.
        predicate: Which entries, by :func:`where_plan`; ``None``: all.
        tags: Members that come first in JSON.

    Attributes:
        plan: Of the entries; with lists of values for all CPUs it is another.
        title: What stands behind the time above each reading; empty: the first line of the reading itself.

    Raises:
        EcliError: It has no such member to sort by.
    """

    def __init__(
        self,
        source: Source,
        form: Format,
        clock: Clock,
        fields: Fields | None,
        predicate: Predicate | None,
        tags: tuple[tuple[str, str], ...],
    ) -> None:
        self.source = source
        self.form, self._view = form, form.view or View()
        self._clock, self.fields, self._tags = clock, fields, tags
        view = self._view
        how = view.per_cpu or ("list" if form.kind == "json" else "sum") if source.per_cpu else None
        self._rates = make_rates(source.plans[1]) if view.change == "rate" else None
        if how == "list" and (self._rates or view.folded or view.flamegraph is not None):
            how = "sum"  # one rate, one count for each stack
        self._lists = how == "list" and form.kind == "json"
        self._has_cpu = how == "list" and not self._lists
        self._merge = make_merger(source, "max" if how == "max" else "sum") if source.per_cpu else None
        clears = source.sample is not None and source.sample.clear
        self._growth = Growth(source) if view.change and not clears else None
        self._changes = Numbers(counters(source.plans[1].ops), source.plans[1].byteorder) if view.change else None
        self._pack = packer(source)
        self._read_at: float | None = None
        self.title = printable(source.name).encode()
        self.plan = entry_plan(source, has_cpu=self._has_cpu, rates=self._rates is not None)
        self._sorts = view.sort is not None or view.top is not None or form.kind == "text"
        self._rank = self._make_rank()
        self._is_chosen = None if predicate is None else compile_predicate(predicate, self.plan.byteorder)
        self._lines: dict[int, PythonLines] = {}  # by the number of CPUs
        self.heading = b""
        if not self._lists:
            self._line_program(0)

    def _make_rank(self) -> Callable[[bytes], Any] | None:
        """Return the function from an entry to what it is sorted by: greatest first, texts by the alphabet."""
        view, plan = self._view, entry_plan(self.source, rates=self._rates is not None)
        name = view.sort if view.sort is not None else first_counter(self.source)
        is_reversed = name.startswith("-")
        name = name.lstrip("-")
        if not name:
            return None
        names = short_names(plan)
        full = name if name in names else next((each for each, short in names.items() if short == name), name)
        member = find(plan, full)
        if member is None:
            raise EcliError(f"--sort: there is no member {name!r}", f"members: {', '.join(names.values())}")
        decode = make_decoder(member)

        def rank(entry: bytes) -> Any:
            value = decode(entry)
            if isinstance(value, str):
                return 1, value
            number = _total(value)
            return 0, number if is_reversed else -number

        return rank

    def _line_program(self, cpu_count: int) -> PythonLines:
        """Return what renders entries; with lists of values for some number of CPUs."""
        found = self._lines.get(cpu_count)
        if found is not None:
            return found
        form = self.form
        plan = entry_plan(self.source, cpu_count) if self._lists else self.plan
        names = None
        short: dict[str, str] = {}
        if form.kind != "json":
            plan = flattened(plan)
            short = short_names(self.plan)
            if self._view.change == "rate" and form.kind == "text":
                short.update({op.name: f"{short[op.name]}/s" for op in plan.top_level() if op.code == "float"})
        if self.fields is not None:
            names = self.fields.of(plan)
        elif form.kind == "text" and self.hidden():
            names = tuple(op.name for op in plan.top_level() if op.name not in self.hidden())
        if form.kind == "text":
            plan = with_short_names(plan, short)
            names = None if names is None else tuple(short[name] for name in names)
        widths: tuple[int, ...] = ()
        if form.kind == "text":
            widths = default_widths(plan, names)
            if form.columns:
                widths = fit(widths, plan, form.columns - 1, names)
        style = Style(form.kind, names, widths, bool(form.columns), self._tags, **self.clocks())
        self.heading = heading(plan, style)
        if form.colour and self.heading:
            self.heading = b"\x1b[1m%b\x1b[0m" % self.heading
        found = self._lines[cpu_count] = PythonLines(make_program(plan, style), _symbol)
        return found

    def hidden(self) -> frozenset[str]:
        """Return the members that text shows only if they are asked for."""
        return frozenset()

    def clocks(self) -> dict[str, Any]:
        """Return what a style says of clocks and of the machine."""
        names = ("clock_offset_ns", "boot_offset_ns", "utc_offset_s", "arch")
        return {name: getattr(self._clock, name) for name in names}

    def top(self, shown_by_default: int) -> int:
        """Return how many entries are shown at most; 0: all."""
        return shown_by_default if self._view.top is None else self._view.top

    def rows(self, readings: Readings, time_s: float) -> list[bytes]:
        """Return the entries to show of a reading, in their order, each as a sample of the plan.

        Args:
            readings: A reading, whole.
            time_s: When it was taken.
        """
        entries: Sequence[tuple[bytes, bytes]] = readings.entries
        if self._growth is not None:
            entries = self._growth.since_last(entries)
        sample = self.source.sample
        interval_s = sample.interval_ms / 1000 if sample else 1.0
        seconds = interval_s if self._read_at is None else time_s - self._read_at
        self._read_at = time_s
        rows = list(self._ranked(entries, seconds if seconds > 0 else interval_s))
        if self._sorts and self._rank is not None:
            rows.sort(key=lambda row: row[:2])
        return [row[2] for row in rows]

    def _ranked(self, entries: Sequence[tuple[bytes, bytes]], seconds: float) -> Iterator[tuple[Any, bytes, bytes]]:
        """Yield what an entry is sorted by, its key, and what is shown of it, which may be one value for each CPU."""
        changes = self._changes if self.form.kind == "text" else None
        for key, values in entries:
            value = self._merge(values) if self._merge else values
            if changes is not None and changes.ops and not any(changes.read(value)):
                continue
            if self._rates is not None:
                value = self._rates(value, seconds)
            entry = self._pack(key, value)
            if self._is_chosen is not None and not self._is_chosen(entry, 0, len(entry)):
                continue
            rank = self._rank(entry) if self._rank is not None and self._sorts else (0, 0)
            if self._lists:
                yield rank, key, self._pack(key, values)
            elif self._has_cpu:
                for cpu, row in self._by_cpu(entry, values):
                    yield rank, key + cpu, row
            else:
                yield rank, key, entry

    def _by_cpu(self, entry: bytes, values: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Yield number and row of each CPU whose value is not all zeros."""
        head = entry[: padded(self.source.plans[0].size_bytes)]
        size, stride = self.source.plans[1].size_bytes, padded(self.source.value_size_bytes)
        for cpu, at in enumerate(range(0, len(values), stride)):
            value = values[at : at + stride]
            if any(value[:size]):
                number = cpu.to_bytes(4, self.plan.byteorder)
                yield cpu.to_bytes(4, "big"), head + number + bytes(4) + value

    def render(self, rows: Sequence[bytes]) -> list[bytes]:
        """Return a line for each entry, without line feeds."""
        if not rows:
            return []
        cpu_count = 0
        if self._lists:
            cpu_count = (len(rows[0]) - padded(self.source.plans[0].size_bytes)) // padded(self.source.value_size_bytes)
        lines, _shown, _seen = self._line_program(cpu_count).render(Run.of(rows), b"", -1)
        return lines.split(b"\n")[:-1]

    def block(self, rows: Sequence[bytes], limit: int) -> tuple[list[bytes], int]:
        """Return the lines of a reading as text, and how many entries they show."""
        shown = rows if limit < 0 else rows[:limit]
        lines = [self.heading, *self.render(shown)]
        if len(rows) > len(shown):
            lines.append(b"... %d more" % (len(rows) - len(shown)))
        return lines, len(shown)


def _total(value: Any) -> Any:
    """Return a number to sort by."""
    if isinstance(value, (list, tuple)):
        return sum(map(_total, value))
    if isinstance(value, dict):
        return sum(map(_total, value.values()))
    if isinstance(value, float):
        return value if value - value == 0 else 0  # neither NaN nor infinite
    return value if isinstance(value, int) else 0


def _symbol(address: int) -> str:
    from ecli_runtime.decode.symbols import kernel_symbols

    return kernel_symbols().text(address)


class ReadingsOutput:
    """Renders readings of all maps of a run.

    Args:
        sources: All sources of the run.
        form: How they are shown.
        clock: For members that are times of the kernel.
        now: When a chunk was taken, in seconds since the epoch.
        fields: Which members; ``None``: all.
        predicates: Of each map whose types are known, which entries; it lacks maps of which none is shown.
        tags: Members that come first in JSON, by map.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        form: Format,
        clock: Clock,
        now: Callable[[], float],
        fields: Fields | None,
        predicates: dict[str, Predicate | None],
        tags: dict[str, tuple[tuple[str, str], ...]],
    ) -> None:
        self._form, self._now = form, now
        self._view = form.view or View()
        sampled = [source for source in sources if source.sample is not None and source.plans]
        self._maps: dict[str, MapLines] = {}
        for source in sampled:
            if source.name in predicates:
                of = (source, form, clock, fields, predicates[source.name], tags[source.name])
                lines = _make_lines(*of)
                shown = lines.plan if form.kind == "json" else flattened(lines.plan)
                if fields is None or fields.of(shown):  # else nothing of it is chosen
                    self._maps[source.name] = lines
        self._profiles: list[StackLines] = []
        self._graph: TextIO | None = None
        if self._view.folded or self._view.flamegraph is not None:
            from ecli_py.profiles import StackLines

            self._profiles = [each for each in self._maps.values() if isinstance(each, StackLines)]
        self._live = None
        on_terminal = form.columns and os.environ.get("TERM", "dumb") != "dumb" and sys.stdout.isatty()
        # Events between the readings would be overwritten.
        if on_terminal and form.kind == "text" and not self._view.folded and len(sampled) == len(sources):
            from ecli_py.render.live import Screen

            self._live = Screen()
        self._has_heading = False

    def render(self, readings: Readings, limit: int) -> tuple[bytes, int]:
        """Return the lines of a reading, and how many entries they show: at most ``limit``, if that is not negative."""
        lines_of = self._maps.get(readings.source.name)
        if lines_of is None:
            return b"", 0
        rows = lines_of.rows(readings, self._now())
        for each in self._profiles:
            if each is lines_of:
                each.add(rows)
        if self._view.folded:
            return b"", len(rows)
        top = lines_of.top(TERMINAL_TOP if self._form.kind == "text" and self._form.columns else 0) or -1
        most = top if limit < 0 else limit if top < 0 else min(limit, top)
        if self._form.kind != "text":
            shown = rows if most < 0 else rows[:most]
            lines = lines_of.render(shown)
            if shown and lines_of.heading and not self._has_heading:
                lines.insert(0, lines_of.heading)
                self._has_heading = True
            return b"".join(line + b"\n" for line in lines), len(shown)
        if not rows and self._live is None:
            return b"", 0
        lines, count = lines_of.block(rows, most)
        clock = time.strftime("%H:%M:%S  ", time.localtime(self._now())).encode()
        block = (
            [clock + lines_of.title, *lines, b""] if lines_of.title else [clock + (lines[0] if lines else b""), *lines[1:], b""]
        )
        if self._live is not None:
            return self._live.frame(readings.source.name, block), count
        return b"\n".join(block) + b"\n", count

    def open_files(self) -> None:
        """Open the file of the flame graph already, if there is to be one.

        Raises:
            EcliError: It cannot be written.
        """
        if self._view.flamegraph is not None and self._profiles:
            self._graph = _open_graph(self._view.flamegraph)

    def finish(self) -> bytes:
        """Return what is shown at the end of the run, and write the flame graph.

        Raises:
            EcliError: It cannot be written.
        """
        if not self._profiles:
            return b""
        from ecli_py.profiles import folded_lines

        profile: dict[tuple[str, ...], int] = {}
        for each in self._profiles:
            for stack, count in each.profile.items():
                profile[stack] = profile.get(stack, 0) + count
        path = self._view.flamegraph
        if path is not None:
            from ecli_py.render.flamegraph import flamegraph

            title = ", ".join(each.source.name for each in self._profiles)
            graph, self._graph = self._graph or _open_graph(path), None
            try:
                with graph as file:
                    file.write(flamegraph(profile, title))
            except OSError as error:
                raise _graph_failure(path, error) from error
        return folded_lines(profile) if self._view.folded else b""


def _open_graph(path: str) -> TextIO:
    try:
        return open(path, "w", encoding="utf-8")
    except OSError as error:
        raise _graph_failure(path, error) from error


def _graph_failure(path: str, error: OSError) -> EcliError:
    return EcliError(f"--flamegraph: cannot write {path}: {error.strerror}", "choose another place")


def _make_lines(source: Source, form: Format, *arguments: Any) -> MapLines:
    """Return what renders the readings of a map, by what it holds."""
    if source.stacks is not None:
        from ecli_py.profiles import StackLines

        return StackLines(source, form, *arguments)
    if form.kind == "text":
        from ecli_py.histograms import HistogramLines, slots_name

        if slots_name(source):
            return HistogramLines(source, form, *arguments)
    return MapLines(source, form, *arguments)
