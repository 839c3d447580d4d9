"""``ecli-py run``: a package in, events out."""

from __future__ import annotations

import sys
from io import TextIOWrapper

from ecli_py.arguments import Arguments
from ecli_py.report import printable, write_out
from ecli_py.source import load_package
from ecli_py.tool import Tool
from ecli_runtime.errors import OptionError
from ecli_runtime.globals import parse_value
from ecli_runtime.libbpf import log
from ecli_runtime.session import DEFAULT_LATENCY_MS, OpenSession
from ecli_schemas.errors import EcliError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Callable, Iterable, Sequence
    from types import SimpleNamespace

    from ecli_runtime.session import Event, Source, Stats
    from ecli_schemas.model import Option, Package
else:
    import _signal as signal  # the C module under it; signal itself brings enum and functools, 4 ms

# Above this share of a ring buffer the program may have found it full between two looks.
_NEARLY_FULL = 0.9

_RUN_OPTIONS = "options of ecli-py run"  # heading in the help


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
    command.add_operand("package", metavar="PACKAGE", help="file, or - for standard input")
    command.add_rest("rest")
    arguments = command.parse(words)
    log.set_verbose(arguments.verbose)
    package = load_package(arguments.package, arguments.object)
    with _open(package, arguments) as opened:
        duration_s = None if arguments.duration is None else parse_duration(arguments.duration)
        count = None if arguments.count is None else _parse_count(arguments.count)
        for line in opened.contradictions():
            sys.stderr.write(f"warning: {printable(line)}\n")
        for source in opened.sources:
            if len(source.plans) > 1 and source.sample is None:
                _warn_of_indistinct(source)
        latency_ms = DEFAULT_LATENCY_MS if arguments.latency is None else parse_latency_ms(arguments.latency)
        render = _make_render(arguments.json, arguments.fields, opened.sources)
        with Tool(opened.start(latency_ms)) as tool:
            _show(tool, render, duration_s, count)
    return 0


def _warn_of_indistinct(source: Source) -> None:
    from ecli_runtime.decode.choose import indistinct

    for first, second in indistinct(source.plans, source.tags):
        shown, other = source.plans[first].type_name, source.plans[second].type_name
        line = f"map {source.name}: nothing tells {other} from {shown}, so all are shown as {shown}"
        sys.stderr.write(f"warning: {printable(line)}\n")


def _open(package: Package, arguments: SimpleNamespace) -> OpenSession:
    """Open a package and set its options, after those that follow it on the command line have been added to the others."""
    kernel_btf = arguments.kernel_btf
    opened = OpenSession(package, kernel_btf)
    try:
        description = package.doc.brief or package.doc.description or package.name
        command = Arguments(f"ecli-py run {arguments.package}", printable(description), usage="%(prog)s [OPTIONS]")
        values = _add_package_options(command, opened)
        _add_run_options(command)
        command.parse(arguments.rest, arguments)
        log.set_verbose(arguments.verbose)
        if arguments.kernel_btf != kernel_btf:  # which only opening can set
            opened.close()
            return _open(package, arguments)
        for option, type_id, destination in values:
            text = getattr(arguments, destination)
            if text is not None:
                try:
                    opened.set(option.name, parse_value(opened.btf, type_id, text))
                except OptionError as error:
                    message = str(error).removeprefix(f"option {option.name}: ")
                    raise OptionError(f"--{option.long}: {message}", error.hint or _describe(option)) from error
    except BaseException:
        opened.close()
        raise
    return opened


def _add_run_options(command: Arguments) -> None:
    """Add the options of `run` itself that may also follow the package, but for those whose name a package's own option has."""
    for flag, settings in (
        ("--json", {"action": "store_true", "help": "one JSON object a line instead of columns"}),
        (
            "--fields",
            {"metavar": "NAMES", "help": "members to show, in this order (pid,comm), or to leave out (--fields=-uid)"},
        ),
        ("--duration", {"metavar": "TIME", "help": "end after this time: 5, 5s, 500ms, 2m, 1h"}),
        ("--count", {"metavar": "N", "help": "end after this many events"}),
        (
            "--latency",
            {"metavar": "TIME", "help": "how late an event may be shown while others keep coming (default: 2ms); 0: not at all"},
        ),
        ("--kernel-btf", {"metavar": "FILE", "help": "BTF of this kernel, where it has none of its own"}),
        ("--verbose", {"action": "store_true", "help": "show what libbpf and the verifier say"}),
    ):
        if flag not in command.flags:
            command.add_option(_RUN_OPTIONS, flag, **settings)


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
        default = opened.initial(option.name)
        text = printable(" ".join(filter(None, (option.help, _default_text(option, default))))).replace("%", "%%")
        if isinstance(default, bool):
            command.add_option(group, *flags, dest=destination, nargs="?", const="true", metavar="BOOL", help=text)
            # Upstream's names for a flag serve too.
            for value, words in (("true", ("enable",)), ("false", ("no", "disable"))):
                more = free(f"--{word}-{name}" for word in words for name in (option.long, dashed))
                if more:
                    command.add_option(group, *more, dest=destination, action="store_const", const=value, help=None)
        else:
            metavar = "|".join(option.choices) or {int: "N", float: "NUMBER"}.get(type(default), "TEXT")
            command.add_option(group, *flags, dest=destination, metavar=metavar, help=text)
        found.append((option, type_id, destination))
    return found


def _default_text(option: Option, default: object) -> str:
    text = str(default).lower() if isinstance(default, bool) else str(default)
    return f"({option.type}, default: {text or 'empty'})"


def _describe(option: Option) -> str:
    return (
        f"--{option.long} takes {'one of ' + ', '.join(option.choices) if option.choices else 'a value of type ' + option.type}"
    )


def parse_duration(text: str) -> float:
    """Return a time such as ``5``, ``5s``, ``500ms``, ``2m`` or ``1h`` in seconds.

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
    raise EcliError(f"--duration: expected a time, got {text!r}", "for example 5s, 500ms or 2m")


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


def _parse_count(text: str) -> int:
    if text.isascii() and text.isdigit() and len(text) < 19 and int(text) > 0:  # the most that fits into 64 bits has 19 digits
        return int(text)
    raise EcliError(f"--count: expected a number of events (at least 1), got {text!r}", "for example --count 10")


def _make_render(as_json: bool, fields: str | None, sources: Sequence[Source]) -> Callable[[Event], str]:
    """Return what turns an event into lines of text."""
    render: Callable[[Event], str]
    if as_json:
        from ecli_py.render.jsonlines import JsonLines

        if isinstance(sys.stdout, TextIOWrapper):
            sys.stdout.reconfigure(encoding="utf-8")  # RFC 8259, section 8.1
        render = JsonLines().render
    else:
        from ecli_py.render.text import Text

        render = Text().render
    if fields is None:
        return render
    from ecli_py.render.fields import Fields

    pick = Fields(fields, sources).pick
    return lambda event: render(pick(event))


def _show(tool: Tool, render: Callable[[Event], str], duration_s: float | None, count: int | None) -> None:
    def stop(number: int, _frame: object) -> None:
        tool.stop()
        signal.signal(number, signal.SIG_DFL)  # a second one ends the process at once

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # as nohup leaves it
            signal.signal(number, stop)
    # From this line on nothing is missed: a script that waits for it may start what it wants to see.
    sys.stderr.write("attached; Ctrl-C ends\n" if sys.stderr.isatty() else "attached\n")
    for batch in tool.batches(duration_s, count):
        lines = [render(event) for event in batch]
        if lines:
            write_out("".join(lines))
    sys.stderr.write(closing_line(tool.stats))


def closing_line(stats: Stats) -> str:
    """Return the summary of a run, newline included."""
    parts = [f"{stats.events} event{'' if stats.events == 1 else 's'}", f"{stats.lost} lost"]
    if stats.undecoded:
        parts.append(f"{stats.undecoded} not decoded")
    parts.append(f"{stats.seconds:.1f} s")
    line = ", ".join(parts) + "\n"
    if stats.occupancy > _NEARLY_FULL and not stats.lost:
        line += f"warning: the ring buffer was {stats.occupancy:.0%} full at times; events may have been lost\n"
    return line
