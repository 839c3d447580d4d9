"""Signing packages and other files: what the trusted comment says, and where a signature is."""

from __future__ import annotations

import hashlib
import os
import time

from ecli_py.trust.places import TrustError, write_whole
from ecli_schemas.errors import EcliError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ecli_py.trust.minisign import SecretKey

SUFFIX = ".minisig"


def default_key_path() -> str:
    """Return where ``keygen`` writes the secret key and ``sign`` looks for it: that of minisign."""
    return os.path.join(os.environ.get("MINISIGN_CONFIG_DIR") or os.path.expanduser("~/.minisign"), "minisign.key")


def trusted_comment(path: str, data: bytes) -> str:
    """Return what a signature says besides: when, what the file was called, and its digest."""
    name = "".join(c for c in os.path.basename(path) if c.isprintable())[:200]
    return f"timestamp:{int(time.time())}\tfile:{name}\tsha256:{hashlib.sha256(data).hexdigest()}"


def sign_file(path: str, key: SecretKey, comment: str = "", output: str = "", *, legacy: bool = False) -> str:
    """Write the signature of a file beside it; return its path.

    Args:
        path: The file.
        key: What to sign with.
        comment: Trusted comment; empty: :func:`trusted_comment`.
        output: Where to write it; empty: the file's name with ``.minisig``.
        legacy: As :meth:`SecretKey.sign`.

    Raises:
        EcliError: The file cannot be read, or the signature not be written.
    """
    if path.endswith(SUFFIX):
        raise TrustError(f"{path} is a signature", "sign the file that it is of")
    data = read_file(path)
    signature = key.sign(data, comment or trusted_comment(path, data), legacy=legacy)
    output = output or path + SUFFIX
    write_whole(output, signature)
    return output


def read_file(path: str) -> bytes:
    """Return the contents of a file.

    Raises:
        EcliError: It cannot be read.
    """
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise EcliError(f"cannot read {path}: {error.strerror}", "check the path") from error
