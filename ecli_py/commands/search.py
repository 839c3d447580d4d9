"""``ecli-py search``: packages in catalogues."""

from __future__ import annotations

import json

from ecli_py.catalogue import CatalogueError, configured, load_catalogues, search
from ecli_py.fetch import FetchOptions
from ecli_py.parser import Parser, add_fetch_options
from ecli_py.render.plain import columns, one_line
from ecli_py.report import write_out
from ecli_py.trust.policy import load_policies


def main(words: list[str]) -> int:
    """Find packages; returns the exit status."""
    parser = Parser("ecli-py search", "Find packages in catalogues, by name and description.")
    parser.add_argument("word", nargs="?", default="", metavar="WORD", help="what to look for (default: all)")
    parser.add_argument(
        "--catalogue", action="append", metavar="WHERE", help="file or URL, instead of those that policies name; repeatable"
    )
    add_fetch_options(parser)
    parser.add_argument("--json", action="store_true", help="a JSON list instead of text")
    arguments = parser.parse_args(words)
    policies = load_policies()
    places = arguments.catalogue or configured(policies)
    options = FetchOptions(offline=arguments.offline, insecure=arguments.insecure)
    found = search(arguments.word, load_catalogues(places, policies, options))
    if arguments.json:
        write_out(json.dumps([each.document() for each in found], indent=2) + "\n")
    elif found:
        rows = [(each.name, each.version or "-", one_line(each.description)) for each in found]
        write_out("\n".join(columns(rows, "")) + "\n")
    else:
        raise CatalogueError(f"nothing is called {arguments.word!r} or described so", "ecli-py search, without a word, lists all")
    return 0
