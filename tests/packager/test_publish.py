"""``ecli-py publish``: a site of packages whose texts are hostile."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path

import pytest

from ecli_schemas.model import Doc, Package
from ecli_schemas.read import read_package
from ecli_schemas.write import write_package
from tests.cli import Ecli
from tests.corpus_programs import built

pytestmark = pytest.mark.compiler

EVIL = '<script>alert("x")</script>\'"><img src=x onerror=y>&'


class Page(HTMLParser):
    """All tags, links and texts of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.links: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.links += [value or "" for name, value in attrs if name in ("href", "src")]
        assert not any(name.startswith("on") for name, _value in attrs)

    def handle_data(self, data: str) -> None:
        self.text += data


def write(path: Path, package: Package) -> None:
    path.write_bytes(write_package(package))


@pytest.fixture(scope="module")
def package() -> Package:
    return read_package(write_package(built("xdpguard").package))


def test_the_page_lists_what_there_is_and_shows_texts_as_they_are(ecli: Ecli, package: Package) -> None:
    one, two = ecli.directory / "one.json", ecli.directory / "two.json"
    doc = Doc(brief=EVIL, version="1.0", license=EVIL, homepage="https://example.org/" + EVIL)
    write(one, package.replace(doc=doc))
    write(two, package.replace(doc=doc.replace(version="1.1", homepage="javascript:alert(1)")))
    outcome = ecli("publish", "site", one, two, "--title", EVIL)
    assert outcome.status == 0, outcome.stderr
    site = ecli.directory / "site"
    page = Page((site / "index.html").read_text())
    assert not page.tags & {"script", "img"}
    assert EVIL in page.text
    for link in page.links:
        assert link.startswith("https://example.org/") or (site / link).exists(), link
    assert "sudo ecli-py run xdpguard@1.0 --allow network" in page.text
    listed = json.loads((site / "catalogue.json").read_text())["packages"]
    assert [(each["name"], each["version"], each["allow"]) for each in listed] == [
        ("xdpguard", "1.1", ["network"]),
        ("xdpguard", "1.0", ["network"]),
    ]
    before = {path: path.read_bytes() for path in site.rglob("*") if path.is_file()}
    assert ecli("publish", "site", two, "--title", EVIL).status == 0
    assert {path: path.read_bytes() for path in site.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("name", ["../evil", "a b", "-x", "a/b"])
def test_a_name_that_is_a_path_is_refused(ecli: Ecli, package: Package, name: str) -> None:
    write(ecli.directory / "one.json", package.replace(name=name))
    ecli("publish", "site", "one.json").fails("cannot be the name of a file and a package")
    assert not (ecli.directory / "site").exists()


def test_nothing_is_written_if_one_is_no_package(ecli: Ecli, package: Package) -> None:
    write(ecli.directory / "one.json", package)
    (ecli.directory / "two.json").write_text("{}")
    ecli("publish", "site", "one.json", "two.json").fails("two.json: ")
    assert not (ecli.directory / "site").exists()
    (ecli.directory / "one.json.minisig").write_text("no signature")
    ecli("publish", "site", "one.json").fails("no signature of minisign's")
