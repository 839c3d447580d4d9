"""A directory that any web server can serve: packages, signatures, ``catalogue.json`` and a page that lists them."""

from __future__ import annotations

import hashlib
import json
import os
from html import escape

from ecli_py.catalogue import FORMAT_VERSION, Entry, is_name, version_key
from ecli_py.render.inspection import FACT_WORDS
from ecli_py.render.plain import one_line, size_text
from ecli_py.source import any_object
from ecli_py.trust.allowances import OBSERVE, words_for
from ecli_py.trust.minisign import parse_signature
from ecli_py.trust.places import write_whole
from ecli_py.trust.signing import SUFFIX, read_file, trusted_comment
from ecli_runtime.behaviour import analyse
from ecli_schemas.errors import EcliError, PackageError
from ecli_schemas.model import READING_FACTS
from ecli_schemas.read import read_package
from ecli_schemas.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ecli_py.trust.minisign import SecretKey
    from ecli_schemas.model import Package

CATALOGUE, PAGE, PACKAGES = "catalogue.json", "index.html", "packages"
_NO_VERSION = "0"  # of packages that have none, in the names of their files


class _Tool(Record):
    """A package of the site.

    Attributes:
        entry: What the catalogue says of it.
        facts: Facts of its behaviour: all that any of its objects can do.
        license: Of the package, or empty.
        homepage: URL for people, or empty.
        is_signed: There is a signature.
    """

    entry: Entry
    facts: tuple[str, ...]
    license: str
    homepage: str
    is_signed: bool


def publish(directory: str, packages: Iterable[str], title: str, key: SecretKey | None = None) -> list[Entry]:
    """Write a site, or add to it; return what its catalogue lists.

    Args:
        directory: Where.
        packages: Files to add.
        title: Heading of the page.
        key: What signs the catalogue, and packages that have no signature; ``None``: nothing is signed.

    Raises:
        EcliError: A package is none, or is there already with other contents; something cannot be read or written.
    """
    added = [_prepare(directory, path) for path in packages]  # all of them, before anything is written
    for target, data, signature in added:
        write_whole(target, data)
        if signature is not None:
            write_whole(target + SUFFIX, signature)
    tools = _tools(directory, key)
    entries = [tool.entry for tool in tools]
    listed = [{part: value for part, value in each.document().items() if value and part != "catalogue"} for each in entries]
    catalogue = (json.dumps({"catalogue": FORMAT_VERSION, "packages": listed}, indent=2, ensure_ascii=False) + "\n").encode()
    where = os.path.join(directory, CATALOGUE)
    signature_path = where + SUFFIX
    is_new = not os.path.exists(where) or read_file(where) != catalogue
    if is_new and key is None and os.path.exists(signature_path):
        raise EcliError(
            f"{where} is signed, and its signature would no longer hold", "say --sign, or remove the signature if nobody needs it"
        )
    if is_new or key is not None:
        write_whole(where, catalogue)
        if key is not None:
            write_whole(signature_path, key.sign(catalogue, trusted_comment(where, catalogue)))
    write_whole(os.path.join(directory, PAGE), _page(title, tools).encode())
    return entries


def _prepare(directory: str, path: str) -> tuple[str, bytes, bytes | None]:
    """Return where a package goes, its bytes, and its signature if it has one."""
    data = read_file(path)
    package = _read(path, data)
    target = os.path.join(directory, PACKAGES, f"{_checked(path, package.name)}-{_version_of(path, package)}.json")
    if os.path.exists(target) and read_file(target) != data:
        raise EcliError(
            f"{path}: {package.name} {package.doc.version} is there already, and has other contents: {target}",
            "give it a new version, so that what others have pinned stays; or remove the old one",
        )
    signature = read_file(path + SUFFIX) if os.path.exists(path + SUFFIX) else None
    if signature is not None:
        parse_signature(signature)
    return target, data, signature


def _read(path: str, data: bytes) -> Package:
    try:
        return read_package(data)
    except PackageError as error:
        raise PackageError(f"{path}: {error}", hint=error.hint) from error


def _checked(path: str, name: str) -> str:
    if not is_name(name):
        raise EcliError(f"{path}: {name!r} cannot be the name of a file and a package", "letters, digits, . _ and -")
    return name


def _version_of(path: str, package: Package) -> str:
    return _checked(path, package.doc.version.replace("+", "_") or _NO_VERSION)


def _tools(directory: str, key: SecretKey | None) -> list[_Tool]:
    """Return all packages of a site, by name and newest first; sign those that have no signature."""
    packages = os.path.join(directory, PACKAGES)
    names = sorted(name for name in os.listdir(packages) if name.endswith(".json")) if os.path.isdir(packages) else []
    tools = []
    for name in names:
        path = os.path.join(packages, name)
        data = read_file(path)
        if key is not None and not os.path.exists(path + SUFFIX):
            write_whole(path + SUFFIX, key.sign(data, trusted_comment(path, data)))
        tools.append(_tool(path, f"{PACKAGES}/{name}", data))
    tools.sort(key=lambda tool: version_key(tool.entry.version), reverse=True)
    return sorted(tools, key=lambda tool: tool.entry.name)


def _tool(path: str, url: str, data: bytes) -> _Tool:
    package = _read(path, data)
    doc = package.doc
    _arch, elf = any_object(package)
    facts = tuple(analyse(elf, package.object_name).facts)
    entry = Entry(
        name=_checked(path, package.name),
        digest="sha256:" + hashlib.sha256(data).hexdigest(),
        url=url,
        version=doc.version,
        description=one_line(doc.brief or doc.description)[:500],
        size_bytes=len(data),
        allow=words_for(facts),
    )
    return _Tool(entry, facts, doc.license, doc.homepage, os.path.exists(path + SUFFIX))


_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #222; background: #fff }
article { border-top: 1px solid #ccc; padding: .5rem 0 }
h2 { margin: .5rem 0; font-size: 1.2rem }
h2 small, dt { color: #666; font-weight: normal }
pre, code { background: #f3f3f3; overflow-x: auto; padding: .1rem .3rem }
pre { padding: .5rem }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 0 1rem; margin: .5rem 0 }
dd { margin: 0; overflow-wrap: anywhere }
@media (prefers-color-scheme: dark) {
  body { color: #ddd; background: #181818 }
  pre, code { background: #2a2a2a }
  a { color: #8bf }
}
"""


def _page(title: str, tools: Sequence[_Tool]) -> str:
    """Return the page: no scripts, nothing from elsewhere, and all texts escaped."""
    return (
        "<!DOCTYPE html>\n"
        '<html lang="en">\n<head>\n<meta charset="utf-8">\n<meta name="viewport" content="width=device-width">\n'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<h1>{escape(title)}</h1>\n"
        f'<p>{len(tools)} packages of <code>ecli-py</code>; <a href="{CATALOGUE}">{CATALOGUE}</a> lists them for machines.</p>\n'
        + "".join(map(_article, tools))
        + "</body>\n</html>\n"
    )


def _article(tool: _Tool) -> str:
    entry = tool.entry
    shown = [FACT_WORDS[fact] for fact in tool.facts if fact not in READING_FACTS] or ["only observes"]
    link = escape(entry.url)
    signature = f'<a href="{link}{SUFFIX}">minisign</a>' if tool.is_signed else "none"
    rows = [
        ("package", f'<a href="{link}">{link}</a>, {escape(size_text(entry.size_bytes or 0))}'),
        ("digest", f"<code>{escape(entry.digest)}</code>"),
        ("signature", signature),
        ("what it can do", escape("; ".join(shown))),
        ("license", escape(one_line(tool.license) or "not said")),
    ]
    if tool.homepage.startswith(("https://", "http://")):
        rows.append(("homepage", f'<a rel="nofollow" href="{escape(tool.homepage)}">{escape(tool.homepage)}</a>'))
    details = "".join(f"<dt>{name}</dt><dd>{text}</dd>\n" for name, text in rows)
    allow = "" if entry.allow == (OBSERVE,) else f" --allow {','.join(entry.allow)}"
    return (
        f'<article id="{escape(entry.name)}-{escape(entry.version)}">\n'
        f"<h2>{escape(entry.name)} <small>{escape(one_line(entry.version))}</small></h2>\n<p>{escape(entry.description)}</p>\n"
        f"<pre>sudo ecli-py run {escape(entry.name)}{escape('@' + entry.version if entry.version else '')}{escape(allow)}</pre>\n"
        f"<dl>\n{details}</dl>\n</article>\n"
    )
