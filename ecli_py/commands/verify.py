"""``ecli-py verify``: whether a signature holds, and whose it is."""

from __future__ import annotations

import json

from ecli_py.fetch import FetchOptions
from ecli_py.parser import Parser, add_fetch_options
from ecli_py.report import printable, write_out
from ecli_py.trust.guard import look_up
from ecli_py.trust.keys import TrustedKey, trusted_keys
from ecli_py.trust.minisign import KeyFormatError, parse_public_key
from ecli_py.trust.places import TrustError
from ecli_py.trust.signers import verify_signature
from ecli_py.trust.signing import read_file


def main(words: list[str]) -> int:
    """Verify a signature; returns the exit status."""
    parser = Parser("ecli-py verify", "Tell whose signature a package has, and whether it holds.")
    parser.add_argument("package", metavar="PACKAGE", help="file, URL, HOST/REPO:TAG of a registry, or name in a catalogue")
    parser.add_argument("--key", metavar="KEY", help="public key, its file, or its name in the trust store (default: any there)")
    parser.add_argument("--signature", metavar="FILE", help="the signature (default: what is published beside PACKAGE)")
    add_fetch_options(parser)
    parser.add_argument("--json", action="store_true", help="one JSON object instead of text")
    arguments = parser.parse_args(words)
    # Anything can be signed, a catalogue for example.
    options = FetchOptions(offline=arguments.offline, insecure=arguments.insecure, check=lambda _name, _content: None)
    fetched = look_up(arguments.package, options)
    data = fetched.signature() if arguments.signature is None else read_file(arguments.signature)
    if data is None:
        raise TrustError(f"{fetched.reference} is not signed", "--signature FILE names a signature that is elsewhere")
    keys = trusted_keys() if arguments.key is None else [_find(arguments.key)]
    first, *others = verify_signature(fetched.content, data, keys)
    signer, comment = first.trusted, first.comment
    if arguments.json:
        document = {"signed_by": signer.name, "key": str(signer.key), "digest": fetched.digest, "trusted_comment": comment}
        write_out(json.dumps(document, indent=2) + "\n")
    else:
        write_out(
            printable(f"signed by {signer.name} (key {signer.key.name})\ntrusted comment: {comment}\ndigest: {fetched.digest}\n")
        )
        for each in others:
            write_out(printable(f"also signed by {each.trusted.name} (key {each.trusted.key.name})\n"))
    return 0


def _find(word: str) -> TrustedKey:
    """Return the key that a word means: a key itself, a name in the trust store, or a file."""
    try:
        key = parse_public_key(word.encode())
    except (KeyFormatError, UnicodeEncodeError):
        for each in trusted_keys():
            if each.name == word:
                return each
        key = parse_public_key(read_file(word))
    return TrustedKey(key.name, key, "")
