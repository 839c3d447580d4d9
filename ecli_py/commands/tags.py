"""``ecli-py tags``: the tags of a repository in a registry."""

from __future__ import annotations

import json

from ecli_py.fetch.options import FetchOptions
from ecli_py.fetch.references import parse_registry
from ecli_py.parser import Parser
from ecli_py.report import printable, write_out


def main(words: list[str]) -> int:
    """List tags; returns the exit status."""
    parser = Parser("ecli-py tags", "List the tags of a repository in a registry.")
    parser.add_argument("repository", metavar="HOST/REPO", help="repository, with oci:// or without")
    parser.add_argument("--json", action="store_true", help="a JSON list")
    parser.add_argument("--insecure", action="store_true", help="ask it over plain HTTP, though it is on another machine")
    arguments = parser.parse_args(words)
    place = parse_registry(arguments.repository)
    from ecli_py.fetch.download import retry
    from ecli_py.fetch.registry import Registry

    patience_s = FetchOptions().patience_s
    registry = Registry(place, arguments.insecure, patience_s)
    try:
        found = retry(lambda: registry.in_time(registry.tags), patience_s)
    finally:
        registry.close()
    # Those that stand for lists of signatures are no business of people's.
    tags = [each for each in found if not each.startswith("sha256-")]
    write_out(json.dumps(tags) + "\n" if arguments.json else "".join(f"{printable(each)}\n" for each in tags))
    return 0
