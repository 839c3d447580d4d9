"""What the values of annotations in comments must be: as in a package, but that a key which nothing reads is a mistake."""

from __future__ import annotations

import difflib

from .checks import Mismatch, optional, record, required
from .dialects import (
    ATTACH_NUMBERS,
    ATTACH_OBJECTS,
    CMDARG_KEYS,
    FIELD_MAP_KEYS,
    SAMPLE_KEYS,
    WITH_SYMBOLS_KEY,
    make_stack_trace,
)
from .model import Sample
from .wording import shown, step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .checks import Check, Key
    from .model import Json, StackTrace


def _closed(what: str, build: Callable[..., Any], *keys: Key) -> Check[Any]:
    """Accept as :func:`record` does, but no other keys."""
    check = record(what, build, *keys)
    known = [key for key, *_ in keys]

    def check_closed(value: Json) -> Any:
        for key in value if isinstance(value, dict) else ():
            if key not in known:
                near = difflib.get_close_matches(key, known, n=1)
                meant = f"did you mean {shown(near[0])}?" if near else f"known: {', '.join(map(shown, known))}"
                raise Mismatch(f"there is no such key; {meant}", step(key))
        return check(value)

    return check_closed


def _interpreter(stack_trace: StackTrace | None = None) -> StackTrace | None:
    return stack_trace


_STACK_TRACE = _closed(
    "an object that describes a stack trace",
    make_stack_trace,
    optional("field_map", _closed("an object that names members", dict, *FIELD_MAP_KEYS)),
    WITH_SYMBOLS_KEY,
)

# Word → (what its value must be and what it becomes, an example).
ANNOTATIONS: dict[str, tuple[Check[Any], str]] = {
    "cmdarg": (_closed("an object that describes an option", dict, *CMDARG_KEYS), '{"short": "p", "help": "…"}'),
    "sample": (_closed("an object that describes how the map is sampled", Sample, *SAMPLE_KEYS), '{"interval": 1000}'),
    "intepreter": (_closed("an object", _interpreter, required("stack_trace", _STACK_TRACE)), '{"stack_trace": {}}'),
    **{name: (check, "1") for name, check in ATTACH_NUMBERS.items()},
    **{
        name: (_closed(what, dict, *keys), "{" + ", ".join(f'"{key}": …' for key, *_ in keys) + "}")
        for name, (what, keys) in ATTACH_OBJECTS.items()
    },
}
