"""``ecli-py diff``: what differs between two packages."""

from __future__ import annotations

import json

from ecli_py.differences import compare
from ecli_py.parser import Parser, add_fetch_options
from ecli_py.report import write_out
from ecli_py.source import find_source, parse_package
from ecli_schemas.errors import PackageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ecli_schemas.model import Package

_STATUS_BREAKING = 3


def main(words: list[str]) -> int:
    """Compare two packages; returns the exit status."""
    parser = Parser(
        "ecli-py diff",
        "Show what differs between two packages: what they can do, where they attach, what they take, and whether a reader of "
        "the old one's events can read the new one's. Nothing is loaded; no privileges are needed.",
    )
    for name in ("old", "new"):
        parser.add_argument(name, metavar=name.upper(), help="file, URL, HOST/REPO:TAG of a registry, or name in a catalogue")
    add_fetch_options(parser)
    parser.add_argument("--json", action="store_true", help="one JSON object instead of text")
    parser.add_argument("--fail-on-breaking", action="store_true", help="end with status 3 if a reader may fail")
    arguments = parser.parse_args(words)
    first, second = (_read(each, arguments.offline, arguments.insecure) for each in (arguments.old, arguments.new))
    document = compare((first, second))
    if arguments.json:
        text = json.dumps(document, indent=2) + "\n"
    else:
        from ecli_py.render.differences import render

        text = render(document)
    write_out(text)
    return _STATUS_BREAKING if arguments.fail_on_breaking and document["events"]["verdict"] == "breaking" else 0


def _read(reference: str, offline: bool, insecure: bool) -> tuple[Package, bytes]:
    data = find_source(reference, offline=offline, insecure=insecure).data
    try:
        return parse_package(data), data
    except PackageError as error:
        raise PackageError(f"{reference}: {error}", hint=error.hint) from error
