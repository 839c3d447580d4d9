"""``ecli-py publish``: packages as a directory that any web server can serve."""

from __future__ import annotations

from ecli_py.parser import Parser
from ecli_py.report import write_out
from ecli_py.site import publish
from ecli_py.trust.passwords import read_secret_key
from ecli_py.trust.signing import default_key_path


def main(words: list[str]) -> int:
    """Write a site; returns the exit status."""
    parser = Parser(
        "ecli-py publish",
        "Write packages, a catalogue of them (catalogue.json) and a page for people (index.html) into a directory that any web "
        "server can serve. What is there already stays, and is listed, too.",
    )
    parser.add_argument("directory", metavar="DIR", help="the directory; it is made if there is none")
    parser.add_argument("packages", nargs="*", metavar="PACKAGE", help="files to add; a signature beside one comes with it")
    parser.add_argument("--title", metavar="TEXT", default="eBPF tools", help="heading of the page")
    parser.add_argument("--sign", action="store_true", help="sign the catalogue, and packages that have no signature")
    parser.add_argument("--key", metavar="FILE", help="secret key for that (default: ~/.minisign/minisign.key)")
    arguments = parser.parse_args(words)
    key = read_secret_key(arguments.key or default_key_path()) if arguments.sign or arguments.key else None
    entries = publish(arguments.directory, arguments.packages, arguments.title, key)
    write_out("".join(f"{each.name} {each.version or '-'}  {each.url}\n" for each in entries))
    return 0
