"""What a package may be allowed to do, in the words of ``--allow`` and of policies."""

from __future__ import annotations

from ecli_py.trust.places import TrustError
from ecli_schemas.model import FACTS, READING_FACTS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

OBSERVE, ALL = "observe", "all"
# Word → facts of a behaviour that it allows. Whatever only reads is allowed by each.
FACTS_OF = {
    OBSERVE: (),
    "network": ("drops_or_redirects_packets", "modifies_packets", "changes_sockets"),
    "enforce": ("denies_operations",),
    "signals": ("sends_signals",),
    "override": ("overrides_returns",),
    "user-memory": ("writes_user_memory",),
    "replace": ("replaces_kernel_functions",),
    "other": ("other_effects",),
    ALL: FACTS,
}
_WORD_OF = {fact: word for word, facts in FACTS_OF.items() if word != ALL for fact in facts}


def parse_allowance(said: str | Iterable[str]) -> tuple[str, ...]:
    """Return the words of ``--allow network,enforce``, or of a list of them.

    Raises:
        TrustError: One of them is none.
    """
    words = tuple(word.strip() for word in (said.split(",") if isinstance(said, str) else said))
    for word in words:
        if word not in FACTS_OF:
            raise TrustError(f"--allow: there is no {word!r}", f"one or more of {', '.join(FACTS_OF)}, with commas between them")
    return words


def allowed_facts(words: Iterable[str]) -> frozenset[str]:
    """Return the facts that some words allow."""
    return READING_FACTS.union(*(FACTS_OF[word] for word in words))


def word_for(fact: str) -> str:
    """Return the word that allows a fact."""
    return _WORD_OF[fact]


def words_for(facts: Iterable[str]) -> tuple[str, ...]:
    """Return the words that allow all of some facts, ``observe`` if they only read."""
    return tuple(dict.fromkeys(word_for(fact) for fact in facts if fact not in READING_FACTS)) or (OBSERVE,)
