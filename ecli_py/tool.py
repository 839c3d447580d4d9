"""The Python API: a package at work, as an iterator of events."""

from __future__ import annotations

import os
import time

from ecli_py.source import find_source_to_run, parse_package
from ecli_runtime.opening import OpenSession

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from types import TracebackType

    from typing_extensions import Self

    from ecli_py.handlers import Choice
    from ecli_py.source import Admitting
    from ecli_runtime.attach.alternatives import Served
    from ecli_runtime.attach.options import AttachOptions
    from ecli_runtime.decode.events import Event
    from ecli_runtime.globals import Value
    from ecli_runtime.live import LiveGlobal
    from ecli_runtime.opening import LoadingSession
    from ecli_runtime.session import Session
    from ecli_runtime.stream import Chunk, Source, Stats
    from ecli_runtime.usage import Meter, ProgramUsage, Usage
    from ecli_runtime.wasm.handler.module import HandlerModule
    from ecli_runtime.wasm.handler.pipeline import Handlers

# How long one wait lasts at most: a bound on how late a deadline is noticed.
_WAIT_MS = 1000


class Tool:
    """A package that is loaded and attached. Closing it detaches and unloads it.

    Args:
        session: The session behind it, owned by this object from now on.
        meter: What measures its programs, likewise; ``None``: nothing does.
    """

    def __init__(self, session: Session, meter: Meter | None = None) -> None:
        self._session = session
        self._meter = meter
        if meter is not None:
            meter.restart()  # what starting took is no use of the run
        self._handlers: Handlers | None = None
        self._events: Iterator[Event] = iter(())  # taken out of the kernel and not yielded yet

    @property
    def sources(self) -> tuple[Source, ...]:
        """The maps that events come from, with the types of their events."""
        return self._session.sources

    @property
    def stats(self) -> Stats:
        """Events, lost samples and seconds so far, and what each map had of that."""
        stats = self._session.stats()
        return stats if self._handlers is None else self._handlers.add_to(stats)

    def use_handlers(
        self,
        modules: Sequence[HandlerModule],
        choice: Choice,
        interval_ms: int | None,
        verbose: bool,
        say: Callable[[str], object],
    ) -> None:
        """Let events pass through handlers from now on; arguments and errors as :func:`ecli_py.handlers.start_handlers`."""
        from ecli_py.handlers import start_handlers
        from ecli_runtime.wasm.handler.maps import MapAccess

        def access(name: str) -> MapAccess | None:
            loaded = self._session.maps.get(name)
            return None if loaded is None else MapAccess(loaded)

        self._handlers = start_handlers(modules, self.sources, choice, access, interval_ms, verbose, say)

    @property
    def handlers(self) -> Handlers | None:
        """The event handlers that events pass through; ``None``: there are none."""
        return self._handlers

    def usage(self) -> Usage:
        """Return what the run has cost so far; only while it is open, and if it was opened to be measured.

        Raises:
            ValueError: It is closed, or not measured.
            LibbpfError: The kernel does not tell.
        """
        if self._meter is None:
            raise ValueError("the tool is not measured: ecli_py.open(..., measure=True)")
        return self._meter.usage(self._session.program_fds())

    @property
    def hooks(self) -> tuple[Served, ...]:
        """Which alternative serves each hook of the package that has some, and why others do not."""
        return self._session.hooks

    @property
    def optional_programs(self) -> frozenset[str]:
        """Names of the programs that are attached and that the package does without: ``SEC("?…")``, ``@optional``."""
        return self._session.optional_programs

    def detach(self, program: str) -> None:
        """Detach one program; the others go on. One that is pinned stays attached."""
        self._session.detach_program(program)

    def buffers_full(self) -> dict[str, int]:
        """Return how many samples of each map have found its buffer full so far.

        Raises:
            LibbpfError: The kernel does not tell.
        """
        return self._session.buffers_full()

    def blame_output(self, before: Mapping[str, int]) -> None:
        """Attribute what was lost since :meth:`buffers_full` to an output that was waited for; errors as there."""
        self._session.blame_output(before)

    def detach_all(self) -> None:
        """Detach all programs: what is queued stays."""
        self._session.detach()

    def programs(self) -> tuple[ProgramUsage, ...]:
        """Return the programs that were attached, each with what the kernel has measured: nothing, unless it is told to.

        Raises:
            ValueError: It is closed.
            LibbpfError: The kernel does not tell.
        """
        from ecli_runtime.usage import program_usage

        return program_usage(self._session.program_fds())

    @property
    def is_measured(self) -> bool:
        """Whether the kernel measures programs, for this run or for all of the machine."""
        from ecli_runtime.usage import kernel_measures

        return self._meter is not None or kernel_measures()

    def variables(self) -> list[LiveGlobal]:
        """Return the global variables of the programs with their values as they are now, and which of them can be set.

        Raises:
            ValueError: It is closed.
            LibbpfError: The kernel does not tell.
        """
        return self._session.variables().all()

    def set(self, name: str, value: Value) -> None:
        """Set a global variable while the programs run.

        Raises:
            OptionError: There is no such variable, it is read-only, or the value does not fit its type.
            ValueError: It is closed.
        """
        self._session.variables().set({name: value})

    def set_texts(self, texts: Mapping[str, str]) -> dict[str, tuple[Value, Value]]:
        """Set global variables to what a user typed, all or none; return the value that each had, and that it has.

        Raises:
            OptionError: As :meth:`set`.
        """
        variables = self._session.variables()
        values = {name: variables.parse(name, text) for name, text in texts.items()}
        before = {name: variables.get(name) for name in values}
        variables.set(values)
        return {name: (before[name], variables.get(name)) for name in values}

    @property
    def paused(self) -> bool:
        """Whether the programs are detached until :meth:`resume`."""
        return self._session.paused

    def pause(self) -> None:
        """Detach the programs until :meth:`resume`, and read no maps; a second call does nothing.

        What is queued is still yielded. Call it where :meth:`events` is iterated: in that loop, or between two of them.

        Raises:
            EcliError: Something could not be attached again, so nothing is detached; or detaching failed.
            ValueError: It is closed.
        """
        self._session.pause()

    def resume(self) -> None:
        """Attach the programs again after :meth:`pause`; likewise.

        Raises:
            EcliError: Something could not be attached; then nothing is, and it stays paused.
            ValueError: It is closed.
        """
        self._session.resume()

    def watch(self, fd: int, handler: Callable[[], None]) -> None:
        """Have something called when a descriptor is readable, while events are waited for; it must not wait itself."""
        self._session.watch(fd, handler)

    def events(self, duration_s: float | None = None, count: int | None = None) -> Iterator[Event]:
        """Yield events as they come: dictionaries of member names to values, each with the ``source`` it came through.

        Args:
            duration_s: Seconds after which to end; ``None`` for no limit.
            count: Events after which to end; ``None`` for no limit.

        The iterator ends by itself at a limit or after :meth:`stop`, and then detaches the programs; what was queued until
        then is still yielded. A loop that is left before can be taken up again.

        Raises:
            LibbpfError: A buffer or a map could not be read.
            WasmError: An event handler trapped, or ended the run.
        """
        from ecli_runtime.decode.events import EventDecoder

        decoder = EventDecoder()
        rounds = self.rounds(duration_s)
        if self._handlers is not None:
            rounds = self._handlers.through(rounds)
        left = count
        while left is None or left > 0:
            for event in self._events:
                self.count(1)
                yield event
                if left is not None:
                    left -= 1
                    if not left:
                        break
            else:
                chunks = next(rounds, None)
                if chunks is None:
                    if self._handlers is not None:
                        self._handlers.check()
                    return
                self._events = (event for chunk in chunks for event in decoder.events(chunk))
        self._session.finish()

    def rounds(self, duration_s: float | None = None) -> Iterator[Iterator[Chunk]]:
        """Yield what is there each time, before anything is decoded, for consumers that render and flush it at once.

        Each round must be used up before the next is asked for, and its consumer :meth:`count` what it shows. Arguments and
        errors as :meth:`events`.
        """
        session = self._session
        deadline = None if duration_s is None else time.monotonic() + duration_s
        while not session.stopping:
            wait_ms = _WAIT_MS
            if deadline is not None:
                remaining = deadline - time.monotonic()
                if remaining <= 0:
                    break
                wait_ms = min(wait_ms, int(remaining * 1000) + 1)
            yield session.read(wait_ms)
        yield session.finish()

    def count(self, events: int) -> None:
        """Add to the number of events that were shown."""
        self._session.delivered += events

    def leave_out(self, map_name: str, events: int) -> None:
        """Add to the number of events of a map that a filter left out, for consumers that have one."""
        filtered = self._session.filtered
        filtered[map_name] = filtered.get(map_name, 0) + events

    def stop(self) -> None:
        """End :meth:`events` soon; may be called from a signal handler or another thread."""
        self._session.stop()

    def pin(self, directory: str) -> None:
        """Pin all links and maps in a directory of a BPF file system: the programs stay attached when this is closed.

        Raises:
            EcliError: Something cannot be pinned; then nothing is.
        """
        self._session.pin(directory)

    def give_up_privileges(self, pausable: bool = False) -> None:
        """Give up the capabilities of this thread that nothing needs any more, for good, and those of threads made later.

        Args:
            pausable: Keep those that :meth:`resume` takes.

        Raises:
            OSError: The kernel refused.
        """
        self._session.give_up_privileges(pausable)

    def close(self) -> None:
        """Detach and unload; a second call does nothing."""
        if self._handlers is not None:
            self._handlers.close()
        self._session.close()
        if self._meter is not None:
            self._meter.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def open_tool(
    package: str | os.PathLike[str],
    options: Mapping[str, Value],
    attach: AttachOptions | None,
    kernel_btf: str | None,
    latency_ms: float,
    raw: bool,
    ring_sizes: Mapping[str, int],
    measure: bool,
    token: str | None,
    pin: str | None,
    choice: Choice | None,
    allow: Sequence[str] | None,
    how: Admitting,
) -> Tool:
    """Open a package, set its options, load and attach it; see :func:`ecli_py.open`."""
    if pin is not None:
        from ecli_runtime.pins import check_directory

        check_directory(pin)
    source = find_source_to_run(package, how)
    read = parse_package(source.data)
    with OpenSession(read, kernel_btf or source.kernel_btf, token) as opened:
        for name, value in options.items():
            opened.set(name, value)
        opened.raw = raw
        if ring_sizes:
            opened.set_ring_sizes(ring_sizes)
        source.admit(os.fspath(package), opened, allow)
        if choice is None or choice.of_package:
            source.confirm_handlers(os.fspath(package), read.wasm)
        loading = opened.load(attach)
        modules = []
        if choice is not None or read.wasm:
            from ecli_py.handlers import Choice, load_modules

            choice = choice or Choice()
            modules = load_modules(read, choice, source.wasm_rights)
        tool = start_tool(loading, latency_ms, measure)
    is_ready = False
    try:
        if choice is not None and modules:
            tool.use_handlers(modules, choice, None, False, _issue_warning)
        if pin is not None:
            tool.pin(pin)
        is_ready = True
    finally:
        if not is_ready:
            tool.close()
    return tool


def _issue_warning(text: str) -> None:
    import warnings

    warnings.warn(text, stacklevel=2)


def start_tool(loading: LoadingSession, latency_ms: float, measure: bool) -> Tool:
    """Start what is being loaded; arguments and errors as :func:`ecli_py.open`."""
    if not measure:
        return Tool(loading.start(latency_ms))
    from ecli_runtime.usage import Meter

    meter = Meter()  # first, so that no run of a program is missed
    tool = None
    try:
        tool = Tool(loading.start(latency_ms), meter)
    finally:
        if tool is None:
            meter.close()
    return tool
