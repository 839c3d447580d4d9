"""`tools/vm`: a command in a guest is like a command here, and nothing is left of either."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.guest import kernels
from tests.guest.errors import GuestError
from tests.guest.machine import DIED, TIMED_OUT, check
from tests.machine import missing, need_kernel
from tests.matrix.build_packages import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(autouse=True)
def _guests() -> Iterator[None]:
    need_kernel()
    try:
        check(kernels.kernel("6.12"))
        kernels.prepare(kernels.kernel("6.12"))
    except GuestError as error:
        missing(f"guest: {error}; {error.hint}")
    before = set(Path(tempfile.gettempdir()).glob("ecli-guest.*"))
    yield
    assert set(Path(tempfile.gettempdir()).glob("ecli-guest.*")) <= before


def vm(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "tools" / "vm"), *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=500)


def test_a_command_in_a_guest(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("from here")
    script = f"uname -r; cat {tmp_path}/file; echo $GIVEN; touch {tmp_path}/new; echo bad >&2"
    script += "; head -c 300000 /dev/zero | tr '\\0' x; exit 7"
    done = vm("--env", "GIVEN=1 2", "6.12", script)
    assert done.returncode == 7
    release, line, rest = done.stdout.split("\n", 2)
    assert release.startswith("6.12.")
    assert (line, rest) == ("from here1 2", 300000 * "x")
    assert done.stderr == "bad\n"
    assert not (tmp_path / "new").exists()


def test_a_guest_that_takes_too_long() -> None:
    done = vm("--timeout", "12", "6.12", "echo begun; sleep 1000")
    assert done.returncode == TIMED_OUT
    assert done.stdout in {"begun\n", ""}
    assert done.stderr.endswith("error: the guest took longer than 12 s\n")


def test_a_guest_that_dies() -> None:
    done = vm("6.12", "echo c > /proc/sysrq-trigger")
    assert done.returncode == DIED
    assert "Kernel panic" in done.stderr
    assert done.stderr.endswith("error: the guest ended without a status\n")


def test_a_kernel_that_there_is_not() -> None:
    done = vm("5.11", "true")
    assert (done.returncode, done.stderr.splitlines()[0]) == (126, "error: there is no kernel '5.11'")
    assert done.stderr.splitlines()[1].startswith("hint: kernels: 5.10, 6.1, 6.12, 7.2, ")
