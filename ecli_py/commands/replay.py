"""``ecli-py replay``: a recording in, events out. Nothing here needs Linux, privileges or libbpf."""

from __future__ import annotations

import sys
import time

from ecli_py.arguments import Arguments
from ecli_py.output import Clock, Output
from ecli_py.render.plain import one_line
from ecli_py.replay import Replay
from ecli_py.report import printable, warn
from ecli_py.showing import (
    HANDLER_OPTIONS,
    OUTPUT_OPTIONS,
    closing_lines,
    make_format,
    parse_count,
    say_lost,
    warn_of_full_buffers,
)
from ecli_py.trust import policy_paths
from ecli_runtime.recording import Loss, MapLoss
from ecli_runtime.recording_content import MAX_NAMES_SIZE, RecordedStacks, names_size
from ecli_runtime.recording_format import MAX_BODY_SIZE_BYTES, MAX_STACK_ENTRIES
from ecli_runtime.stream import Readings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ecli_py.arguments import Values
    from ecli_py.handlers import Choice
    from ecli_py.output import Format
    from ecli_runtime.decode.stacks import Stacks
    from ecli_runtime.recording import RecordedRun
    from ecli_runtime.stream import Chunk, Source, Stats
    from ecli_runtime.wasm.handler.module import HandlerModule
    from ecli_runtime.wasm.handler.pipeline import Handlers

# Parts of one reading have one time but for the clocks of their blocks. A file from somebody else may have any number of them.
_SAME_READING_S = 0.0005
_MAX_ENTRIES = 1 << 20


def main(words: list[str]) -> int:
    """Replay a recording; returns the exit status."""
    command = Arguments(
        "ecli-py replay",
        "Show the events of a recording that `ecli-py run --record` wrote, on any machine, as fast as they are read.",
    )
    for flag, settings in (*OUTPUT_OPTIONS, *HANDLER_OPTIONS):
        command.add_option("options", flag, **settings)
    command.add_operand("recording", metavar="FILE", help="recording, or - for standard input")
    arguments = command.parse(words)
    form = make_format(arguments)
    limit = -1 if arguments.count is None else parse_count(arguments.count)
    choice, modules = _handlers(arguments)
    with Replay(arguments.recording, warn, bool(arguments.raw)) as replay:
        for run in replay.runs():
            sys.stderr.write(f"{_title(run)}\n")
            if choice is None:
                stats = _counted(run, *_show(run, form, limit))
            else:
                from ecli_py.handlers import start_handlers

                with start_handlers(modules, run.sources, choice, lambda _name: None) as handlers:
                    stats = handlers.add_to(_counted(run, *_show(run, form, limit, handlers)))
                    _report(handlers)
            shown = stats.events
            warn_of_full_buffers(stats)
            sys.stderr.write(closing_lines(stats, form.where is not None or choice is not None))
            if choice is not None:
                handlers.check()
            limit = max(limit - shown, 0) if limit >= 0 else limit
            if not limit:
                break
    return 0


def _counted(run: RecordedRun, shown: int, left_out: dict[str, int]) -> Stats:
    """Return what a run had, with what was shown of it, and left out by a filter."""
    maps = tuple(each.replace(filtered=left_out.get(each.name, 0)) for each in run.stats.maps)
    return run.stats.replace(events=shown, filtered=sum(left_out.values()), maps=maps)


def _handlers(arguments: Values) -> tuple[Choice | None, list[HandlerModule]]:
    """Return how events pass through handlers, ``None`` if they do not, and the handlers."""
    if not arguments.handler:
        return None, []
    from ecli_py.handlers import load_modules, make_choice

    choice = make_choice(arguments, of_package=False)
    if not policy_paths():
        return choice, load_modules(None, choice)
    from ecli_py.trust.policy import load_policies

    return choice, load_modules(None, choice, [policy.wasm for policy in load_policies()])


def _report(handlers: Handlers) -> None:
    from ecli_runtime.wasm.handler.filter import summary

    for each in handlers.handlers:
        sys.stderr.write(f"{printable(summary(each))}\n")


def _show(run: RecordedRun, form: Format, limit: int, handlers: Handlers | None = None) -> tuple[int, dict[str, int]]:
    """Show up to a number of events of a run, negative for all.

    Returns:
        How many there were, and how many a filter left out of each map.
    """
    whole = _Whole(run)
    output = Output(run.sources, form, _clock(run), lambda: whole.taken_at)
    shown = 0
    left_out: dict[str, int] = {}
    for chunk in whole.chunks():
        if isinstance(chunk, MapLoss):
            if mark := say_lost(chunk.map, chunk.count, chunk.why, form.kind == "json"):
                output.write(mark)
            continue
        if isinstance(chunk, Loss):
            warn(_describe(chunk))
            continue
        for each in (chunk,) if handlers is None else handlers.pass_on(chunk):
            lines, count = output.render(each, limit - shown if limit >= 0 else limit)
            if lines:
                output.write(lines)
            shown += count
            if output.left_out:
                name = each.source.name
                left_out[name] = left_out.get(name, 0) + output.left_out
            if shown == limit:
                break
        if shown == limit:
            break
    for chunk in () if handlers is None else handlers.finish():
        lines, count = output.render(chunk, -1)
        output.write(lines)
        shown += count
    if last := output.finish():
        output.write(last)
    return shown, left_out


class _Whole:
    """The chunks of a run, with readings of large maps whole: a recording has them in parts, and they are sorted together.

    Attributes:
        taken_at: When the last chunk was taken, in seconds since the epoch.
    """

    def __init__(self, run: RecordedRun) -> None:
        self._run = run
        self.taken_at = run.taken_at

    def chunks(self) -> Iterator[Chunk | MapLoss | Loss]:
        """Yield them; errors as those of the run."""
        parts: list[tuple[bytes, bytes]] = []
        source: Source | None = None
        stacks: Stacks | None = None
        size = 0
        for chunk in self._run.chunks():
            taken_at = self._run.taken_at
            if source is not None:
                at_once = abs(taken_at - self.taken_at) < _SAME_READING_S
                if isinstance(chunk, Readings) and chunk.source is source and at_once:
                    parts += chunk.entries
                    stacks = _joined(stacks, chunk.stacks)
                    size += names_size(chunk)
                    if _is_full(chunk) and len(parts) < _MAX_ENTRIES and size < MAX_NAMES_SIZE:
                        continue
                    chunk = Readings(source, parts, stacks)  # noqa: PLW2901  of which it was the last part
                else:
                    yield Readings(source, parts, stacks)
                source = None
            elif isinstance(chunk, Readings) and _is_full(chunk):
                source, parts, stacks, size = chunk.source, list(chunk.entries), chunk.stacks, names_size(chunk)
                self.taken_at = taken_at
                continue
            self.taken_at = taken_at
            yield chunk
        if source is not None:
            yield Readings(source, parts, stacks)


def _joined(first: Stacks | None, second: Stacks | None) -> Stacks | None:
    return first.joined(second) if isinstance(first, RecordedStacks) and isinstance(second, RecordedStacks) else first


def _is_full(readings: Readings) -> bool:
    """Tell whether a part of a reading is as large as they get, so that more of it may follow."""
    entries = readings.entries
    if readings.stacks is not None:
        return len(entries) == MAX_STACK_ENTRIES
    return bool(entries) and len(entries) * sum(map(len, entries[0])) > MAX_BODY_SIZE_BYTES // 8


def _clock(run: RecordedRun) -> Clock:
    """Return what makes wall-clock time of the recording machine's clocks, in the time zone of this one."""
    real_ns, monotonic_ns, boot_ns = run.started_ns
    utc_offset_s = time.localtime(run.taken_at).tm_gmtoff
    return Clock(real_ns - monotonic_ns, real_ns - boot_ns, utc_offset_s, run.machine)


def _title(run: RecordedRun) -> str:
    options = "".join(f", {name}={value!r}" for name, value in run.options.items())
    day = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(run.taken_at))
    return one_line(f"{run.package} of {day} on Linux {run.kernel_release} ({run.machine}){options}")


def _describe(loss: Loss) -> str:
    since, until = (time.strftime("%H:%M:%S", time.localtime(at)) for at in (loss.since, loss.until))
    counts = {"lost": loss.lost, "not decoded": loss.undecoded, "not recorded": loss.unrecorded}
    parts = [f"{count} {what}" for what, count in counts.items() if count]
    return f"between {since} and {until}: {', '.join(parts)}"
