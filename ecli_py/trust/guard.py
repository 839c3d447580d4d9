"""What a run asks of a package that is not just a file here, or where policies or a lock say something about it."""

from __future__ import annotations

import os

from ecli_py.fetch import FetchError, fetch, parse_reference
from ecli_py.report import warn
from ecli_py.trust import LOCK_FILE
from ecli_py.trust.admit import admit_signer, terms_for
from ecli_py.trust.lock import LockError, lock_name, read_lock
from ecli_py.trust.places import TrustError
from ecli_py.trust.policy import load_policies

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from ecli_py.fetch import Fetched, FetchOptions
    from ecli_py.trust.admit import Terms
    from ecli_py.trust.keys import TrustedKey
    from ecli_py.trust.lock import Pin
    from ecli_py.trust.policy import Policy


_OTHER_KEY = "use the key of whoever signed it"


class Guard:
    """A package that was fetched, is what the lock pins, and whose signer may run things here.

    Args:
        reference: As the user has it: a place, or a name in a catalogue.
        options: How to fetch.
        allow_unsigned: The user takes it unsigned.
        ask: Ask on a terminal.
        later: Only warn of what is not signed, as long as nobody calls :meth:`admit`: showing help runs nothing.

    Attributes:
        fetched: The package.
        terms: What holds of it.
        signer: Who has signed it, if somebody needs to have; ``None``: nobody.

    Raises:
        FetchError: It cannot be had.
        TrustError: It is not what the lock pins, or not signed as it must be.
        EcliError: A policy, the lock or a catalogue is damaged.
    """

    fetched: Fetched
    terms: Terms
    signer: TrustedKey | None

    def __init__(self, reference: str, options: FetchOptions, *, allow_unsigned: bool, ask: bool, later: bool = False) -> None:
        policies = load_policies()
        self._reference = reference
        pin = self._pin()
        self.fetched = fetch(locate(reference, policies, options, pin), options=options)
        if pin is not None and self.fetched.digest != pin.digest:
            raise LockError(
                f"{reference} has the digest {self.fetched.digest}, and {LOCK_FILE} pins {pin.digest}",
                f"ecli-py lock {reference} pins what it is now, and says what has changed",
            )
        if pin is not None and pin.key:
            self._check_key(pin)
        self.terms = terms_for(self.fetched.source, remote=self.fetched.remote, policies=policies)
        self._allow_unsigned, self._ask, self._is_admitted = allow_unsigned, ask, False
        self.signer = None
        if later:
            self._warn()
        else:
            self.admit()

    def admit(self) -> None:
        """Return if its signer may run things here; errors as those of making this."""
        if not self._is_admitted:
            self.signer = admit_signer(self.fetched, self.terms, allow_unsigned=self._allow_unsigned, ask=self._ask)
            self._is_admitted = True

    def _warn(self) -> None:
        """Say what :meth:`admit` would refuse."""
        from ecli_py.trust.minisign import SignatureError

        try:
            admit_signer(self.fetched, self.terms, allow_unsigned=self._allow_unsigned, ask=False)
        except SignatureError:
            raise
        except TrustError as error:
            warn(f"{error}; nothing of it is run to show its help")

    def _pin(self) -> Pin | None:
        pins = read_lock()
        if pins is None or self._reference == "-":
            return None
        pin = pins.get(lock_name(self._reference))
        if pin is None and not _is_file(self._reference):
            raise LockError(f"{self._reference} is not in {LOCK_FILE}", f"ecli-py lock {self._reference} pins what it is now")
        return pin

    def _check_key(self, pin: Pin) -> None:
        from ecli_py.trust.keys import TrustedKey
        from ecli_py.trust.minisign import SignatureError, parse_public_key
        from ecli_py.trust.signers import UnknownSignerError, verify_signature

        key = parse_public_key(pin.key.encode())
        signature = self.fetched.signature()
        if signature is None:
            raise LockError(f"{self._reference} is not signed, and {LOCK_FILE} pins the key {key.name}", "ask who publishes it")
        try:
            verify_signature(self.fetched.content, signature, [TrustedKey(key.name, key, LOCK_FILE)])
        except UnknownSignerError as error:
            what = str(error).partition(",")[0]
            raise LockError(f"{self._reference}: {what}, not with {key.name}; {LOCK_FILE} pins that key", _OTHER_KEY) from error
        except SignatureError as error:
            raise LockError(f"{self._reference}: {error}; {LOCK_FILE} pins that key", error.hint) from error


def look_up(reference: str, options: FetchOptions) -> Fetched:
    """Return what is behind a reference, which may be a name in a catalogue, whoever may run it; errors as :class:`Guard`."""
    return fetch(locate(reference, load_policies(), options), options=options)


def locate(reference: str, policies: Sequence[Policy], options: FetchOptions, pin: Pin | None = None) -> str:
    """Return the place that is meant by a reference, which may be a name in a catalogue.

    Args:
        reference: As the user has it.
        policies: Those that name catalogues.
        options: How to fetch these.
        pin: What the lock says of it.

    Raises:
        EcliError: It means none.
    """
    if _is_file(reference):
        return reference
    from ecli_py.catalogue import configured, find_package, is_name_and_version, load_catalogues

    if not is_name_and_version(reference):
        place = parse_reference(reference)
        # Bytes that are pinned may come from the cache, though the server has others by now.
        return f"{reference}#{pin.digest.replace(':', '=')}" if pin and place.is_remote and not place.pin else reference
    if pin is not None and pin.url:
        return f"{pin.url}#{pin.digest.replace(':', '=')}"
    if not any(policy.catalogues for policy in policies):
        raise FetchError(
            f"cannot read {reference}: there is no such file, and no catalogue that could have a package of that name",
            'check the path, or name a catalogue in a policy: catalogues = ["https://HOST/catalogue.json"]',
        )
    return find_package(reference, load_catalogues(configured(policies), policies, options)).reference


def _is_file(reference: str) -> bool:
    return reference == "-" or os.path.exists(reference)
