"""Upstream's archives: a package with the types of many kernels."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from ecli_py.fetch import FetchError
from ecli_py.fetch.archive import read_archive, this_kernel
from ecli_py.fetch.contents import JSON, OBJECT, OTHER, TAR, WASM, check_whole, kind_of
from tests.archives import make_archive, member


def test_the_package_and_the_types_of_this_kernel_are_found(small_package: Path) -> None:
    content = make_archive(
        {"./btfhub-archive/other/1/x86_64/5.4.btf": b"no", f"./{this_kernel()}": b"types", "package.json": b"{}"}
    )
    found = read_archive(content, "tool.tar")
    assert (found.package, found.types) == (b"{}", b"types")
    assert read_archive(make_archive({"./package.json": b"{}"}), "tool.tar").types is None


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (make_archive({"tool.json": b"{}"}), "without package.json"),
        (make_archive({"sub/package.json": b"{}"}), "without package.json"),
        (make_archive({"package.json": b"{}" * 10_000})[:5000], "damaged|cut short"),
        (make_archive({"package.json": b"{}"})[:100], "damaged"),
        (b"", "damaged"),
        (b"\xff" * 10_000, "damaged"),
        (make_archive({}, member("package.json", type=tarfile.SYMTYPE, linkname="/etc/passwd")), "is no file"),
        (make_archive({}, member("package.json", type=tarfile.LNKTYPE, linkname="x")), "is no file"),
        (make_archive({}, member("package.json", type=tarfile.CHRTYPE)), "is no file"),
        (make_archive({}, member("package.json", size=1 << 40)), "larger than|damaged|cut short"),
    ],
)
def test_what_is_no_archive_of_a_package(content: bytes, said: str) -> None:
    with pytest.raises(FetchError, match=said):
        read_archive(content, "tool.tar")


def test_a_sparse_file_takes_no_memory() -> None:
    header = io.BytesIO()
    with tarfile.open(fileobj=header, mode="w", format=tarfile.PAX_FORMAT) as archive:
        sparse = member("package.json")
        sparse.pax_headers = {
            "GNU.sparse.major": "0",
            "GNU.sparse.minor": "1",
            "GNU.sparse.size": str(1 << 40),
            "GNU.sparse.map": "0,0",
        }
        archive.addfile(sparse)
    with pytest.raises(FetchError, match="larger than"):
        read_archive(header.getvalue(), "tool.tar")


def test_kinds_are_told_by_the_bytes() -> None:
    assert kind_of(b" \n{") == kind_of(b"\xef\xbb\xbf{") == JSON
    assert kind_of(b"\0asm\1\0\0\0") == WASM
    assert kind_of(b"\x7fELF") == OBJECT
    assert kind_of(make_archive({"a": b""})) == TAR
    assert kind_of(b"") == kind_of(b"hello") == OTHER
    for content in (b"{}", b"\0asm\1\0\0\0", b"\x7fELF", make_archive({"package.json": b"{}"})):
        check_whole("tool", content)
