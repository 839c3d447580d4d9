"""``ecli-py run``: a package in, events out."""

from __future__ import annotations

import gc
import sys

from ecli_py.arguments import Arguments
from ecli_py.report import UsageError, printable, warn
from ecli_py.showing import (
    HANDLER_OPTIONS,
    OUTPUT_OPTIONS,
    LossWatch,
    closing_lines,
    make_format,
    parse_count,
    warn_of_full_buffers,
)
from ecli_py.source import Admitting, find_source_to_run, parse_package
from ecli_runtime.errors import OptionError
from ecli_runtime.globals import is_bool, kind_of_value, parse_value
from ecli_runtime.libbpf import log
from ecli_runtime.opening import DEFAULT_LATENCY_MS, OpenSession
from ecli_schemas.errors import EcliError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from types import TracebackType
    from typing import Protocol

    from typing_extensions import Self

    from ecli_py.arguments import Values
    from ecli_py.control.server import ControlServer
    from ecli_py.handlers import Choice
    from ecli_py.output import Output
    from ecli_py.overhead import Measuring
    from ecli_py.sink import Sink
    from ecli_py.source import Source as PackageSource
    from ecli_py.tool import Tool
    from ecli_runtime.attach.options import AttachOptions
    from ecli_runtime.recorder import RunInfo
    from ecli_runtime.stream import Chunk, Source
    from ecli_schemas.model import Option, Package

    class Watch(Protocol):
        """What looks at a run from time to time. What it returns are lines for the stream of events."""

        def look(self) -> bytes:
            """Look, if it is time to."""

        def end(self) -> bytes:
            """Look for the last time: all events have been shown."""
else:
    import _signal as signal  # the C module under it; signal itself brings enum and functools, 4 ms

_RUN_OPTIONS = "options of ecli-py run"  # heading in the help
_AT_THE_END = "end"  # --stats without an interval
_STATUS_LOSS = 3
_WASM = b"\0asm"
# What is said to ecli-py of a Wasm module, before it on the command line.
_MODULE_OPTIONS = (
    "package",
    "rest",
    "offline",
    "insecure",
    "allow",
    "allow_unsigned",
    "allow_wasm",
    "attach",
    "iface",
    "cgroup",
    "pid",
    "binary",
    "kernel_btf",
    "token",
    "duration",
    "keep_privileges",
    "verbose",
)


def main(words: list[str]) -> int:
    """Run a package; returns the exit status."""
    command = Arguments(
        "ecli-py run",
        "Run a package and show its events, until Ctrl-C.",
        "Options after PACKAGE may also be the package's own: `ecli-py run PACKAGE --help` lists them.",
        "ecli-py run [OPTIONS] PACKAGE [OPTIONS OF THE PACKAGE]",
    )
    # The package cannot be read without it, so it is no option of what follows the package.
    command.add_option(_RUN_OPTIONS, "--object", metavar="FILE", help="ELF object, for upstream's metadata files")
    _add_run_options(command)
    command.add_operand(
        "package", metavar="PACKAGE", help="file, - for standard input, URL, HOST/REPO:TAG, or name in a catalogue"
    )
    command.add_rest("rest")
    arguments = command.parse(words)
    log.set_verbose(arguments.verbose)
    # These may also follow the package, whatever they mean to it.
    said = {
        name: bool(getattr(arguments, name)) or f"--{name.replace('_', '-')}" in arguments.rest
        for name in ("offline", "insecure", "allow_unsigned")
    }
    # Of what is not signed help may be shown; for a module that word is its own, so it is asked before it runs.
    is_help = not {"-h", "--help"}.isdisjoint(arguments.rest)
    how = Admitting(**said, allow_wasm=bool(arguments.allow_wasm), ask=True, later=is_help)
    source = find_source_to_run(arguments.package, how)
    data = source.data
    if data.startswith(_WASM):
        return _run_module(source, arguments)
    package = parse_package(data, arguments.object)
    with _open(package, arguments, source.kernel_btf) as opened:
        if arguments.ring_size:
            _set_ring_sizes(opened, arguments.ring_size)
        source.admit(arguments.package, opened, arguments.allow)
        source.how = source.how.replace(allow_wasm=bool(arguments.allow_wasm))  # it may follow the package
        source.confirm_handlers(arguments.package, () if arguments.no_wasm else package.wasm)
        duration_s = None if arguments.duration is None else parse_duration(arguments.duration)
        count = None if arguments.count is None else parse_count(arguments.count)
        latency_ms = DEFAULT_LATENCY_MS if arguments.latency is None else parse_latency_ms(arguments.latency)
        measuring = _measuring(arguments)
        if arguments.pin is not None:
            _check_pin(arguments)
        opened.raw = arguments.raw
        opened.interval_ms = None if arguments.interval is None else parse_interval_ms(arguments.interval)
        loading = opened.load(_attach_options(arguments))  # in the background: what follows is done meanwhile, importing included
        from ecli_py.output import Output, running_clock
        from ecli_py.sink import Sink
        from ecli_py.tool import start_tool

        output = Output(loading.sources, make_format(arguments), running_clock())
        for line in (*loading.contradictions(), *_indistinct(loading.sources)):
            warn(line)
        info = None if arguments.record is None else _run_info(data, opened, loading.sources)
        choice = _handler_choice(package, arguments)
        modules = []
        if choice is not None:
            from ecli_py.handlers import load_modules

            modules = load_modules(package, choice, source.wasm_rights)
        stop = _Stop()
        with _Control(arguments, opened.package.name) as control, start_tool(loading, latency_ms, measuring is not None) as tool:
            stop.end(tool)
            rounds, limit = tool.rounds(duration_s), -1 if count is None else count
            sink = Sink(tool, output.write)
            others: list[Watch] = [*control.start(tool)]
            if tool.hooks:
                from ecli_py.hooks import HookReport

                others.append(HookReport(tool.hooks, bool(arguments.json), arguments.verbose))
            if measuring is not None:
                others.append(measuring.watch(tool, lambda: sink.waited_s))

            def watches(note: Callable[[str, str, int], object] | None = None) -> list[Watch]:
                return [LossWatch(lambda: tool.stats, bool(arguments.json), note), *others]

            def begin() -> None:
                _settle(tool, output, arguments)
                if choice is not None and modules:  # they need no rights, nor do the threads that measure their time
                    tool.use_handlers(modules, choice, opened.interval_ms, bool(arguments.verbose), warn)

            if info is None:
                begin()
                _show(tool, output, sink, rounds, limit, watches())
            else:
                from ecli_runtime.recorder import Recorder

                with Recorder(arguments.record, info, lambda: tool.stats, warn) as recorder:
                    begin()
                    _show(tool, output, sink, recorder.tee(rounds), limit, watches(recorder.note_loss))
            stats = tool.stats
            if tool.handlers is not None:
                tool.handlers.check()
    return _STATUS_LOSS if arguments.fail_on_loss and (stats.lost or stats.undecoded) else 0


def _handler_choice(package: Package, arguments: Values) -> Choice | None:
    """Return which event handlers the run has; ``None``: it has none."""
    if not arguments.handler and (not package.wasm or arguments.no_wasm):
        return None
    from ecli_py.handlers import make_choice

    return make_choice(arguments, not arguments.no_wasm)


def _run_module(source: PackageSource, arguments: Values) -> int:
    """Run a Wasm module; all words behind it are its own."""
    from ecli_py.modules import reject_options, run_module
    from ecli_runtime.attach.options import AttachOptions
    from ecli_runtime.wasm.controller.objects import Loading

    given = (name for name, value in vars(arguments).items() if value is not None and name not in _MODULE_OPTIONS)
    reject_options([f"--{name.replace('_', '-')}" for name in given])
    duration_s = None if arguments.duration is None else parse_duration(arguments.duration)
    words = [arguments.package, *arguments.rest]
    admit = source.admission(arguments.package, arguments.allow)
    memory_bytes = source.admit_controller(arguments.package)
    loading = Loading(_attach_options(arguments) or AttachOptions(), arguments.kernel_btf, arguments.token, admit)
    return run_module(source.data, words, loading, duration_s, memory_bytes)


def _check_pin(arguments: Values) -> None:
    from ecli_runtime.pins import check_directory

    if arguments.max_overhead is not None:
        raise UsageError("--pin and --max-overhead exclude each other", "what is pinned stays attached, whatever it costs")
    check_directory(arguments.pin)


def _set_ring_sizes(opened: OpenSession, texts: Iterable[str]) -> None:
    from ecli_runtime.ring_sizes import parse_ring_sizes

    for line in opened.set_ring_sizes(parse_ring_sizes(texts)):
        warn(line)


def _measuring(arguments: Values) -> Measuring | None:
    """Return what the command line says of measuring the run; ``None``: nothing."""
    if arguments.stats is None and arguments.max_overhead is None:
        return None
    from ecli_py.overhead import Measuring, parse_share

    return Measuring(
        as_json=bool(arguments.json),
        shown=arguments.stats is not None,
        interval_s=None if arguments.stats in (None, _AT_THE_END) else parse_duration(arguments.stats, "--stats"),
        limit=None if arguments.max_overhead is None else parse_share(arguments.max_overhead),
    )


def _run_info(data: bytes, opened: OpenSession, sources: tuple[Source, ...]) -> RunInfo:
    """Return what a recording says about the run of a package; what it imports is imported while libbpf loads."""
    from hashlib import sha256

    from ecli_runtime.recorder import RunInfo

    digest = f"sha256:{sha256(data).hexdigest()}"
    return RunInfo(opened.package.name, digest, opened.chosen, opened.btf, sources)


def _open(package: Package, arguments: Values, found_btf: str | None) -> OpenSession:
    """Open a package and set its options, after those that follow it on the command line have been added to the others."""
    given = arguments.kernel_btf, arguments.token
    before = {name: list(value) if isinstance(value, list) else value for name, value in vars(arguments).items()}
    opened = OpenSession(package, given[0] or found_btf, given[1])
    is_set = False
    try:
        description = package.doc.brief or package.doc.description or package.name
        command = Arguments(f"ecli-py run {arguments.package}", printable(description), usage="%(prog)s [OPTIONS]")
        values = _add_package_options(command, opened)
        _add_run_options(command)
        command.parse(arguments.rest, arguments)
        log.set_verbose(arguments.verbose)
        if (arguments.kernel_btf, arguments.token) != given:  # which only opening can set
            vars(arguments).update(before, kernel_btf=arguments.kernel_btf, token=arguments.token)
            return _open(package, arguments, found_btf)
        for option, type_id, destination in values:
            text = getattr(arguments, destination)
            if text is not None:
                try:
                    opened.set(option.name, parse_value(opened.btf, type_id, text))
                except OptionError as error:
                    message = str(error).removeprefix(f"option {option.name}: ")
                    raise OptionError(f"--{option.long}: {message}", error.hint or _describe(option)) from error
        is_set = True
    finally:
        if not is_set:
            opened.close()
    return opened


def _add_run_options(command: Arguments) -> None:
    """Add the options of `run` itself that may also follow the package, but for those whose name a package's own option has."""
    for flag, settings in (
        *OUTPUT_OPTIONS,
        ("--record", {"metavar": "FILE", "help": "also write all that comes to a recording, for `ecli-py replay`"}),
        (
            "--ring-size",
            {
                "action": "append",
                "metavar": "[MAP=]SIZE",
                "help": "size of ring buffers, and of each CPU's perf buffer: 256K, 4M, of one map events=16M; repeatable",
            },
        ),
        ("--fail-on-loss", {"action": "store_true", "help": "end with status 3 if events were lost or could not be decoded"}),
        (
            "--stats",
            {
                "nargs": "=",
                "const": _AT_THE_END,
                "metavar": "[=TIME]",
                "help": "say what each program and ecli-py itself cost: at the end, and after each TIME",
            },
        ),
        (
            "--max-overhead",
            {
                "metavar": "SHARE",
                "help": "what programs and ecli-py may use of one CPU (1%%): detach optional programs above that, or end the run",
            },
        ),
        (
            "--control",
            {"action": "store_true", "help": "let `ecli-py ps`, `set`, `pause`, `resume`, `stop` and `stats` reach the run"},
        ),
        ("--duration", {"metavar": "TIME", "help": "end after this time: 5, 5s, 500ms, 2m, 1h"}),
        ("--interval", {"metavar": "TIME", "help": "how often maps are read, instead of what the package says: 1s, 200ms"}),
        (
            "--latency",
            {"metavar": "TIME", "help": "how late an event may be shown while others keep coming (default: 2ms); 0: not at all"},
        ),
        (
            "--attach",
            {
                "action": "append",
                "metavar": "PROG=TARGET",
                "help": "where to attach a program: an interface, a control group, BINARY:FUNCTION and so on; repeatable",
            },
        ),
        ("--iface", {"metavar": "NAME", "help": "network interface of the programs that want one and have none"}),
        ("--cgroup", {"metavar": "PATH", "help": "control group, likewise"}),
        ("--pid", {"metavar": "PID", "help": "process that is watched by uprobes, USDT, perf events and iterators over tasks"}),
        ("--binary", {"metavar": "PATH", "help": "binary or library of uprobes and USDT probes that say none"}),
        ("--disable", {"action": "append", "metavar": "PROG", "help": "leave out a program; repeatable"}),
        *HANDLER_OPTIONS,
        ("--no-wasm", {"action": "store_true", "help": "leave out the event handlers of the package"}),
        ("--token", {"metavar": "PATH", "help": "BPF file system that gives the right to load, in a user namespace"}),
        ("--pin", {"metavar": "DIR", "help": "pin links and maps there, in a BPF file system: they outlive the run"}),
        ("--keep-privileges", {"action": "store_true", "help": "do not give up all capabilities when the programs are attached"}),
        (
            "--allow",
            {
                "metavar": "WORDS",
                "help": "what the package may do: observe, network, enforce, signals, override, user-memory, replace, other, "
                "all; with commas (default: observe from other machines, all from a file)",
            },
        ),
        ("--allow-unsigned", {"action": "store_true", "help": "run a package of another machine that no trusted key has signed"}),
        (
            "--allow-wasm",
            {"action": "store_true", "help": "give the Wasm of such a package what it asks for, though nobody has confirmed it"},
        ),
        ("--kernel-btf", {"metavar": "FILE", "help": "BTF of this kernel, where it has none of its own"}),
        ("--offline", {"action": "store_true", "help": "take a package that is not local from the cache, and ask nobody"}),
        ("--insecure", {"action": "store_true", "help": "ask a registry over plain HTTP, though it is on another machine"}),
        (
            "--verbose",
            {"action": "store_true", "help": "show what libbpf and the verifier say, and why alternatives are passed over"},
        ),
    ):
        if flag not in command.flags:
            command.add_option(_RUN_OPTIONS, flag, **settings)


def _attach_options(arguments: Values) -> AttachOptions | None:
    """Return what the command line says of where programs are attached; ``None``: nothing."""
    given = (arguments.attach, arguments.disable, arguments.iface, arguments.cgroup, arguments.pid, arguments.binary)
    if given == (None,) * len(given):
        return None
    from ecli_runtime.attach.options import AttachOptions, parse_pid, parse_targets

    return AttachOptions(
        targets=parse_targets(arguments.attach or []),
        disabled=tuple(arguments.disable or ()),
        iface=arguments.iface,
        cgroup=arguments.cgroup,
        pid=None if arguments.pid is None else parse_pid(arguments.pid),
        binary=arguments.binary,
    )


def _add_package_options(command: Arguments, opened: OpenSession) -> list[tuple[Option, int, str]]:
    """Add an option for each tunable global; return each with the id of its type and where the parser stores its text."""
    group = f"options of {opened.package.name}"
    found = []
    options = opened.options()
    taken = {f"--{option.long}" for option, _ in options}

    def free(flags: Iterable[str]) -> list[str]:
        """Return those of some further names that nothing has, which have an owner from then on."""
        new = [flag for flag in dict.fromkeys(flags) if flag not in taken]
        taken.update(new)
        return new

    for index, (option, type_id) in enumerate(options):
        destination = f"package_option_{index}"
        dashed = option.long.replace("_", "-")
        flags = [f"-{option.short}"] if option.short else []
        flags += [f"--{option.long}", *free([f"--{dashed}"])]
        text = _Help(opened, option)
        if is_bool(opened.btf, type_id):
            command.add_option(group, *flags, dest=destination, nargs="?", const="true", metavar="BOOL", help=text)
            # Upstream's names for a flag serve too.
            for value, words in (("true", ("enable",)), ("false", ("no", "disable"))):
                more = free(f"--{word}-{name}" for word in words for name in (option.long, dashed))
                if more:
                    command.add_option(group, *more, dest=destination, action="store_const", const=value, help=None)
        else:
            metavar = "|".join(option.choices) or kind_of_value(opened.btf, type_id)
            command.add_option(group, *flags, dest=destination, metavar=metavar, help=text)
        found.append((option, type_id, destination))
    return found


class _Help:
    """Help of an option, made when it is asked for: the default is read out of the object, with a decoder."""

    def __init__(self, opened: OpenSession, option: Option) -> None:
        self._opened, self._option = opened, option

    def __str__(self) -> str:
        default = _default_text(self._option, self._opened.initial(self._option.name))
        return printable(" ".join(filter(None, (self._option.help, default)))).replace("%", "%%")


def _default_text(option: Option, default: object) -> str:
    text = str(default).lower() if isinstance(default, bool) else str(default)
    return f"({option.type}, default: {text or 'empty'})"


def _indistinct(sources: Sequence[Source]) -> Iterator[str]:
    """Say which types of events are taken for others."""
    for source in sources:
        if source.sample is None and len(source.plans) > 1:
            from ecli_runtime.decode.choose import indistinct

            for first, second in indistinct(source.plans, source.tags):
                names = [source.plans[index].type_name for index in (first, second)]
                yield f"map {source.name}: nothing tells {names[1]} from {names[0]}, so all are shown as {names[0]}"


def _describe(option: Option) -> str:
    return (
        f"--{option.long} takes {'one of ' + ', '.join(option.choices) if option.choices else 'a value of type ' + option.type}"
    )


def parse_duration(text: str, option: str = "--duration") -> float:
    """Return a time such as ``5``, ``5s``, ``500ms``, ``2m`` or ``1h`` in seconds.

    Args:
        text: What the user typed.
        option: Where, for an error.

    Raises:
        EcliError: It is none, or not positive.
    """
    for suffix, seconds in (("ms", 0.001), ("s", 1.0), ("m", 60.0), ("h", 3600.0), ("", 1.0)):
        if text.endswith(suffix):
            try:
                value = float(text[: len(text) - len(suffix)]) * seconds
            except ValueError:
                break
            if 0 < value < 1e9:
                return value
            break
    raise EcliError(f"{option}: expected a time, got {text!r}", "for example 5s, 500ms or 2m")


def parse_latency_ms(text: str) -> float:
    """Return a time such as ``2ms``, or 0, in milliseconds.

    Raises:
        EcliError: It is none, or more than a second.
    """
    try:
        latency_s = 0.0 if text == "0" else parse_duration(text)
    except EcliError as error:
        raise EcliError(f"--latency: expected a time or 0, got {text!r}", "for example 2ms") from error
    if latency_s > 1:
        raise EcliError(f"--latency: expected at most a second, got {text!r}", "for example 2ms")
    return latency_s * 1000


def parse_interval_ms(text: str) -> int:
    """Return a time such as ``1s`` in milliseconds, at least one.

    Raises:
        EcliError: It is none.
    """
    try:
        return max(round(parse_duration(text) * 1000), 1)
    except EcliError as error:
        raise EcliError(f"--interval: expected a time, got {text!r}", "for example 1s or 200ms") from error


class _Control:
    """The socket of a run that is open for control; of any other, nothing. Closed last, when the run has been taken down."""

    def __init__(self, arguments: Values, name: str) -> None:
        self._server: ControlServer | None = None
        self._name = name
        if arguments.control:
            from ecli_py.control.server import ControlServer

            self._server = ControlServer()

    def start(self, tool: Tool) -> list[Watch]:
        """Serve a run, and return what is to look at it from time to time."""
        if self._server is None:
            return []
        self._server.start(tool, self._name)
        return [self._server]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._server is not None:
            self._server.close()


class _Stop:
    """Ends a run in order when a signal asks for it; a second one ends the process at once.

    It also counts while programs are being attached: not all of what that makes would go with the process.
    """

    def __init__(self) -> None:
        self._asked = False
        self._tool: Tool | None = None
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # as nohup leaves it
                signal.signal(number, self._handle)

    def _handle(self, number: int, _frame: object) -> None:
        self._asked = True
        if self._tool is not None:
            self._tool.stop()
        signal.signal(number, signal.SIG_DFL)

    def end(self, tool: Tool) -> None:
        """Say what is to be ended; if a signal has come already, it ends at once."""
        self._tool = tool
        if self._asked:
            tool.stop()


def _settle(tool: Tool, output: Output, arguments: Values) -> None:
    """Pin what is to stay, and give up what only starting took, when everything is open."""
    output.open_files()
    if arguments.pin is not None:
        tool.pin(arguments.pin)
        sys.stderr.write(printable(f"pinned in {arguments.pin}, until `ecli-py unpin {arguments.pin}`\n"))
    if not arguments.keep_privileges:
        try:
            tool.give_up_privileges(pausable=bool(arguments.control))
        except OSError as error:
            warn(f"privileges are kept: {error.strerror}")


def _show(
    tool: Tool, output: Output, sink: Sink, rounds: Iterator[Iterator[Chunk]], limit: int, watches: Sequence[Watch]
) -> None:
    handlers = tool.handlers
    if handlers is not None:
        rounds = handlers.through(rounds)
    gc.freeze()
    gc.enable()
    # From this line on nothing is missed: a script that waits for it may start what it wants to see.
    sys.stderr.write("attached; Ctrl-C ends\n" if sys.stderr.isatty() else "attached\n")
    for chunks in rounds:
        lines = []
        for chunk in chunks:
            rendered, shown = output.render(chunk, limit)
            tool.count(shown)
            if output.left_out:
                tool.leave_out(chunk.source.name, output.left_out)
            lines.append(rendered)
            limit = max(limit - shown, 0) if limit >= 0 else limit
            if not limit:
                break
        lines += [watch.look() for watch in watches]
        if any(lines):
            sink.write(b"".join(lines))
        if not limit:
            break
    if handlers is not None:
        from ecli_py.handlers import end_handlers

        end_handlers(tool, handlers, output)
    tool.detach_all()  # so that nothing is lost any more between what is said of that now and then
    output.write(output.finish() + b"".join([watch.end() for watch in watches]))
    warn_of_full_buffers(tool.stats)
    sys.stderr.write(closing_lines(tool.stats, output.filters or handlers is not None))
