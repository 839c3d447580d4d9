"""The handlers of a run, one after the other: chunks in, chunks out."""

from __future__ import annotations

import time

from ecli_runtime.decode.entries import padded
from ecli_runtime.errors import WasmError
from ecli_runtime.read.run import Run, stride_of
from ecli_runtime.stream import HANDLER_FULL, HANDLER_INVALID, HANDLER_TRAPPED, Readings, Samples, Source, TextLines, event_count
from ecli_runtime.wasm.handler import adapter
from ecli_runtime.wasm.handler.filter import EventKind, Handler, Settings
from ecli_runtime.wasm.handler.guest import Part
from ecli_runtime.wasm.limits import EpochTicker

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from types import TracebackType

    from typing_extensions import Self

    from ecli_runtime.decode.plan import Plan
    from ecli_runtime.decode.stacks import Stacks
    from ecli_runtime.stream import Chunk, MapStats, Stats
    from ecli_runtime.wasm.handler.module import HandlerModule


class _Type:
    """A type of events: where it comes from, and the plan of its samples, if it has one."""

    def __init__(self, source: Source, plan: Plan | None) -> None:
        self.source, self.plan = source, plan
        # Of an entry of a map that is read; of global variables it is 0.
        self.key_size = source.plans[0].size_bytes if source.sample is not None and source.plans else None

    def describe(self) -> EventKind:
        if self.source.sample is None or not self.source.plans:
            plan = self.plan
            size = 0 if plan is None else plan.size_bytes
            return EventKind(self.source.name, "" if plan is None else plan.type_name, size, 0, _members(plan, 0))
        key, value = self.source.plans
        start = padded(key.size_bytes)
        members = (*_members(key, 0), *_members(value, start * 8))
        return EventKind(self.source.name, value.type_name, start + value.size_bytes, key.size_bytes, members)

    def fits(self, length: int) -> bool:
        """Tell whether something of that length may be emitted."""
        if self.source.sample is None:
            return self.plan is None or self.plan.min_size_bytes <= length <= self.plan.max_size_bytes
        if self.key_size is None:
            return False
        value_size = padded(self.source.value_size_bytes) if self.source.per_cpu else self.source.value_size_bytes
        size = length - padded(self.key_size)
        return size > 0 and size % value_size == 0 if self.source.per_cpu else size == value_size


def _as_entries(key_size: int, part: Part) -> Iterator[tuple[bytes, bytes]]:
    """Yield keys and values of entries."""
    start = padded(key_size)
    for payload in Run(part.data, part.count, stride_of(part.length), part.length).payloads():
        yield payload[:key_size], payload[start:]


def _members(plan: Plan | None, start: int) -> tuple[tuple[str, int, int], ...]:
    return () if plan is None else tuple((op.name, start + op.bit_offset, op.bit_size) for op in plan.top_level())


class Handlers:
    """The handlers of a run. A context manager.

    Args:
        modules: Their modules, in the order in which events come to them.
        sources: Where events come from.
        settings: How they are used.
        say: Takes a warning.

    Attributes:
        handlers: One for each module.

    Raises:
        WasmError: One cannot start.
    """

    def __init__(
        self, modules: Sequence[HandlerModule], sources: Sequence[Source], settings: Settings, say: Callable[[str], object]
    ) -> None:
        self._types: list[_Type] = []
        self._numbers: dict[int, int] = {}  # by identity of the plan
        self._numbers_of: dict[str, int] = {}  # of sources whose types are not known, and of maps that are read
        self._settings = settings
        for source in sources:
            if source.lines:
                continue
            if source.sample is not None or not source.plans:
                self._numbers_of[source.name] = len(self._types)
                self._types.append(_Type(source, None))
            else:
                for plan in source.plans:
                    self._numbers[id(plan)] = len(self._types)
                    self._types.append(_Type(source, plan))
        kinds = tuple(each.describe() for each in self._types)
        self.handlers: list[Handler] = []
        self._filtered: dict[str, int] = {}
        self._lost: dict[tuple[str, str], int] = {}
        self._finished = False
        self._next_tick = time.monotonic() + settings.tick_ms / 1000
        self._texts = {module.name: Source(module.name, (), lines=True) for module in modules}
        self._tickers = [EpochTicker(module.engine) for module in modules]
        try:
            for module in modules:
                self.handlers.append(Handler(module, kinds, settings, say))
        except BaseException:
            self.close()
            raise

    def through(self, rounds: Iterable[Iterable[Chunk]]) -> Iterator[Iterator[Chunk]]:
        """Pass the rounds of a run through the handlers; the last one is what they say at the end.

        If one ends the run, the rounds end; :meth:`check` then tells why.
        """
        for chunks in rounds:
            yield self._round(chunks)
            if self._failure() is not None:
                return
        yield iter(self.finish())

    def _round(self, chunks: Iterable[Chunk]) -> Iterator[Chunk]:
        for chunk in chunks:
            yield from self.pass_on(chunk)
        if time.monotonic() >= self._next_tick:
            self._next_tick = time.monotonic() + self._settings.tick_ms / 1000
            yield from self._ask(Handler.tick)

    def pass_on(self, chunk: Chunk) -> Iterator[Chunk]:
        """Yield what becomes of a chunk; once a handler has ended the run that is nothing, and its events are lost."""
        if self._failure() is not None:
            self._lose(chunk.source.name, HANDLER_TRAPPED, event_count(chunk))
        else:
            yield from self._from(0, chunk)

    def finish(self) -> list[Chunk]:
        """Return what the handlers say when nothing comes any more; a second call returns nothing."""
        if self._finished or self._failure() is not None:
            return []
        self._finished = True
        return list(self._ask(Handler.finish))

    def _ask(self, question: Callable[[Handler], list[Part]]) -> Iterator[Chunk]:
        for index, handler in enumerate(self.handlers):
            refused = handler.counts.refused
            parts = question(handler)
            self._lose(self._types[0].source.name if self._types else "", HANDLER_FULL, handler.counts.refused - refused)
            for chunk in self._chunks(handler, parts):
                yield from self._from(index + 1, chunk)

    def _from(self, index: int, chunk: Chunk) -> Iterator[Chunk]:
        """Pass a chunk through the handlers from one on."""
        if index == len(self.handlers) or isinstance(chunk, TextLines) or not self.handlers[index].is_at_work:
            yield chunk
            return
        for each in self._handled(self.handlers[index], chunk):
            yield from self._from(index + 1, each)

    def _handled(self, handler: Handler, chunk: Samples | Readings) -> Iterator[Chunk]:
        name, counts = chunk.source.name, handler.counts
        before = counts.left_out, counts.refused, counts.trapped
        if isinstance(chunk, Samples):
            number = self._numbers_of[name] if chunk.plan is None else self._numbers[id(chunk.plan)]
            parts = handler.run(number, chunk.run)
        else:
            number = self._numbers_of[name]
            parts = self._entries(handler, number, chunk)
        self._filtered[name] = self._filtered.get(name, 0) + counts.left_out - before[0]
        self._lose(name, HANDLER_FULL, counts.refused - before[1])
        self._lose(name, HANDLER_TRAPPED, counts.trapped - before[2])
        if isinstance(chunk, Readings):
            key_size = len(chunk.entries[0][0]) if chunk.entries else 0
            entries = [each for part in parts if part.type == number for each in _as_entries(key_size, part)]
            if entries or not chunk.entries:
                yield Readings(chunk.source, entries, chunk.stacks)
            parts = [part for part in parts if part.type != number]
            yield from self._chunks(handler, parts)
        else:
            yield from self._chunks(handler, parts, number, chunk.stacks)

    def _entries(self, handler: Handler, number: int, chunk: Readings) -> list[Part]:
        """Give a handler the entries of a map, each as its key, padded to 8 bytes, and its value."""
        if not chunk.entries:
            return []
        key_size = len(chunk.entries[0][0])
        padding = bytes(-key_size % 8)
        # Keys and values of one map have one size.
        return handler.run(number, Run.of([key + padding + value for key, value in chunk.entries]))

    def _chunks(
        self, handler: Handler, parts: list[Part], number: int | None = None, stacks: Stacks | None = None
    ) -> Iterator[Chunk]:
        """Yield what a handler gave as chunks; those of one type may have stack traces."""
        texts: list[str] = []
        for part in parts:
            run = Run(part.data, part.count, stride_of(part.length), part.length)
            if part.type == adapter.TEXT:
                texts += [line for text in run.payloads() for line in text.decode("utf-8", "replace").split("\n")]
                continue
            if texts:
                yield TextLines(self._texts[handler.name], texts, "handler")
                texts = []
            kind = self._types[part.type]
            if not kind.fits(part.length):
                self._lose(kind.source.name, HANDLER_INVALID, part.count)
            elif kind.key_size is not None:
                yield Readings(kind.source, list(_as_entries(kind.key_size, part)))
            else:
                plan = kind.plan
                whole = run if plan is None else run.padded(plan.size_bytes)
                yield Samples(kind.source, plan, whole, stacks if part.type == number else None)
        if texts:
            yield TextLines(self._texts[handler.name], texts, "handler")

    def _lose(self, name: str, why: str, count: int) -> None:
        if count:
            self._lost[name, why] = self._lost.get((name, why), 0) + count

    def _failure(self) -> WasmError | None:
        return next((each.failure for each in self.handlers if each.failure is not None), None)

    def check(self) -> None:
        """Raise what ended the run, if a handler did.

        Raises:
            WasmError: One trapped, or wanted the end.
        """
        failure = self._failure()
        if failure is not None:
            raise failure

    def add_to(self, stats: Stats) -> Stats:
        """Return what a run has done, with what handlers left out and what was lost in them."""
        maps = tuple(map(self._add_to_map, stats.maps))
        filtered = stats.filtered + sum(self._filtered.values())
        return stats.replace(lost=stats.lost + sum(self._lost.values()), filtered=filtered, maps=maps)

    def _add_to_map(self, each: MapStats) -> MapStats:
        lost = tuple((why, count) for (name, why), count in self._lost.items() if name == each.name)
        filtered = each.filtered + self._filtered.get(each.name, 0)
        return each.replace(lost=each.lost + sum(count for _, count in lost), filtered=filtered, reasons=(*each.reasons, *lost))

    def close(self) -> None:
        """End what measures their time; a second call does nothing."""
        for ticker in self._tickers:
            ticker.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
