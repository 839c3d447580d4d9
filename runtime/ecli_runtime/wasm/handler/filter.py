"""One handler at work: batches of records in, records out, and what becomes of those on which it fails."""

from __future__ import annotations

import json
import time

from ecli_runtime.errors import WasmError
from ecli_runtime.read.run import Run
from ecli_runtime.wasm.handler import adapter
from ecli_runtime.wasm.handler.guest import Guest, Part, TrapError
from ecli_runtime.wasm.handler.imports import Imports
from ecli_schemas.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Literal, TypeAlias

    from ecli_runtime.wasm.handler.maps import MapAccess
    from ecli_runtime.wasm.handler.module import HandlerModule

    OnTrap: TypeAlias = Literal["stop", "pass", "drop"]

# A handler that traps at every event costs more than it can be worth.
_MAX_TRAPS = 100
_TRAPS_TOLD = 3
_BYTES_SHOWN = 512


class EventKind(Record):
    """A type of events, as handlers know it.

    Attributes:
        map: Name of the map they come through.
        name: C type, or empty.
        size_bytes: Of an event; of an entry of a map that is read its key, padded to 8 bytes, and its value.
        key_size_bytes: Of an entry; 0 for events.
        members: Name, offset in bits and size in bits of each.
    """

    map: str
    name: str
    size_bytes: int
    key_size_bytes: int = 0
    members: tuple[tuple[str, int, int], ...] = ()


class Settings(Record):
    """How a run uses its handlers.

    Attributes:
        on_trap: What becomes of an event on which a handler traps: it ends the run, is passed on, or is dropped, and counted.
        options: What the user gives the handlers.
        maps: Maps that they may use, by name.
        tick_ms: Milliseconds from one call of ``ecli_tick`` to the next.
        verbose: Shows what handlers log for their authors.
        raw: Whether to use wasmtime's raw calls; ``None``: if they work.
    """

    on_trap: OnTrap = "stop"
    options: Mapping[str, str] = {}
    maps: Mapping[str, MapAccess] = {}
    tick_ms: int = 1000
    verbose: bool = False
    raw: bool | None = None


class Counts:
    """What became of the events that a handler was given.

    Attributes:
        seen: Events that it was given.
        kept: Events that it passed on.
        left_out: Events that it left out. That is no loss.
        emitted: Records that it added.
        refused: Records that it wanted to add and had no room for.
        trapped: Events that were lost because it did not return from them.
        unseen: Events that went past it: it had no room for them, or was no longer asked.
        traps: How often it trapped.
        busy_ns: What all calls of it took.
    """

    def __init__(self) -> None:
        self.seen = self.kept = self.left_out = self.emitted = self.refused = 0
        self.trapped = self.unseen = self.traps = self.busy_ns = 0


class Handler:
    """A handler at work.

    Args:
        module: Its module.
        kinds: All types of events; their numbers are their places here.
        settings: How it is used.
        say: Takes a warning.

    Attributes:
        counts: What it has done.
        quarantined: Why it is no longer asked, so that events pass as they are; empty: it is.
        failure: What ended the run; ``None``: nothing.

    Raises:
        WasmError: It cannot start.
    """

    def __init__(
        self, module: HandlerModule, kinds: tuple[EventKind, ...], settings: Settings, say: Callable[[str], object]
    ) -> None:
        self.module, self.name, self.counts = module, module.name, Counts()
        self.quarantined = ""
        self.failure: WasmError | None = None
        self._kinds, self._settings, self._say = kinds, settings, say
        self._numbers = _numbers(kinds)
        self._step = 1 if module.limits.fuel is not None else adapter.MAX_BATCH
        try:
            self._guest = self._make()
        except TrapError as trap:
            raise WasmError(_describe(f"handler {self.name} did not start: {trap.reason}", trap)) from trap

    def _make(self) -> Guest:
        imports = Imports(self._settings.options, self._numbers, self._settings.maps, self._log)
        guest = Guest(self.module, imports, len(self._kinds), self._settings.raw)
        if guest.has("ecli_init"):
            text = self._introduction()
            address = guest.give(text)
            result = guest.call("ecli_init", address, len(text) if address else 0)
            if result < 0:
                raise WasmError(f"handler {self.name}: ecli_init returned {result}", "what it needs may be in its log, above")
        return guest

    def _introduction(self) -> bytes:
        """Return what ``ecli_init`` is told, as JSON."""
        types = [
            {
                "number": number,
                "map": kind.map,
                "name": kind.name,
                "size": kind.size_bytes,
                **({"key_size": kind.key_size_bytes} if kind.key_size_bytes else {}),
                "members": [dict(zip(("name", "bit_offset", "bit_size"), each, strict=True)) for each in kind.members],
            }
            for number, kind in enumerate(self._kinds)
        ]
        return json.dumps({"options": dict(self._settings.options), "types": types}, separators=(",", ":")).encode()

    def _log(self, level: str, text: str) -> None:
        if level != "debug" or self._settings.verbose:
            self._say(f"handler {self.name}: " + (text if level == "info" else f"{level}: {text}"))

    @property
    def is_at_work(self) -> bool:
        """Whether it is asked for its verdict."""
        return not self.quarantined and self.failure is None

    def run(self, number: int, run: Run) -> list[Part]:
        """Return what becomes of a run of events.

        Args:
            number: Of their type.
            run: The events.
        """
        begun = time.monotonic_ns()
        parts: list[Part] = []
        step = max(min(self._step, adapter.INPUT_SIZE_BYTES // run.stride), 1)
        for first in range(0, run.count, step):
            data = run.data if run.count <= step else run.data[first * run.stride : (first + step) * run.stride]
            self._batch(number, Run(data, len(data) // run.stride, run.stride, run.length, run.mixed), parts)
        self.counts.busy_ns += time.monotonic_ns() - begun
        return parts

    def _batch(self, number: int, batch: Run, parts: list[Part]) -> None:
        if self._has_ended():
            self.counts.trapped += batch.live
            return
        if not self._has_room(number, batch):
            self._go_past(number, batch, parts)
            return
        self._guest.load(batch.data)
        at, end = 0, len(batch.data)
        while at < end:
            trap, result = self._walk(at, end, batch, number)
            taken = self._guest.take()
            parts += taken.parts
            self._count(taken.kept, taken.dropped, taken.emitted, taken.refused)
            if trap is None and result == 0:
                return
            at = taken.at + batch.stride
            self.counts.seen += 1
            offending = _slice(batch, taken.at, at)
            if trap is None:
                self.failure = WasmError(f"handler {self.name} ended the run: ecli_event returned {result}")
            else:
                self._trapped(trap, number, next(offending.payloads()))
            rest = _slice(batch, at, end)
            if self._has_ended():
                self.counts.trapped += 1 + rest.live
                return
            if self.quarantined or self._settings.on_trap == "pass":
                parts.append(Part(number, offending.length, 1, offending.data))
                self.counts.unseen += 1
            else:
                self.counts.trapped += 1
            if not self._has_room(number, batch):  # of the new instance
                self._go_past(number, rest, parts)
                return
            self._guest.load(batch.data)

    def _has_room(self, number: int, batch: Run) -> bool:
        """Tell whether it can be given a batch."""
        if not self.is_at_work or batch.length > adapter.MAX_RECORD_SIZE_BYTES:
            return False
        try:
            return self._guest.room_for(batch.length)
        except TrapError as trap:
            self._trapped(trap, number, b"")
            return False

    def _go_past(self, number: int, batch: Run, parts: list[Part]) -> None:
        """Let events pass that it is not given, unless it has ended the run."""
        if self._has_ended():
            self.counts.trapped += batch.live
        else:
            self._pass(number, batch, parts)

    def _walk(self, at: int, end: int, batch: Run, number: int) -> tuple[TrapError | None, int]:
        try:
            return None, self._guest.walk(at, end, batch.stride, batch.length, number)
        except TrapError as trap:
            return trap, 0

    def _has_ended(self) -> bool:
        return self.failure is not None

    def _count(self, kept: int, dropped: int, emitted: int, refused: int) -> None:
        counts = self.counts
        counts.seen += kept + dropped
        counts.kept += kept
        counts.left_out += dropped
        counts.emitted += emitted
        counts.refused += refused

    def _pass(self, number: int, batch: Run, parts: list[Part]) -> None:
        """Let events pass as they are."""
        live = Run.of(list(batch.payloads())) if batch.mixed and batch.live else batch
        self.counts.unseen += batch.live
        if batch.live:
            parts.append(Part(number, live.length, live.count, live.data))

    def _trapped(self, trap: TrapError, number: int, payload: bytes) -> None:
        """Take note that it did not return from an event, and make another instance where it goes on."""
        self.counts.traps += 1
        kind = self._kinds[number] if number >= 0 else None
        what = f"handler {self.name} trapped: {trap.reason}"
        told = _describe(what, trap, kind, payload)
        if trap.overran:
            self._quarantine(told, trap.reason)
        elif self._settings.on_trap == "stop":
            self.failure = WasmError(told, "--on-trap pass or --on-trap drop goes on after such an event, --no-wasm without it")
        elif self.counts.traps >= _MAX_TRAPS:
            self._quarantine(told, f"it trapped {self.counts.traps} times")
        else:
            if self.counts.traps <= _TRAPS_TOLD:
                more = "; more of them are counted, not shown" if self.counts.traps == _TRAPS_TOLD else ""
                self._say(f"{told}\nit begins anew, with nothing of what it had counted{more}")
            try:
                self._guest = self._make()
            except (TrapError, WasmError) as error:
                self._quarantine(str(error), "it does not start again")

    def _quarantine(self, told: str, why: str) -> None:
        self.quarantined = why
        self._say(f"{told}\nhandler {self.name} is no longer asked: events pass it as they are")

    def tick(self) -> list[Part]:
        """Tell it that time has passed, and return what it emits."""
        return self._ask("ecli_tick", time.monotonic_ns())

    def finish(self) -> list[Part]:
        """Tell it that nothing comes any more, and return what it emits."""
        return self._ask("ecli_finish")

    def _ask(self, name: str, *arguments: int) -> list[Part]:
        if not self.is_at_work or not self._guest.has(name):
            return []
        begun = time.monotonic_ns()
        try:
            result = self._guest.call(name, *arguments)
        except TrapError as trap:
            taken = self._guest.take()
            self._trapped(trap, -1, b"")
        else:
            taken = self._guest.take()
            if result < 0:
                self.failure = WasmError(f"handler {self.name} ended the run: {name} returned {result}")
        self._count(0, 0, taken.emitted, taken.refused)
        self.counts.busy_ns += time.monotonic_ns() - begun
        return taken.parts


def _slice(batch: Run, start: int, end: int) -> Run:
    data = batch.data[start:end]
    return Run(data, len(data) // batch.stride, batch.stride, batch.length, batch.mixed)


def _numbers(kinds: tuple[EventKind, ...]) -> dict[str, int]:
    """Return the numbers of types by ``map/name``, and by what of that is enough, the first of them."""
    found: dict[str, int] = {}
    for number, kind in enumerate(kinds):
        for name in (f"{kind.map}/{kind.name}", kind.name, kind.map):
            if name:
                found.setdefault(name, number)
    return found


def _describe(what: str, trap: TrapError, kind: EventKind | None = None, payload: bytes = b"") -> str:
    lines = [what]
    if kind is not None and payload:
        cut = f" … ({len(payload)} bytes)" if len(payload) > _BYTES_SHOWN else ""
        lines.append(f"  in {kind.name or 'an event'} through map {kind.map}: {payload[:_BYTES_SHOWN].hex(' ')}{cut}")
    lines += [f"  at {frame}" if index == 0 else f"  called by {frame}" for index, frame in enumerate(trap.frames)]
    return "\n".join(lines)


def summary(handler: Handler) -> str:
    """Return a line on what a handler did, for the end of a run."""
    counts = handler.counts
    parts = [f"{counts.kept} of {counts.seen} events kept"]
    parts += [f"{count} {what}" for count, what in ((counts.emitted, "added"), (counts.unseen, "passed as they are")) if count]
    parts += [f"trapped {counts.traps} time{'' if counts.traps == 1 else 's'}"] if counts.traps else []
    parts.append(f"{counts.busy_ns / 1e6:.1f} ms")
    line = f"handler {handler.name}: {', '.join(parts)}"
    return f"{line}; quarantined: {handler.quarantined}" if handler.quarantined else line
