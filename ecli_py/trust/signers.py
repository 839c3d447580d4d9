"""Who has signed something: its signatures against the keys that are trusted."""

from __future__ import annotations

from ecli_py.trust.minisign import PublicKey, SignatureError, parse_signatures
from ecli_py.trust.places import TrustError
from ecli_schemas.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from ecli_py.trust.keys import TrustedKey


class UnknownSignerError(TrustError):
    """All signatures are by keys that are not trusted: nothing can be said about them."""


class Signer(Record):
    """Somebody who is trusted and has signed something.

    Attributes:
        trusted: The key.
        comment: What is signed with it: one line.
    """

    trusted: TrustedKey
    comment: str


def verify_signature(content: bytes, signature: bytes, keys: Iterable[TrustedKey]) -> list[Signer]:
    """Return whose signatures of some bytes they are, at least one.

    One that does not hold does no harm to those that do: whoever may write to a registry could add one.

    Args:
        content: What is signed.
        signature: Contents of the signature file; it may have several signatures, one after another.
        keys: Those that count.

    Raises:
        UnknownSignerError: They claim to be by other keys.
        SignatureError: They are no signatures, or none by a key that counts holds.
    """
    trusted = list(keys)
    found: list[Signer] = []
    problem: SignatureError | None = None
    parsed = parse_signatures(signature)
    for each in parsed:
        for key in [key for key in trusted if key.key.id == each.key_id]:  # one may be there under two names
            try:
                each.verify(content, key.key)
                found.append(Signer(key, each.trusted_comment))
            except SignatureError as error:
                problem = error
    if found:
        return found
    if problem is not None:
        raise problem
    names = dict.fromkeys(PublicKey(each.key_id, b"").name for each in parsed)
    raise UnknownSignerError(
        f"it is signed with the key {' and with '.join(names)}, which is not trusted here",
        "ecli-py trust add NAME KEY, if you know whose it is and got the public key from there",
    )
