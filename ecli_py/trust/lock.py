"""``ecli.lock``: which bytes the references of a directory mean.

A lock only narrows: what it pins is refused if it has changed, and nothing is trusted because a lock has it.
"""

from __future__ import annotations

import json
import os
import re
import stat

from ecli_py.fetch import FetchError, parse_reference
from ecli_py.trust import LOCK_FILE
from ecli_py.trust.places import TrustError, write_whole
from ecli_schemas.checks import Mismatch, integer, is_text, mapping_of, optional, record, required, string
from ecli_schemas.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

FORMAT_VERSION = 1
_MAX_FILE_SIZE_BYTES = 4 << 20
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}", re.ASCII)


class LockError(TrustError):
    """A lock is damaged, or something is not what it pins."""


class Pin(Record):
    """What a reference means.

    Attributes:
        digest: ``sha256:…`` of the package.
        schema: ``sha256:…`` of the JSON Schema of its events.
        url: Of a catalogue's package: where it is; else empty.
        key: Public key that signed it; empty: it was not signed by a key that was trusted.
    """

    digest: str
    schema: str = ""
    url: str = ""
    key: str = ""


def _is_digest(text: str) -> bool:
    return _DIGEST.fullmatch(text) is not None


_digest = string("sha256: and 64 hexadecimal digits", _is_digest)
_lock = record(
    "a lock (a JSON object)",
    lambda packages, lock: packages,  # noqa: ARG005  the version was only to be checked
    required("lock", integer(f"the integer {FORMAT_VERSION}", FORMAT_VERSION, FORMAT_VERSION)),
    required(
        "packages",
        mapping_of(
            "an object with packages",
            record(
                "an object",
                Pin,
                required("digest", _digest),
                optional("schema", _digest),
                optional("url", string("a URL", lambda text: is_text(text) and text.isprintable(), 0, 4096)),
                optional("key", string("a public key", lambda text: is_text(text) and text.isprintable(), 0, 200)),
            ),
        ),
    ),
)


def read_lock(path: str = LOCK_FILE) -> dict[str, Pin] | None:
    """Return what a lock pins, by reference; ``None``: there is no lock.

    Raises:
        LockError: It cannot be read, or is none.
    """
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # a pipe, say, would keep us waiting
            raise LockError(f"{path} is no file", _HOW)
        with open(path, "rb") as file:
            data = file.read(_MAX_FILE_SIZE_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise LockError(f"cannot read {path}: {error.strerror}", "check its permissions") from error
    return parse_lock(data, path)


def parse_lock(data: bytes, path: str) -> dict[str, Pin]:
    """Return what a lock pins; errors as :func:`read_lock`."""
    if len(data) > _MAX_FILE_SIZE_BYTES:
        raise LockError(f"{path} is larger than {_MAX_FILE_SIZE_BYTES >> 20} MiB", "this is no lock")
    try:
        pins: dict[str, Pin] = _lock(json.loads(data))
    except Mismatch as mismatch:
        raise LockError(f"{path}: ${mismatch.path}: {mismatch.message}", _HOW) from mismatch
    except json.JSONDecodeError as error:
        raise LockError(f"{path}:{error.lineno}: this is no JSON: {error.msg}", _HOW) from error
    except (ValueError, RecursionError) as error:
        raise LockError(f"{path} is no lock: it is not JSON", _HOW) from error
    return pins


_HOW = "take it from your version control, or remove it and say `ecli-py lock PACKAGE...` again"


def write_lock(pins: Mapping[str, Pin], path: str = LOCK_FILE) -> None:
    """Write a lock, whole or not at all.

    Raises:
        EcliError: It cannot be written.
    """
    packages = {
        name: {part: value for part, value in zip(pin._fields, pin._values(), strict=True) if value}
        for name, pin in sorted(pins.items())
    }
    document = {"lock": FORMAT_VERSION, "packages": packages}
    write_whole(path, (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode())


def lock_name(reference: str) -> str:
    """Return what a reference is called in the lock of this directory: the path of a file here is relative.

    Raises:
        LockError: Standard input cannot be pinned.
    """
    if reference == "-":
        raise LockError("standard input cannot be locked", "lock a file or a URL")
    try:
        place = parse_reference(reference)
    except FetchError:
        return reference
    if place.kind != "file" or not os.path.exists(place.location):
        return reference
    path = os.path.relpath(place.location)
    return os.path.abspath(path) if path.startswith(os.pardir + os.sep) else path
