"""Guests, without starting one: names of kernels, and what is expected of cells."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from tests.guest import initramfs, kernels
from tests.guest.errors import GuestError
from tests.matrix.expected import differences, read

EXCUSES = read(
    """
# a comment
*/5.10,arm64/*  old thing  needs Linux 5\\.[0-9]+
amd64/6.12      new        broken
"""
)


def test_names_of_kernels() -> None:
    assert str(kernels.kernel("arm64/6.12")) == "arm64/6.12"
    assert kernels.kernel("sid") == kernels.Kernel("7.2", kernels.native())
    assert kernels.kernel("5.10").is_native
    for name in ("5.11", "vax/6.12", ""):
        with pytest.raises(GuestError, match="there is no kernel"):
            kernels.kernel(name)


def test_a_failure_needs_an_excuse_that_fits() -> None:
    cells: dict[str, dict[str, object]] = {"old thing": {"reason": "error: x\nhint: needs Linux 5.14"}, "new": {"events": 1}}
    assert differences("amd64/5.10", cells, ["old thing", "new"], EXCUSES) == []
    (found,) = differences("amd64/6.1", cells, ["old thing", "new"], EXCUSES)
    assert found.startswith("old thing: error: x")
    (found,) = differences("arm64/6.1", {**cells, "old thing": {"reason": "no events"}}, ["old thing", "new"], EXCUSES)
    assert found == "old thing: no events"


def test_an_excuse_that_is_needed_no_more_is_told() -> None:
    (found,) = differences("amd64/6.12", {"new": {"events": 1}}, ["new"], EXCUSES)
    assert found == "new: it passes, so line 4 of expected.txt is out of date"
    assert differences("amd64/6.12", {}, ["new"], EXCUSES) == ["new: it was not run"]


def test_the_first_file_system_is_one_that_the_kernel_reads(tmp_path: Path) -> None:
    for name in ("busybox", "config", "veth.ko"):
        (tmp_path / name).write_bytes(name.encode())
    initramfs.write(
        tmp_path / "archive",
        tmp_path / "busybox",
        tmp_path / "config",
        [tmp_path / "veth.ko"],
        ["echo", "it's"],
        directory=Path("/somewhere else"),
        environment={"NAME": "a 'b'"},
    )
    files = _unpack((tmp_path / "archive").read_bytes())
    assert files["modules/veth.ko"] == b"veth.ko"
    assert b"for module in veth; do" in files["init"]
    command = files["command"].decode()
    assert """export NAME='a '"'"'b'"'"''""" in command
    assert command.endswith("cd '/somewhere else' 2>/dev/null || cd /\necho 'it'\"'\"'s'\n")


def _unpack(archive: bytes) -> dict[str, bytes]:
    stream, found = io.BytesIO(archive), {}
    while (header := stream.read(110))[:6] == b"070701":
        fields = [int(header[at : at + 8], 16) for at in range(6, 110, 8)]
        name = stream.read(fields[11] + -(110 + fields[11]) % 4).rstrip(b"\0").decode()
        found[name] = stream.read(fields[6])
        stream.read(-fields[6] % 4)
        if name == "TRAILER!!!":
            return found
    raise AssertionError("the archive has no end")
