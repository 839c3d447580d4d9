"""Upstream's archives, as a user runs them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from ecli_py.fetch.archive import this_kernel
from tests.archives import make_archive
from tests.cli import Ecli
from tests.http_server import Server
from tests.machine import KERNEL_BTF, hiding

pytestmark = pytest.mark.kernel


@pytest.fixture
def archive(small_package: Path, tmp_path: Path) -> Path:
    """An archive with the types of this kernel."""
    path = tmp_path / "tool"  # told by its contents, not by its name
    path.write_bytes(make_archive({f"./{this_kernel()}": KERNEL_BTF.read_bytes(), "package.json": small_package.read_bytes()}))
    return path


def test_an_archive_runs(ecli: Ecli, archive: Path, server: Server) -> None:
    for reference in (str(archive), server.serves("/x.json", archive.read_bytes())):
        outcome = ecli("run", reference, "--allow-unsigned", "--duration", "50ms")
        assert outcome.status == 0, outcome.stderr
    assert "on_exec" in ecli("inspect", archive).stdout
    assert ecli("run", "-", "--duration", "50ms", stdin=archive.read_bytes()).status == 0


def test_its_types_serve_a_kernel_that_has_none(ecli: Ecli, packages: Path, tmp_path: Path) -> None:
    bare = replace(ecli, prefix=hiding("/sys/kernel/btf"))
    package = (packages / "execsnoop.json").read_bytes()
    (tmp_path / "with.tar").write_bytes(make_archive({f"./{this_kernel()}": KERNEL_BTF.read_bytes(), "package.json": package}))
    outcome = bare("run", "with.tar", "--duration", "50ms")
    assert outcome.status == 0, outcome.stderr
    (tmp_path / "without.tar").write_bytes(make_archive({"package.json": package}))
    outcome = bare("run", "without.tar", "--duration", "50ms")
    assert outcome.status == 1
    assert f"the archive has none of it: {this_kernel()}" in outcome.stderr


def test_a_damaged_archive_is_an_error(ecli: Ecli, archive: Path) -> None:
    archive.write_bytes(archive.read_bytes()[:3000])
    ecli("run", archive).fails("tar archive")
