"""``ecli-py cache``: what was fetched and is kept."""

from __future__ import annotations

import json
import re
import time
from dataclasses import asdict
from typing import TYPE_CHECKING

from ecli_py.fetch.cache import Cache, cache_directory
from ecli_py.parser import Parser
from ecli_py.report import UsageError, printable, write_out
from ecli_schemas.errors import EcliError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ecli_py.fetch.cache import Entry, Removed

_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_UNITS_BYTES = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
_ACTIONS = {
    "list": "show what is kept, the last used first",
    "prune": "remove what nobody has used for some time",
    "clear": "remove everything",
    "path": "print where it is",
}


def main(words: list[str]) -> int:
    """Look after the cache; returns the exit status."""
    actions = "; ".join(f"{name}: {text}" for name, text in _ACTIONS.items())
    parser = Parser("ecli-py cache", "Look after the packages that were fetched: each user has a cache, root one of its own.")
    parser.add_argument("action", choices=list(_ACTIONS), metavar="ACTION", help=actions)
    parser.add_argument("--json", action="store_true", help="of list, prune and clear: JSON instead of text")
    parser.add_argument("--unused-for", metavar="TIME", help="of prune: since when, as 30d or 12h (default: 30d)")
    parser.add_argument("--keep", metavar="SIZE", help="of prune: keep this much of what was used last: 100M, 1G")
    arguments = parser.parse_args(words)
    if arguments.action != "prune" and (arguments.unused_for or arguments.keep):
        raise UsageError("--unused-for and --keep are of `ecli-py cache prune`", "leave them out")
    if arguments.action == "path":
        write_out(f"{cache_directory()}\n")
        return 0
    unused_s = _number(arguments.unused_for or "30d", "--unused-for", _UNITS_S, "30d or 12h")
    keep = None if arguments.keep is None else _number(arguments.keep, "--keep", _UNITS_BYTES, "100M or 1G")
    if not cache_directory().exists():
        write_out(("[]" if arguments.action == "list" else '{"files": 0, "size": 0}') + "\n" if arguments.json else "")
        return 0
    cache = Cache(cache_directory())
    if arguments.action == "list":
        entries = cache.entries()
        lines = [json.dumps([asdict(each) for each in entries], indent=2)] if arguments.json else _lines(entries)
        write_out("".join(f"{line}\n" for line in lines))
    else:
        _tell(cache.clear() if arguments.action == "clear" else cache.prune(unused_s, keep), arguments.json)
    return 0


def _lines(entries: list[Entry]) -> Iterator[str]:
    now = time.time()
    yield f"{'USED':>8} {'SIZE':>9}  {'DIGEST':19}  REFERENCE"
    for each in entries:
        if each.size:  # without bytes it says that there is no signature
            used = f"{_short_age(now - each.used_at)} ago"
            yield printable(f"{used:>8} {_size_text(each.size):>9}  {each.digest[:19]}  {each.reference}")


def _tell(removed: Removed, as_json: bool) -> None:
    if as_json:
        write_out(json.dumps(asdict(removed)) + "\n")
    else:
        write_out(f"removed {removed.files} file{'' if removed.files == 1 else 's'}, {_size_text(removed.size)}\n")


def _short_age(seconds: float) -> str:
    unit = next((unit for unit in ("d", "h", "m") if seconds >= _UNITS_S[unit]), "s")
    return f"{max(int(seconds / _UNITS_S[unit]), 0)}{unit}"


def _size_text(size: int) -> str:
    for unit, name in ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if size >= unit:
            return f"{size / unit:.1f} {name}"
    return f"{size} B"


def _number(text: str, option: str, units: dict[str, int], example: str) -> int:
    """Return a number with a unit.

    Raises:
        EcliError: It is none.
    """
    found = re.fullmatch(r"([0-9]{1,12})([A-Za-z]?)", text, re.ASCII)
    unit = found[2] if found else ""
    if found is None or unit not in units:
        raise EcliError(f"{option}: expected a number with a unit, got {text!r}", f"for example {example}")
    return int(found[1]) * units[unit]
