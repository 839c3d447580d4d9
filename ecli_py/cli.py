"""The command line: arguments in, exit status out. 0: done; 1: it failed; 2: the arguments are wrong."""

from __future__ import annotations

import gc
import os
import sys
from io import TextIOWrapper

from ecli_py.report import UsageError, report, write_out
from ecli_schemas.errors import EcliError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


COMMANDS = {
    "run": "run a package and show its events",
    "ps": "list the runs that are open for control (run --control)",
    "stats": "show what a run does and costs",
    "set": "show global variables of a run, and set them while it runs",
    "pause": "detach the programs of a run for a while",
    "resume": "attach them again",
    "stop": "end a run in order",
    "replay": "show the events of a recorded run again",
    "build": "build a package from eBPF C",
    "init": "write a starter for a new tool",
    "btf": "take the types out of kernel images, for kernels that have none of their own",
    "schema": "print the JSON Schema of a package's events",
    "inspect": "show what a package is and what it can do",
    "check": "tell whether a package runs on some kernels, with nothing loaded",
    "snapshot": "write down what a kernel has, for check",
    "diff": "show what differs between two packages",
    "keygen": "make a key to sign packages with",
    "sign": "sign a package",
    "verify": "tell whose signature a package has",
    "trust": "show and change whose signatures count",
    "lock": "pin packages to what they are now",
    "search": "find packages in catalogues",
    "publish": "write a catalogue that any web server can serve",
    "pull": "fetch a package into a file",
    "push": "put a package into a registry",
    "tags": "list what a repository in a registry has",
    "login": "keep a name and a password for a registry",
    "cache": "look after the packages that were fetched",
    "unpin": "remove what a run has pinned",
    "doctor": "show what this machine can do with packages",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status.

    Args:
        arguments: Words after the program's name; ``None`` takes them from the process.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    _prepare_streams()
    gc.disable()  # what starting makes is there to stay; looking for garbage in it takes about a millisecond
    try:
        return _dispatch(words)
    except EcliError as error:
        _settle_stdout()
        report(error)
        return 2 if isinstance(error, UsageError) else 1
    except BrokenPipeError:  # whoever read our output has enough
        _settle_stdout()
        return 0
    except KeyboardInterrupt:
        return 130
    finally:
        gc.enable()


def _prepare_streams() -> None:
    """Open what is closed of the standard streams to nowhere, and escape characters that the terminal's encoding lacks.

    In the order of their descriptors, since each gets the lowest one that is free: no file that is opened later may become one
    of them.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115  it stays open to the end
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def _settle_stdout() -> None:
    """Write out what is left in stdout, or drop it when that fails: the interpreter would complain when it does so at exit."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _dispatch(words: list[str]) -> int:
    if words and words[0] in COMMANDS:
        # Not importlib.import_module, which brings warnings with it.
        main_of_command = __import__(f"ecli_py.commands.{words[0]}", fromlist=["main"]).main
        if words[0] != "run":  # which does this when it has started
            gc.enable()
        status: int = main_of_command(words[1:])
        return status
    from ecli_py.parser import Parser

    parser = Parser(
        "ecli-py",
        "Build eBPF C into portable packages, and run them on any Linux machine.",
        "`ecli-py COMMAND --help` tells more about a command.",
    )
    parser.usage = "ecli-py COMMAND ..."
    parser.add_argument("--version", action="store_true", help="show the versions of ecli-py and of libbpf")
    group = parser.add_argument_group("commands")
    for name, text in COMMANDS.items():
        group.add_argument(name, nargs="?", help=text)
    if words and words[0] not in ("-h", "--help", "--version"):
        parser.error(f"there is no command {words[0]!r}" if words[0][:1] != "-" else f"unknown option {words[0]}")
    if words and words[0] == "--version":
        return _version()
    parser.print_help()
    return 0 if words else 2


def _version() -> int:
    from ecli_py import __version__
    from ecli_runtime.libbpf._ffi import lib

    write_out(f"ecli-py {__version__}\nlibbpf {lib.version} ({lib.origin}: {lib.path})\n")
    return 0
