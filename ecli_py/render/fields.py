"""Which members of events are shown, and in which order: ``--fields pid,comm`` or ``--fields=-uid``."""

from __future__ import annotations

from ecli_runtime.decode.events import Event
from ecli_schemas.errors import EcliError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from ecli_runtime.stream import Source


class Fields:
    """A choice of members.

    Args:
        text: Names separated by commas; with ``-`` before it, a member is left out. Only such: all others are shown.
        sources: What events there are.

    Raises:
        EcliError: No event has a member of that name.
    """

    def __init__(self, text: str, sources: Sequence[Source]) -> None:
        words = [word.strip() for word in text.split(",") if word.strip()]
        self._left_out = frozenset(word[1:] for word in words if word.startswith("-"))
        self._shown = [word for word in words if not word.startswith("-")]
        known = list(dict.fromkeys(name for source in sources for name in _members(source)))
        for name in (*self._shown, *self._left_out):
            if name not in known:
                raise EcliError(f"--fields: there is no member {name!r}", _nearest(name, known))

    def names(self, members: Collection[str]) -> tuple[str, ...]:
        """Return the chosen ones of an event's members, in the order to show them."""
        return tuple(name for name in self._shown or members if name in members and name not in self._left_out)

    def pick(self, event: Event) -> Event:
        """Return an event with the chosen members alone. A line of an iterator stays as it is."""
        if event.source.lines:
            return event
        return Event({name: event[name] for name in self.names(event)}, event.source, event.type_name)


def _members(source: Source) -> list[str]:
    if source.sample is not None:
        return ["key", "value"]
    return [op.name for plan in source.plans for op in plan.top_level()] or ["data"]


def _nearest(name: str, known: list[str]) -> str:
    from difflib import get_close_matches

    near = get_close_matches(name, known, n=1)
    return f"did you mean {near[0]}?" if near else f"members: {', '.join(known)}"
