"""``ecli-py init``: a starter to change into a tool."""

from __future__ import annotations

import re
import sys
from importlib.resources import files
from pathlib import Path

from ecli_py.parser import Parser
from ecli_py.report import write_out
from ecli_schemas.errors import EcliError

KINDS = {
    "exec": "a tracepoint and a ring buffer",
    "syscall": "entry and exit of a system call",
    "kprobe": "a function of the kernel",
    "xdp": "packets at a network interface",
    "histogram": "a histogram in a map",
    "profile": "what the CPUs are busy with",
}


def main(words: list[str]) -> int:
    """Write a starter; returns the exit status."""
    parser = Parser("ecli-py init", "Write a commented starter, NAME.bpf.c, that builds and runs.")
    parser.add_argument("name", metavar="NAME", help="name of the tool, or a path that ends in it")
    parser.add_argument(
        "--kind",
        choices=list(KINDS),
        default="exec",
        help="; ".join(f"{kind}: {text}" for kind, text in KINDS.items()) + " (default: exec)",
    )
    arguments = parser.parse_args(words)
    path = Path(arguments.name.removesuffix(".bpf.c") + ".bpf.c")
    name = path.name.removesuffix(".bpf.c")
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", name):
        raise EcliError(f"{name!r} is no name for a tool", "begin with a letter; letters, digits, - and _ may follow")
    text = (files("ecli_packager") / "starters" / f"{arguments.kind}.bpf.c").read_text()
    try:
        with path.open("x") as file:
            file.write(text.replace("NAME", name))
    except FileExistsError as error:
        raise EcliError(f"{path} is there already", "choose another name, or remove it first") from error
    except OSError as error:
        raise EcliError(f"cannot write {path}: {error.strerror}", "choose another place") from error
    write_out(f"{path}\n")
    if sys.stderr.isatty():
        sys.stderr.write(f"next: ecli-py build {path} && sudo ecli-py run {path.parent / name}.json\n")
    return 0
