"""Which members of events are shown, and in which order: ``--fields pid,comm`` or ``--fields=-uid``."""

from __future__ import annotations

from ecli_runtime.decode.events import Event
from ecli_runtime.decode.plan import flattened
from ecli_schemas.errors import EcliError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ecli_runtime.decode.plan import Plan
    from ecli_runtime.stream import Source


class Fields:
    """A choice of members.

    Args:
        text: Names separated by commas, of members of structs as ``head.pid``; with ``-`` before it, a member is left out. Only
            such: all others are shown.
        sources: What events there are.

    Raises:
        EcliError: No event has a member of that name, or no member is left to show.
    """

    def __init__(self, text: str, sources: Sequence[Source]) -> None:
        words = [word.strip() for word in text.split(",") if word.strip()]
        known = list(dict.fromkeys(name for source in sources for name in _members(source)))
        full = {short: name for source in sources for name, short in _short_names(source).items() if short not in known}
        self._left_out = [full.get(word[1:], word[1:]) for word in words if word.startswith("-")]
        self._shown = [full.get(word, word) for word in words if not word.startswith("-")]
        for name in (*self._shown, *self._left_out):
            if not any(_is_in(each, name) for each in known):
                raise EcliError(f"--fields: there is no member {name!r}", _nearest(name, known))
        repeated = next((name for index, name in enumerate(words) if name in words[:index]), None)
        if repeated is not None:
            raise EcliError(f"--fields: {repeated} is named twice", "name it once")
        if not words or not self.names(known):
            raise EcliError("--fields: no member is left to show", f"members: {', '.join(known)}")

    def names(self, members: Iterable[str]) -> tuple[str, ...]:
        """Return the chosen ones of an event's members, in the order to show them.

        Args:
            members: Those that would be shown without a choice. A struct that is among them as a whole may be named in part.
        """
        names: list[str] = []
        members = list(members)
        for word in self._shown or members:
            names += [each for each in members if _is_in(each, word)] or [word for each in members if _is_in(word, each)]
        return tuple(name for name in names if not any(_is_in(name, word) for word in self._left_out))

    def of(self, plan: Plan) -> tuple[str, ...]:
        """Return the chosen ones of what a plan has, as :meth:`names`; a member of a struct elsewhere may be none here."""
        leaves = [op.name for op in flattened(plan).top_level()]
        names = self.names(op.name for op in plan.top_level())
        return tuple(name for name in names if any(_is_in(each, name) for each in leaves))

    def pick(self, event: Event) -> Event:
        """Return an event with the chosen members alone, possibly none. A line of an iterator stays as it is."""
        if event.source.lines:
            return event
        return Event({name: event[name] for name in self.names(event) if name in event}, event.source, event.type_name)


def _is_in(name: str, member: str) -> bool:
    """Tell whether a name is that of a member, or of one in it."""
    return name == member or name.startswith(member + ".")


def _members(source: Source) -> list[str]:
    if source.sample is not None:
        return list(_short_names(source)) or ["key", "value"]
    return [op.name for plan in source.plans for op in flattened(plan).top_level()] or ["data"]


def _short_names(source: Source) -> dict[str, str]:
    """Return the names of members of a map's entries in full, and what they may be called instead: ``key.pid`` → ``pid``."""
    if source.sample is None or not source.plans:
        return {}
    from ecli_runtime.decode.entries import entry_plan, short_names

    return short_names(entry_plan(source))


def _nearest(name: str, known: list[str]) -> str:
    from difflib import get_close_matches

    near = get_close_matches(name, known, n=1)
    return f"did you mean {near[0]}?" if near else f"members: {', '.join(known)}"
