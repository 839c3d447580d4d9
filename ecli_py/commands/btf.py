"""``ecli-py btf``: types of kernels, for packages that run where a kernel has none of its own."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from ecli_py.parser import Parser
from ecli_py.report import UsageError, write_out
from ecli_schemas.errors import EcliError

_RUNNING = Path("/sys/kernel/btf/vmlinux")


def main(words: list[str]) -> int:
    """Take the BTF out of kernels; returns the exit status."""
    parser = Parser(
        "ecli-py btf",
        "Take the BTF out of kernel images, without booting them, for `ecli-py build --btf-archive DIR`, `--btf FILE` or "
        "`ecli-py run --kernel-btf FILE`.",
    )
    parser.add_argument("action", choices=["extract"], help="what to do")
    parser.add_argument(
        "images",
        metavar="IMAGE",
        type=Path,
        nargs="*",
        help="file that a kernel boots from (default: the running kernel)",
    )
    parser.add_argument(
        "-o",
        "--output",
        metavar="PATH",
        type=Path,
        help="directory to add them to, RELEASE.btf and RELEASE.json for each; or file for the BTF of one, - for standard output "
        "(default: the current directory)",
    )
    arguments = parser.parse_args(words)
    try:
        from ecli_packager.btf_archive import save
        from ecli_packager.kernel_image import KernelTypesFile, read_kernel_image
    except ModuleNotFoundError as error:
        raise EcliError(f"this needs the Python module {error.name}", "pip install 'ecli-py[build,kernels]'") from error

    def running() -> KernelTypesFile:
        here = os.uname()
        return KernelTypesFile(here.release, here.version, here.machine, _read(_RUNNING))

    output = arguments.output or Path()
    if not output.is_dir() and len(arguments.images) > 1:
        raise UsageError("-o: several kernels need a directory", f"mkdir {output}")
    found = [read_kernel_image(_read(path), str(path)) for path in arguments.images] or [running()]
    for kernel in found:
        if output == Path("-"):
            write_out(kernel.btf)
            continue
        if output.is_dir():
            path = save(kernel, output)
        else:
            path = output
            try:
                path.write_bytes(kernel.btf)
            except OSError as error:
                raise EcliError(f"cannot write {path}: {error.strerror}", "choose another place with -o") from error
        sys.stderr.write(f"{path}: {len(kernel.btf) / 1024:.0f} kB, of {kernel.release} {kernel.version} ({kernel.machine})\n")
    return 0


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        hint = "this kernel has no BTF; name the file that it boots from" if path == _RUNNING else "check the path"
        raise EcliError(f"cannot read {path}: {error.strerror}", hint) from error
