"""Catalogues: plain JSON that says which packages there are, and where.

``{"catalogue": 1, "packages": [{"name", "version", "digest", "description", "url"}, …]}``; a URL may be relative to that of the
catalogue. Whatever it says is untrusted: the digest binds it to what is fetched, and the signature is the package's own.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import replace
from urllib.parse import urljoin

from ecli_py.fetch import FetchError, FetchOptions, fetch, parse_reference
from ecli_py.report import warn
from ecli_py.trust.admit import admit_signer, terms_for
from ecli_py.trust.places import TrustError
from ecli_schemas.checks import Mismatch, integer, is_text, list_of, optional, record, required, string
from ecli_schemas.errors import EcliError
from ecli_schemas.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

    from ecli_py.fetch import Fetched
    from ecli_py.trust.policy import Policy

FORMAT_VERSION = 1
_MAX_SIZE_BYTES = 16 << 20
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", re.ASCII)
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}", re.ASCII)


class CatalogueError(EcliError):
    """A catalogue cannot be read, or does not have what is wanted."""


class Entry(Record):
    """A package of a catalogue.

    Attributes:
        name: What it is called: ``execsnoop``.
        digest: ``sha256:…`` of the package.
        url: Where it is: a reference, complete.
        version: Its version, or empty.
        description: For people, or empty.
        size_bytes: Of the package; ``None``: it is not said.
        allow: What it needs to be allowed: words of ``--allow``. A claim: a run looks into the package.
        catalogue: Where the catalogue is.
    """

    name: str
    digest: str
    url: str
    version: str = ""
    description: str = ""
    size_bytes: int | None = None
    allow: tuple[str, ...] = ()
    catalogue: str = ""

    @property
    def reference(self) -> str:
        """Where it is, and which bytes it must be; a local path as it is."""
        return f"{self.url}#{self.digest.replace(':', '=')}"

    def document(self) -> dict[str, Any]:
        """Return it as ``search --json`` shows it."""
        return {
            "name": self.name,
            "version": self.version,
            "description": self.description,
            "digest": self.digest,
            "url": self.url,
            "size": self.size_bytes,
            "allow": list(self.allow),
            "catalogue": self.catalogue,
        }


def is_name(text: str) -> bool:
    """Tell whether a text can be the name of a package: it becomes part of paths, too."""
    return _NAME.fullmatch(text) is not None


def is_name_and_version(text: str) -> bool:
    """Tell whether a text may mean a package of a catalogue, ``NAME`` or ``NAME@VERSION``; a file of that name comes first."""
    name, _, version = text.partition("@")
    return is_name(name) and is_name(version or "any") and not text.endswith((".json", ".tar"))


_text = string("text", is_text, 0, 2000)
_entry = record(
    "an object",
    Entry,
    required("name", string("a name of letters, digits, . _ and -", is_name)),
    required("digest", string("sha256: and 64 hexadecimal digits", lambda text: _DIGEST.fullmatch(text) is not None)),
    required("url", string("a URL", lambda text: is_text(text) and text.isprintable(), 1, 4000)),
    optional("version", string("text without blanks", lambda text: not text or is_name(text.replace("+", "_")), 0, 100)),
    optional("description", _text),
    optional("size", integer("a size in bytes", 0, 2**53 - 1), "size_bytes"),
    optional("allow", list_of("words", string("a word", is_name))),
)
_catalogue = record(
    "a catalogue (a JSON object)",
    lambda packages, catalogue: packages,  # noqa: ARG005  the version was only to be checked
    required("catalogue", integer(f"the integer {FORMAT_VERSION}", FORMAT_VERSION, FORMAT_VERSION)),
    required("packages", list_of("packages", _entry)),
)


def parse_catalogue(data: bytes, where: str) -> list[Entry]:
    """Return the packages that a catalogue lists.

    Args:
        data: The catalogue.
        where: Its reference, to which URLs are relative.

    Raises:
        CatalogueError: It is none.
    """
    try:
        entries: Sequence[Entry] = _catalogue(json.loads(data))
        return [each.replace(url=_absolute(each.url, where), catalogue=where) for each in entries]
    except Mismatch as mismatch:
        raise CatalogueError(f"{where}: ${mismatch.path}: {mismatch.message}", "docs/trust.md describes catalogues") from mismatch
    except (ValueError, RecursionError) as error:
        raise CatalogueError(f"{where} is no catalogue: it is not JSON", "check the address") from error


def _absolute(url: str, where: str) -> str:
    """Return a reference that does not depend on where it stands.

    Raises:
        Mismatch: It is none, or leads from another machine to a file of this one.
    """
    try:
        place = parse_reference(where)
        if place.kind == "url":
            url = urljoin(place.location, url)
        elif place.kind == "file" and not parse_reference(url).is_remote and not url.startswith("file://"):
            url = os.path.join(os.path.dirname(os.path.abspath(place.location)), url)
        target = parse_reference(url)
    except (FetchError, ValueError) as error:
        raise Mismatch(f"a package has no URL that can be fetched: {error}", ".packages") from error
    if target.kind == "stdin" or target.pin or (place.is_remote and not target.is_remote):
        raise Mismatch(f"a package cannot be at {url!r}", ".packages")
    return url


def load_catalogues(places: Iterable[str], policies: Sequence[Policy], options: FetchOptions) -> list[Entry]:
    """Return the packages of several catalogues; one that cannot be had is only warned of, unless all are.

    Raises:
        EcliError: There is none that can be had, one is no catalogue, or it must be signed and is not.
    """
    found: list[Entry] = []
    failed: list[EcliError] = []
    read = 0
    for where in places:
        try:
            fetched = fetch(where, options=replace(options, check=_anything, max_size_bytes=_MAX_SIZE_BYTES))
        except FetchError as error:
            failed.append(error)
            continue
        _must_be_signed(fetched, policies)
        found += parse_catalogue(fetched.content, where)
        read += 1
    if failed and not read:
        raise failed[0]
    for each in failed:
        warn(str(each))
    return found


def _anything(_name: str, _content: bytes) -> None:
    """Take what is no package."""


def _must_be_signed(fetched: Fetched, policies: Sequence[Policy]) -> None:
    terms = terms_for(fetched.source, remote=fetched.remote, policies=policies)
    if any(rule.keys for rule in terms.rules):
        admit_signer(fetched, terms, allow_unsigned=True)


def configured(policies: Iterable[Policy]) -> list[str]:
    """Return where the catalogues are that policies name.

    Raises:
        TrustError: They name none.
    """
    places = list(dict.fromkeys(where for policy in policies for where in policy.catalogues))
    if not places:
        raise TrustError("no catalogue is configured", 'a policy names them: catalogues = ["https://HOST/catalogue.json"]')
    return places


def find_package(wanted: str, entries: Iterable[Entry]) -> Entry:
    """Return the package that ``NAME`` or ``NAME@VERSION`` means: the newest, in the first catalogue that has it.

    Raises:
        CatalogueError: There is none.
    """
    name, _, version = wanted.partition("@")
    entries = list(entries)
    named = [each for each in entries if each.name == name]
    if not named:
        from difflib import get_close_matches

        near = get_close_matches(name, {each.name for each in entries}, n=2)
        raise CatalogueError(
            f"there is no file {wanted}, and no package of that name in a catalogue",
            f"did you mean {' or '.join(near)}?" if near else "ecli-py search WORD finds packages",
        )
    fitting = [each for each in named if each.catalogue == named[0].catalogue] if not version else named
    fitting = [each for each in fitting if not version or each.version == version]
    if not fitting:
        known = ", ".join(dict.fromkeys(each.version or "one without a version" for each in named))
        raise CatalogueError(f"there is no version {version} of {name}", f"there are {known}")
    return max(fitting, key=lambda each: version_key(each.version))


def version_key(version: str) -> list[tuple[int, int, str]]:
    """Return a sort key: numbers by their value, and what follows a hyphen before what does not."""
    parts = re.findall(r"\d+|[A-Za-z]+", version.partition("+")[0])
    return [(1, int(part[:18]), "") if part.isdigit() else (-1, 0, part) for part in parts] + [(0, 0, "")]


def search(word: str, entries: Iterable[Entry]) -> list[Entry]:
    """Return the packages that have a word in their name or description, by name and newest first."""
    wanted = word.casefold()
    found = [each for each in entries if wanted in each.name.casefold() or wanted in each.description.casefold()]
    found.sort(key=lambda each: version_key(each.version), reverse=True)
    return sorted(found, key=lambda each: each.name)
