"""Packages that bring the types of kernels which have none of their own."""

from __future__ import annotations

import json
import lzma
import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from tests.cli import Ecli
from tests.conftest import ROOT
from tests.machine import hiding

pytestmark = [pytest.mark.kernel, pytest.mark.compiler]

SOURCE = ROOT / "samples" / "execsnoop" / "execsnoop.bpf.c"


@pytest.fixture
def archive(ecli: Ecli, tmp_path: Path) -> Path:
    """A directory with the types of this kernel."""
    directory = tmp_path / "archive"
    directory.mkdir()
    assert ecli("btf", "extract", "-o", directory).status == 0
    return directory


def say(archive: Path, **changes: str) -> None:
    (path,) = archive.glob("*.json")
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def packaged(build: Ecli, archive: Path) -> Path:
    outcome = build("build", SOURCE, "-o", "tool.json", "--btf-archive", archive)
    assert outcome.status == 0, outcome.stderr
    return build.directory / "tool.json"


def test_a_package_brings_the_types_of_this_kernel(ecli: Ecli, build: Ecli, archive: Path) -> None:
    package = packaged(build, archive)
    (brought,) = json.loads(package.read_text())["ecli"]["kernel_btf"]
    assert brought["kernels"] == [{"release": os.uname().release, "version": os.uname().version}]
    assert len(brought["btf"]) < 1000
    with replace(ecli, prefix=hiding("/sys/kernel/btf")).start("run", package, "--json") as running:
        with subprocess.Popen(["/bin/true"]) as process:
            pid = process.pid
        outcome = running.end()
    (event,) = [each for each in outcome.events if (each["pid"], each["kind"]) == (pid, "EXEC")]
    assert event["ppid"] == os.getpid()


@pytest.mark.parametrize("of", [{"release": "6.1.0-9-amd64"}, {"version": "#2 SMP another build"}])
def test_the_types_of_another_kernel_are_never_used(ecli: Ecli, build: Ecli, archive: Path, of: dict[str, str]) -> None:
    say(archive, **of)
    package = packaged(build, archive)
    here = os.uname()
    hidden = replace(ecli, prefix=hiding("/sys/kernel/btf"))
    hidden("run", package).fails(
        f"needs BTF of exactly this kernel, {here.release} {here.version}",
        "the package has that of another kernel",
        "--kernel-btf FILE",
    )
    assert ecli("run", package, "--duration=10ms").status == 0  # the kernel's own comes first


def test_an_archive_as_btfhub_lays_it_out(build: Ecli, ecli: Ecli, archive: Path) -> None:
    machine = {"x86_64": "x86_64", "aarch64": "arm64"}[os.uname().machine]
    (archive / "debian" / "12" / machine).mkdir(parents=True)
    (path,) = archive.glob("*.btf")
    (archive / "debian" / "12" / machine / f"{os.uname().release}.btf.xz").write_bytes(lzma.compress(path.read_bytes(), preset=0))
    path.unlink()
    (archive / f"{os.uname().release}.json").unlink()
    package = packaged(build, archive)
    assert replace(ecli, prefix=hiding("/sys/kernel/btf"))("run", package, "--duration=10ms").status == 0


def test_archives_that_are_none(build: Ecli, archive: Path, tmp_path: Path) -> None:
    build("build", SOURCE, "--btf-archive", tmp_path / "gone").fails("gone is no directory")
    (tmp_path / "empty").mkdir()
    build("build", SOURCE, "--btf-archive", tmp_path / "empty").fails("has no kernel that the package is for", "btf extract")
    (path,) = archive.glob("*.btf")
    path.write_bytes(b"garbage")
    build("build", SOURCE, "--btf-archive", archive).fails("BTF of kernel ", "its header")
    say(archive, machine="s390x")
    path.with_suffix(".json").write_text("{}")
    build("build", SOURCE, "--btf-archive", archive).fails("does not say of which kernel")


def test_a_damaged_package_gives_an_error(ecli: Ecli, build: Ecli, archive: Path) -> None:
    package = packaged(build, archive)
    document = json.loads(package.read_text())
    document["ecli"]["kernel_btf"][0]["btf"] = "Z2FyYmFnZQ=="
    package.write_text(json.dumps(document))
    replace(ecli, prefix=hiding("/sys/kernel/btf"))("run", package).fails("$.ecli.kernel_btf[0].btf: it is damaged")
