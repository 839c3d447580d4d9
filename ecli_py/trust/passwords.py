"""Passwords of secret keys, and questions on a terminal."""

from __future__ import annotations

import getpass
import os
import sys

from ecli_py.trust.minisign import parse_secret_key
from ecli_py.trust.places import TrustError
from ecli_schemas.errors import EcliError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ecli_py.trust.minisign import SecretKey

_MAX_FILE_SIZE_BYTES = 16 << 10


def ask_password(prompt: str) -> bytes:
    """Ask for a password on the terminal; without one it is the first line of standard input, as minisign takes it.

    Raises:
        TrustError: There is none.
    """
    try:
        if sys.stdin.isatty():
            return getpass.getpass(prompt, sys.stderr).encode()
        line = sys.stdin.buffer.readline()
    except (EOFError, OSError) as error:
        raise TrustError("there is no terminal to ask for a password", "give it on standard input") from error
    if not line.endswith(b"\n") and not line:
        raise TrustError("standard input has no password", "give it as a line, or run the command on a terminal")
    return line.rstrip(b"\r\n")


def new_password() -> bytes:
    """Ask for a new password, twice on a terminal; errors as :func:`ask_password`."""
    password = ask_password("Password for the new secret key: ")
    if sys.stdin.isatty() and ask_password("The same password again: ") != password:
        raise TrustError("the two passwords differ", "try again")
    if not password:
        raise TrustError("an empty password protects nothing", "choose one, or say -W for a secret key without")
    return password


def read_secret_key(path: str) -> SecretKey:
    """Read a secret key, and ask for its password if it has one.

    Raises:
        EcliError: It cannot be read, is none, or the password is wrong.
    """
    try:
        with open(path, "rb") as file:
            data = file.read(_MAX_FILE_SIZE_BYTES + 1)
    except OSError as error:
        raise EcliError(
            f"cannot read the secret key {path}: {error.strerror}", "`ecli-py keygen` makes one; --key FILE says where it is"
        ) from error
    return parse_secret_key(data, lambda: ask_password(f"Password of {os.path.basename(path)}: "))
