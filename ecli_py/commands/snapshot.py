"""``ecli-py snapshot``: what a kernel has, for ``ecli-py check`` on another machine."""

from __future__ import annotations

import sys
from pathlib import Path

from ecli_py import snapshots
from ecli_py.parser import Parser
from ecli_py.report import UsageError, printable, write_out
from ecli_runtime.portability.snapshot import write_snapshot
from ecli_schemas.errors import EcliError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ecli_runtime.portability.snapshot import Snapshot


def main(words: list[str]) -> int:
    """Take a snapshot of a kernel; returns the exit status."""
    parser = Parser(
        "ecli-py snapshot",
        "Write down what a kernel has: its types, configuration, symbols, tracepoints, and, as root, which programs, maps and "
        "helpers it takes. `ecli-py check PACKAGE --against FILE` tells on any machine whether a package runs there.",
    )
    parser.add_argument(
        "--image", metavar="VMLINUZ", type=Path, help="of a file that a kernel boots from (default: the running one)"
    )
    parser.add_argument("--config", metavar="FILE", type=Path, help="configuration of that kernel (default: beside it)")
    parser.add_argument("--symbols", metavar="FILE", type=Path, help="its System.map (default: beside it)")
    parser.add_argument(
        "-o",
        "--output",
        metavar="PATH",
        type=Path,
        help="file, - for standard output, or directory for RELEASE.MACHINE.snapshot.json (default: the current directory)",
    )
    arguments = parser.parse_args(words)
    if arguments.image is None and (arguments.config or arguments.symbols):
        raise UsageError("--config and --symbols describe a kernel image", "--image VMLINUZ names it")
    if arguments.image is not None:
        snapshot = snapshots.from_image(arguments.image, arguments.config, arguments.symbols)
    else:
        snapshot = snapshots.running()
    data = write_snapshot(snapshot)
    if arguments.output == Path("-"):
        write_out(data)
        return 0
    path = arguments.output or Path()
    if path.is_dir():
        path /= f"{snapshot.release.replace('/', '_')}.{snapshot.machine}{snapshots.SUFFIX}"
    try:
        path.write_bytes(data)
    except OSError as error:
        raise EcliError(f"cannot write {path}: {error.strerror}", "choose another place with -o") from error
    sys.stderr.write(
        printable(f"{path}: {len(data) / 1e6:.1f} MB, of {snapshot.release} ({snapshot.machine}){_lacking(snapshot)}") + "\n"
    )
    return 0


def _lacking(snapshot: Snapshot) -> str:
    """Return what is not in it, as what makes verdicts less sure."""
    parts = {
        "types": snapshot.btf,
        "configuration": snapshot.config,
        "symbols": snapshot.symbols,
        "tracepoints": snapshot.tracepoints,
        "what trying shows": snapshot.program_types,
    }
    absent = [name for name, part in parts.items() if part is None]
    return f"; without {', '.join(absent)}" if absent else ""
