"""``run --record`` and ``replay``: what was seen can be seen again."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.cli import Ecli, wait_until
from tests.machine import mounting

pytestmark = pytest.mark.kernel


def run_programs(count: int) -> None:
    for _ in range(count):
        subprocess.run(["/bin/true"], check=True)


@pytest.mark.parametrize("option", ["--json", "--fields=pid,kind,filename"])
def test_a_replay_shows_what_the_run_showed(ecli: Ecli, packages: Path, option: str) -> None:
    ecli.environment = {"TZ": "UTC"}
    with ecli.start("run", packages / "execsnoop.json", option, "--record", "file") as running:
        run_programs(50)
        live = running.end()
    assert live.status == 0, live.stderr
    again = ecli("replay", "file", option)
    assert again.status == 0, again.stderr
    assert len(live.stdout.splitlines()) >= 100
    if option == "--json":
        assert again.stdout == live.stdout
    else:  # text has the second in which a line was made, and in which a sample was taken
        assert [line[8:] for line in again.stdout.splitlines()] == [line[8:] for line in live.stdout.splitlines()]
    assert again.closing_line.split(", ")[:2] == live.closing_line.split(", ")[:2]


def test_a_sampled_map_is_replayed(ecli: Ecli, packages: Path) -> None:
    with ecli.start("run", packages / "runqlat.json", "--json", "--count", "3", "--record", "file") as running:
        live = running.wait()
    again = ecli("replay", "file", "--json")
    assert (again.status, again.stdout) == (0, live.stdout)
    assert "waited[0]" in ecli("replay", "file").stdout


def test_a_replay_may_show_what_the_run_did_not(ecli: Ecli, packages: Path) -> None:
    words = ("--fields", "pid", "--count", "2", "--only-uid=0", "--record=file")
    with ecli.start("run", packages / "execsnoop.json", *words) as running:
        run_programs(3)
        assert running.wait().status == 0
    outcome = ecli("replay", "file", "--json", "--fields", "comm,uid")
    assert ", only_uid=0\n" in outcome.stderr
    assert len(outcome.events) >= 2
    assert outcome.events[0].keys() == {"comm", "uid"}


def test_a_killed_run_leaves_what_was_written(ecli: Ecli, packages: Path, tmp_path: Path) -> None:
    recording = tmp_path / "file"
    with ecli.start("run", packages / "execsnoop.json", "--json", "--record", recording) as running:
        run_programs(20)
        size_bytes = recording.stat().st_size
        wait_until(lambda: recording.stat().st_size > size_bytes, "the first block")
        run_programs(20)
        live = running.end(signal.SIGKILL)
    again = ecli("replay", recording, "--json")
    assert again.status == 0
    assert again.events
    assert live.stdout.startswith(again.stdout)
    assert "warning: the run was not recorded to its end" in again.stderr
    # And another run can be added.
    with ecli.start("run", packages / "execsnoop.json", "--json", "--count", "1", "--record", recording) as running:
        run_programs(1)
        more = running.wait()
    both = ecli("replay", recording, "--json")
    assert both.stdout.startswith(again.stdout + more.stdout)
    assert both.status == 0


def test_what_was_lost_is_told_again(ecli: Ecli, packages: Path) -> None:
    with ecli.start("run", packages / "execsnoop.json", "--record", "file") as running:
        running.process.send_signal(signal.SIGSTOP)
        subprocess.run(["sh", "-c", "i=0; while [ $i -lt 3000 ]; do /bin/true; i=$((i + 1)); done"], check=True)
        running.process.send_signal(signal.SIGCONT)
        live = running.end()
    outcome = ecli("replay", "file")
    assert live.closing_line.split(", ")[1] != "0 lost"
    # The first line says that it is attached, and what is replayed; then come what was lost, the full buffer and the totals.
    assert outcome.stderr.splitlines()[1:] == live.stderr.splitlines()[1:]
    assert outcome.stderr.splitlines()[1].startswith("lost: events ")


def test_a_full_disk_does_not_end_the_run(ecli: Ecli, packages: Path, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    ecli.prefix = [*mounting(), "sh", "-ec", f'mount -t tmpfs -o size=16k none {disk}\nexec "$@"', "sh"]
    with ecli.start("run", packages / "execsnoop.json", "--json", "--record", disk / "file") as running:
        for number in range(400):  # each has its name, so that they compress badly
            program = tmp_path / f"{number * 7919:x}-{os.urandom(20).hex()}"
            program.symlink_to("/bin/true")
            subprocess.run([program], check=True)
        wait_until(lambda: "No space left on device" in running.stderr, "the disk being full")
        before = len(running.stdout)
        run_programs(2)
        wait_until(lambda: len(running.stdout) > before, "events after that")
        outcome = running.end()
    assert outcome.status == 1
    assert len(outcome.events) >= 800
    assert "Traceback" not in outcome.stderr
    assert " 0 lost, " in outcome.stderr
    assert "error: " in outcome.stderr
    assert " lacks " in outcome.stderr


def test_a_file_that_is_there_already(ecli: Ecli, packages: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("notes")
    outcome = ecli("run", packages / "execsnoop.json", "--record", "file", "--duration", "100ms")
    outcome.fails("file exists and is no recording", "name another file")
    assert (tmp_path / "file").read_text() == "notes"
