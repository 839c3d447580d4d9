"""The trust store: public keys by name, each a file ``keys/NAME.pub`` as minisign writes it."""

from __future__ import annotations

import os
import re

from ecli_py.trust import directories
from ecli_py.trust.minisign import KeyFormatError, parse_public_key
from ecli_py.trust.places import TrustError, read_setting, write_whole
from ecli_schemas.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ecli_py.trust.minisign import PublicKey

_SUFFIX = ".pub"


class TrustedKey(Record):
    """A key of the trust store.

    Attributes:
        name: What it is called here.
        key: The key.
        path: Its file.
    """

    name: str
    key: PublicKey
    path: str


def check_name(name: str) -> str:
    """Return a name for a key.

    Raises:
        TrustError: It is none.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.@-]{0,99}", name):
        raise TrustError(f"{name!r} is no name for a key", "letters, digits, - _ . and @")
    return name


def trusted_keys() -> list[TrustedKey]:
    """Return all keys: the machine's, then the user's. Of two with one name the machine's holds.

    Raises:
        TrustError: A file is no key, or somebody else could change it.
    """
    found: dict[str, TrustedKey] = {}
    for directory in directories():
        keys = os.path.join(directory, "keys")
        try:
            names = sorted(os.listdir(keys))
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            raise TrustError(f"cannot read {keys}: {error.strerror}", "check its permissions") from error
        for file_name in names:
            name = file_name.removesuffix(_SUFFIX)
            if file_name.endswith(_SUFFIX) and name not in found and not name.startswith("."):
                path = os.path.join(keys, file_name)
                try:
                    found[name] = TrustedKey(name, parse_public_key(read_setting(path)), path)
                except FileNotFoundError:
                    continue  # removed meanwhile
                except KeyFormatError as error:
                    raise TrustError(f"{path}: {error}", f"remove it, or put the public key of {name} there") from error
    return list(found.values())


def add_key(directory: str, name: str, key: PublicKey) -> TrustedKey:
    """Trust a key; the same one again changes nothing.

    Raises:
        TrustError: The name has another key, or the key another name.
        EcliError: Its file cannot be written.
    """
    path = os.path.join(directory, "keys", check_name(name) + _SUFFIX)
    for other in trusted_keys():
        if other.name == name and other.key != key:
            raise TrustError(f"{name} has another key: {other.key.name} in {other.path}", f"ecli-py trust remove {name}, first")
        if other.key.id == key.id and other.name != name:
            raise TrustError(
                f"the key {key.name} is trusted already, as {other.name}", f"ecli-py trust remove {other.name}, first"
            )
    write_whole(path, key.file())
    return TrustedKey(name, key, path)


def remove_key(name: str) -> list[str]:
    """Trust a key no longer, wherever it is; return the files that are gone.

    Raises:
        TrustError: There is no such key, or its file cannot be removed.
    """
    gone = []
    for directory in directories():
        path = os.path.join(directory, "keys", check_name(name) + _SUFFIX)
        try:
            os.unlink(path)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise TrustError(f"cannot remove {path}: {error.strerror}", "become its owner") from error
        gone.append(path)
    if not gone:
        raise TrustError(f"there is no key named {name}", "ecli-py trust list shows those that there are")
    return gone
