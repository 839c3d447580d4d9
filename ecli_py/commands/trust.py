"""``ecli-py trust``: the keys that count."""

from __future__ import annotations

import json

from ecli_py.parser import Parser
from ecli_py.report import write_out
from ecli_py.trust import SYSTEM_DIRECTORY, user_directory
from ecli_py.trust.keys import add_key, remove_key, trusted_keys
from ecli_py.trust.minisign import KeyFormatError, parse_public_key
from ecli_py.trust.signing import read_file


def main(words: list[str]) -> int:
    """Show or change the trust store; returns the exit status."""
    parser = Parser("ecli-py trust", "Show and change whose signatures count on this machine.")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    add = commands.add_parser("add", description="Trust a public key.", help="trust a public key")
    add.add_argument("name", metavar="NAME", help="what it is called here and in policies")
    add.add_argument("key", metavar="KEY", help="the key (RW…), or a file that has it")
    add.add_argument("--system", action="store_true", help=f"for all users of this machine, in {SYSTEM_DIRECTORY}")
    remove = commands.add_parser("remove", description="Trust a key no longer.", help="trust a key no longer")
    remove.add_argument("name", metavar="NAME", help="what it is called here")
    shown = commands.add_parser("list", description="Show the keys that are trusted.", help="show the keys that are trusted")
    shown.add_argument("--json", action="store_true", help="a JSON list instead of text")
    arguments = parser.parse_args(words)
    if arguments.command == "add":
        try:
            key = parse_public_key(arguments.key.encode(errors="replace"))
        except KeyFormatError:
            key = parse_public_key(read_file(arguments.key))
        trusted = add_key(SYSTEM_DIRECTORY if arguments.system else user_directory(), arguments.name, key)
        write_out(f"{trusted.name}: key {key.name}, in {trusted.path}\n")
    elif arguments.command == "remove":
        write_out("".join(f"removed {path}\n" for path in remove_key(arguments.name)))
    else:
        _list(arguments.json)
    return 0


def _list(as_json: bool) -> None:
    keys = trusted_keys()
    if as_json:
        document = [{"name": each.name, "id": each.key.name, "key": str(each.key), "path": each.path} for each in keys]
        write_out(json.dumps(document, indent=2) + "\n")
        return
    width = max((len(each.name) for each in keys), default=0)
    write_out("".join(f"{each.name:{width}}  {each.key.name}  {each.path}\n" for each in keys))
