"""Who has signed something, for those who look at it and run nothing."""

from __future__ import annotations

from ecli_py.fetch.errors import FetchError
from ecli_py.trust.keys import trusted_keys
from ecli_py.trust.minisign import SignatureError
from ecli_py.trust.places import TrustError
from ecli_py.trust.signers import verify_signature

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ecli_py.fetch import Fetched


def describe_signature(fetched: Fetched) -> dict[str, Any]:
    """Return who has signed something, as one JSON object.

    ``signed``: whether there is a signature, ``null`` if that is not known; ``holds``: ``false`` if it is not of these bytes,
    ``null`` if nobody here knows the key; ``by``: list of ``name``, ``key`` (its id) and ``comment`` of those that are trusted
    and have signed; ``problem``: why there is none of them, or empty.
    """
    try:
        signature = fetched.signature()
    except FetchError as error:
        return {"signed": None, "holds": None, "by": [], "problem": str(error)}
    if signature is None:
        return {"signed": False, "holds": None, "by": [], "problem": "it is not signed"}
    try:
        found = verify_signature(fetched.content, signature, trusted_keys())
    except SignatureError as error:
        return {"signed": True, "holds": False, "by": [], "problem": str(error)}
    except TrustError as error:
        return {"signed": True, "holds": None, "by": [], "problem": str(error)}
    by = [{"name": each.trusted.name, "key": each.trusted.key.name, "comment": each.comment} for each in found]
    return {"signed": True, "holds": True, "by": by, "problem": ""}
