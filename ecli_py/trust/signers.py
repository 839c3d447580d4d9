"""Who has signed something: a signature against the keys that are trusted."""

from __future__ import annotations

from ecli_py.trust.minisign import PublicKey, parse_signature
from ecli_py.trust.places import TrustError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from ecli_py.trust.keys import TrustedKey


class UnknownSignerError(TrustError):
    """A signature is by a key that is not trusted: nothing can be said about it."""


def verify_signature(content: bytes, signature: bytes, keys: Iterable[TrustedKey]) -> TrustedKey:
    """Return whose signature of some bytes it is.

    Args:
        content: What is signed.
        signature: Contents of the signature file.
        keys: Those that count.

    Raises:
        UnknownSignerError: It claims to be by another key.
        SignatureError: It is no signature, or does not hold.
    """
    parsed = parse_signature(signature)
    for each in keys:
        if each.key.id == parsed.key_id:
            parsed.verify(content, each.key)
            return each
    name = PublicKey(parsed.key_id, b"").name
    raise UnknownSignerError(
        f"it is signed with the key {name}, which is not trusted here",
        "ecli-py trust add NAME KEY, if you know whose it is and got the public key from there",
    )
