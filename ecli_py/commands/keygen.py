"""``ecli-py keygen``: a key to sign packages with."""

from __future__ import annotations

import os

from ecli_py.parser import Parser
from ecli_py.report import write_out
from ecli_py.trust.minisign import generate
from ecli_py.trust.passwords import new_password
from ecli_py.trust.places import write_whole
from ecli_py.trust.signing import default_key_path
from ecli_schemas.errors import EcliError


def main(words: list[str]) -> int:
    """Make a key; returns the exit status."""
    parser = Parser("ecli-py keygen", "Make a key to sign packages with, in minisign's format.")
    parser.add_argument("output", nargs="?", metavar="FILE", help="the secret key (default: ~/.minisign/minisign.key)")
    parser.add_argument("--public", metavar="FILE", help="the public key (default: the secret key's name with .pub)")
    parser.add_argument("-W", "--no-password", action="store_true", help="do not encrypt the secret key")
    parser.add_argument("-f", "--force", action="store_true", help="replace a key that is there")
    arguments = parser.parse_args(words)
    secret = arguments.output or default_key_path()
    public = arguments.public or os.path.splitext(secret)[0] + ".pub"
    if os.path.abspath(secret) == os.path.abspath(public):
        raise EcliError("secret and public key cannot be one file", "--public FILE names another")
    for path in (secret, public):
        if os.path.lexists(path) and not arguments.force:
            raise EcliError(
                f"{path} is there already: what it has signed could not be made again", "choose another name, or say --force"
            )
    key = generate()
    data = key.file(None if arguments.no_password else new_password())
    write_whole(secret, data, 0o600, 0o700)
    write_whole(public, key.public().file())
    write_out(
        f"secret key: {secret}\npublic key: {public}\n\nWhoever trusts you says:\n  ecli-py trust add NAME {key.public()}\n"
    )
    return 0
