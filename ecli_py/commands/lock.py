"""``ecli-py lock``: what the packages of this directory are, for good."""

from __future__ import annotations

from contextlib import suppress

from ecli_py.differences import schema_digest
from ecli_py.fetch import FetchOptions, fetch, parse_reference
from ecli_py.parser import Parser, add_fetch_options
from ecli_py.report import printable, write_out
from ecli_py.source import parse_package, unpack
from ecli_py.trust import LOCK_FILE
from ecli_py.trust.guard import locate
from ecli_py.trust.keys import trusted_keys
from ecli_py.trust.lock import LockError, Pin, lock_name, read_lock, write_lock
from ecli_py.trust.policy import load_policies
from ecli_py.trust.signers import UnknownSignerError, verify_signature

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from ecli_py.trust.policy import Policy


def main(words: list[str]) -> int:
    """Write, check or show the lock of this directory; returns the exit status."""
    parser = Parser(
        "ecli-py lock",
        f"Pin packages in {LOCK_FILE} to what they are now: digest, schema of events, key. `ecli-py run` in this directory takes "
        "nothing else for them.",
        "Without PACKAGE all that are pinned are pinned again.",
    )
    parser.add_argument("packages", nargs="*", metavar="PACKAGE", help="file, URL, HOST/REPO:TAG, or name in a catalogue")
    add_fetch_options(parser)
    ways = parser.add_mutually_exclusive_group()
    ways.add_argument("--check", action="store_true", help="change nothing, and fail if something is not as it is pinned")
    ways.add_argument("--remove", action="store_true", help="pin these no longer")
    arguments = parser.parse_args(words)
    pins = read_lock() or {}
    names = [lock_name(each) for each in arguments.packages] or list(pins)
    if not names:
        raise LockError(f"there is no {LOCK_FILE} here, and no package to pin", "ecli-py lock PACKAGE...")
    if arguments.remove:
        return _remove(pins, arguments.packages, names)
    options = FetchOptions(offline=arguments.offline, insecure=arguments.insecure)
    policies = load_policies()
    found = {name: _pin(name, policies, options) for name in names}
    changed = [name for name in names if pins.get(name) != found[name]]
    if arguments.check:
        if changed:
            lines = "".join(f"\n  {printable(name)}: {_change(pins.get(name), found[name])}" for name in changed)
            raise LockError(f"not all is as {LOCK_FILE} has it:{lines}", "ecli-py lock pins what is there now")
        return 0
    if changed:
        write_lock({**pins, **found})
    write_out("".join(f"{printable(name)}: {_change(pins.get(name), found[name])}\n" for name in names))
    return 0


def _remove(pins: dict[str, Pin], packages: Sequence[str], names: Sequence[str]) -> int:
    missing = [name for name in names if name not in pins]
    if missing or not packages:
        raise LockError(f"{missing[0]} is not in {LOCK_FILE}" if missing else "no package is said to remove", "say one that is")
    write_lock({name: pin for name, pin in pins.items() if name not in names})
    return 0


def _pin(name: str, policies: Sequence[Policy], options: FetchOptions) -> Pin:
    """Return what a package is now."""
    place = locate(name, policies, options)
    fetched = fetch(place, options=options)
    package = parse_package(unpack(fetched.content, name).data)
    signature = fetched.signature()
    key = ""
    if signature is not None:
        with suppress(UnknownSignerError):
            signers = verify_signature(fetched.content, signature, trusted_keys())
            key = str(signers[0].trusted.key)
    is_name = place != name
    return Pin(fetched.digest, schema_digest(package), _unpinned(place) if is_name else "", key)


def _unpinned(place: str) -> str:
    """Return a place without the digest that it must have, which the lock has beside it."""
    reference = parse_reference(place)
    return str(reference) if reference.is_remote else reference.location


def _change(old: Pin | None, new: Pin) -> str:
    """Return in words what a package is now, and what it was."""
    if old is None:
        return f"{new.digest}, " + ("signed" if new.key else "not signed")
    if old == new:
        return f"{new.digest}, as before"
    parts = [f"{new.digest}, was {old.digest}" if old.digest != new.digest else new.digest]
    if old.schema != new.schema:
        parts.append("its events are others: see ecli-py diff")
    if old.key != new.key:
        parts.append("signed with another key" if old.key and new.key else "signed now" if new.key else "no longer signed")
    return ", ".join(parts)
