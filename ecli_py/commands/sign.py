"""``ecli-py sign``: a signature beside a file."""

from __future__ import annotations

from ecli_py.parser import Parser
from ecli_py.report import write_out
from ecli_py.trust.passwords import read_secret_key
from ecli_py.trust.signing import default_key_path, sign_file
from ecli_schemas.errors import EcliError


def main(words: list[str]) -> int:
    """Sign files; returns the exit status."""
    parser = Parser("ecli-py sign", "Write FILE.minisig beside each FILE, which ecli-py and minisign verify.")
    parser.add_argument("files", nargs="+", metavar="FILE", help="package, catalogue or any other file")
    parser.add_argument("--key", metavar="FILE", help="secret key (default: ~/.minisign/minisign.key)")
    parser.add_argument("--output", "-o", metavar="FILE", help="the signature, of one FILE")
    parser.add_argument("--comment", metavar="TEXT", default="", help="trusted comment (default: time, name and digest of FILE)")
    parser.add_argument("--legacy", action="store_true", help="sign the bytes and not their hash, for minisign before 0.10")
    arguments = parser.parse_args(words)
    if arguments.output and len(arguments.files) > 1:
        raise EcliError("--output is the signature of one file, and there are several", "sign them one by one")
    key = read_secret_key(arguments.key or default_key_path())
    for path in arguments.files:
        written = sign_file(path, key, arguments.comment, arguments.output or "", legacy=arguments.legacy)
        write_out(f"{written}\n")
    return 0
