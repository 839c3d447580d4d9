"""``ecli-py pull``: a package from anywhere, into a file."""

from __future__ import annotations

import os
import re
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from ecli_py.fetch import fetch
from ecli_py.fetch.contents import OBJECT, TAR, WASM, kind_of
from ecli_py.fetch.options import SIGNATURE_SUFFIX, FetchOptions
from ecli_py.parser import Parser, add_fetch_options
from ecli_py.report import write_out
from ecli_schemas.errors import EcliError

if TYPE_CHECKING:
    from ecli_py.fetch import Fetched

_SUFFIXES = {WASM: ".wasm", TAR: ".tar", OBJECT: ".bpf.o"}
_STDOUT = "-"


def main(words: list[str]) -> int:
    """Fetch a package; returns the exit status."""
    parser = Parser("ecli-py pull", "Fetch a package into a file, and its signature, if it has one, into FILE.minisig.")
    parser.add_argument("reference", metavar="PACKAGE", help="URL, or HOST/REPO:TAG of a registry")
    parser.add_argument("-o", "--output", metavar="FILE", help="where to; - is standard output (default: named like the package)")
    parser.add_argument("--force", action="store_true", help="replace a file that has other contents")
    add_fetch_options(parser)
    arguments = parser.parse_args(words)
    fetched = fetch(arguments.reference, options=FetchOptions(offline=arguments.offline, insecure=arguments.insecure))
    if arguments.output == _STDOUT:
        if sys.stdout.isatty() and kind_of(fetched.content) in _SUFFIXES:
            raise EcliError("the package is binary data, and standard output is a terminal", "write it to a file: -o FILE")
        write_out(fetched.content)
        return 0
    path = Path(arguments.output or _file_name(fetched))
    signature = fetched.signature()
    _write(path, fetched.content, arguments.force)
    if signature is not None:
        _write(Path(f"{path}{SIGNATURE_SUFFIX}"), signature, arguments.force)
    write_out(f"{path} {fetched.digest}{'' if signature is None else ' (signed)'}\n")
    return 0


def _file_name(fetched: Fetched) -> str:
    """Return a name for a file: the last part of the reference, of harmless characters, with the suffix of what it is."""
    place = fetched.reference.location.partition("?")[0].rstrip("/")
    stem = re.sub(r"[^A-Za-z0-9._+-]", "_", place.rpartition("/")[2]).lstrip(".-") or "package"
    suffix = _SUFFIXES.get(kind_of(fetched.content), ".json")
    return stem if stem.endswith(suffix) else f"{stem}{suffix}"


def _write(path: Path, content: bytes, force: bool) -> None:
    """Write a file whole or not at all.

    Raises:
        EcliError: It cannot be written, or is there already with other contents.
    """
    try:
        if path.exists() and not path.is_file():  # a pipe or /dev/null
            path.write_bytes(content)
            return
        if path.exists() and not force:
            if path.read_bytes() == content:
                return
            raise EcliError(f"{path} is there already, and has other contents", "--force replaces it, -o FILE takes another name")
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
            try:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
                umask = os.umask(0)
                os.umask(umask)
                os.chmod(file.name, 0o666 & ~umask)
                os.replace(file.name, path)
            finally:
                with suppress(FileNotFoundError):  # it has its own name now
                    os.unlink(file.name)
    except OSError as error:
        raise EcliError(f"cannot write {path}: {error.strerror}", "choose another place: -o FILE") from error
