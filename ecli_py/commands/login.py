"""``ecli-py login``: a name and a password for a registry, kept where Docker keeps them."""

from __future__ import annotations

import getpass
import sys

from ecli_py.fetch.credentials import Credentials, remove_credentials, store_credentials
from ecli_py.fetch.options import FetchOptions
from ecli_py.fetch.references import Reference, parse_host
from ecli_py.parser import Parser
from ecli_py.report import UsageError, warn, write_out
from ecli_schemas.errors import EcliError

_MAX_PASSWORD_LENGTH = 65536  # some are tokens


def main(words: list[str]) -> int:
    """Log in to a registry, or forget a login; returns the exit status."""
    parser = Parser(
        "ecli-py login",
        "Try a name and a password at a registry, and keep them where Docker does: with its credential helper, or in its "
        "config.json ($DOCKER_CONFIG, ~/.docker), which others who can read that file can use.",
    )
    parser.add_argument("host", metavar="HOST", help="registry, with its port: registry.example.org, localhost:5000")
    parser.add_argument("-u", "--username", metavar="NAME", help="name; on a terminal it is asked for")
    parser.add_argument("--password-stdin", action="store_true", help="read the password from standard input")
    parser.add_argument("--logout", action="store_true", help="forget the login instead")
    parser.add_argument("--insecure", action="store_true", help="ask it over plain HTTP, though it is on another machine")
    arguments = parser.parse_args(words)
    host = parse_host(arguments.host)
    if arguments.logout:
        found = remove_credentials(host)
        write_out(f"{host}: the login is forgotten\n" if found else f"{host}: there was no login\n")
        return 0
    credentials = _ask(arguments.username, arguments.password_stdin)
    from ecli_py.fetch.registry import Registry

    registry = Registry(Reference("oci", host), arguments.insecure, FetchOptions().patience_s, credentials)
    try:
        registry.in_time(registry.ping)
    finally:
        registry.close()
    place = store_credentials(host, credentials)
    if place.endswith(".json"):
        warn(f"the password is in {place}, not encrypted; a credential helper of Docker's would keep it better")
    write_out(f"{host}: logged in as {credentials.username}\n")
    return 0


def _ask(username: str | None, from_stdin: bool) -> Credentials:
    if not from_stdin and not sys.stdin.isatty():
        raise UsageError("standard input is no terminal to ask for a password", "--username NAME --password-stdin")
    if from_stdin and not username:
        raise UsageError("--password-stdin needs a name", "--username NAME")
    try:
        if not username:
            sys.stderr.write("Username: ")
            sys.stderr.flush()
            username = sys.stdin.readline().strip()
        password = sys.stdin.read(_MAX_PASSWORD_LENGTH).rstrip("\r\n") if from_stdin else getpass.getpass("Password: ")
    except (UnicodeDecodeError, EOFError) as error:
        raise EcliError("the password cannot be read", "it is text in UTF-8") from error
    if not username or not password or ":" in username:
        raise EcliError("a login has a name, without a colon, and a password", "some registries take a token as password")
    return Credentials(username, password)
