"""execsnoop: what a user sees of it, on the kernel that runs."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

import ecli_py
from ecli_schemas.errors import EcliError
from tests.bpf import held_by, living, mount_namespace, mount_table, wait_gone
from tests.cli import Ecli, Outcome, wait_until
from tests.machine import hiding, mounting, system_libbpf

pytestmark = pytest.mark.kernel

CLOSING_LINE = re.compile(r"(\d+) events?, (\d+) lost, \d+\.\d s")


@dataclass(frozen=True)
class Program:
    """A program that a test has run."""

    pid: int
    comm: str
    filename: str
    exit_code: int


def run_programs(directory: Path, count: int) -> list[Program]:
    """Run shells of different names, one after the other, that end with different statuses; every tenth kills itself."""
    programs = []
    for number in range(count):
        path = directory / f"program-{number}"
        path.symlink_to("/bin/sh")
        script = "kill -KILL $$" if number % 10 == 9 else f"exit {number % 256}"
        process = subprocess.Popen(["sh", "-c", script], executable=path)
        status = process.wait()
        programs.append(Program(process.pid, path.name, str(path), status if status >= 0 else 128 - status))
        path.unlink()
    return programs


def mine(events: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the events of processes that this one has started."""
    return [event for event in events if event["ppid"] == os.getpid()]


def assert_all_seen(programs: list[Program], events: Sequence[Mapping[str, Any]]) -> None:
    """Assert that there is exactly one exec and one exit event of each program, in order, with all that is known of it."""
    execs = [event for event in mine(events) if event["kind"] == "EXEC"]
    exits = [event for event in mine(events) if event["kind"] == "EXIT"]
    uid = os.geteuid()
    assert [(e["pid"], e["comm"], e["filename"], e["exit_code"], e["uid"], e["duration_ns"]) for e in execs] == [
        (program.pid, program.comm, program.filename, 0, uid, 0) for program in programs
    ]
    assert [(e["pid"], e["comm"], e["filename"], e["exit_code"], e["uid"]) for e in exits] == [
        (program.pid, program.comm, "", program.exit_code, uid) for program in programs
    ]
    assert all(event["duration_ns"] > 0 for event in exits)


def assert_nothing_lost(outcome: Outcome) -> None:
    """Assert a good end whose closing line counts what was shown, and counts nothing as lost."""
    assert outcome.status == 0, outcome.stderr
    closing = CLOSING_LINE.fullmatch(outcome.closing_line)
    assert closing, outcome.stderr
    assert closing.groups() == (str(len(outcome.events)), "0")


@pytest.fixture
def package(packages: Path) -> Path:
    return packages / "execsnoop.json"


def test_each_program_of_a_loop_is_seen_once(ecli: Ecli, package: Path, tmp_path: Path) -> None:
    with ecli.start("run", package, "--json") as running:
        programs = run_programs(tmp_path, 200)
        outcome = running.end()
    assert_nothing_lost(outcome)
    assert_all_seen(programs, outcome.events)


def test_the_systems_libbpf_serves_too(ecli: Ecli, package: Path, tmp_path: Path) -> None:
    ecli = replace(ecli, environment={"ECLI_LIBBPF": system_libbpf()})
    assert "(ECLI_LIBBPF: libbpf.so.1)" in ecli("--version").stdout
    with ecli.start("run", package, "--json") as running:
        programs = run_programs(tmp_path, 200)
        outcome = running.end()
    assert_nothing_lost(outcome)
    assert_all_seen(programs, outcome.events)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it_after_what_is_queued(ecli: Ecli, package: Path, tmp_path: Path, number: signal.Signals) -> None:
    with ecli.start("run", package, "--json") as running:
        held = held_by(running.pid)
        # While it is stopped it reads nothing, so all of this is still queued when the signal comes.
        running.process.send_signal(signal.SIGSTOP)
        programs = run_programs(tmp_path, 20)
        running.process.send_signal(number)
        running.process.send_signal(signal.SIGCONT)
        outcome = running.wait()
    assert_nothing_lost(outcome)
    assert_all_seen(programs, outcome.events)
    assert len(held["prog"]) == 2
    assert held["map"]
    wait_gone(held)


def test_a_kill_leaves_nothing_in_the_kernel(ecli: Ecli, package: Path) -> None:
    with ecli.start("run", package) as running:
        held = held_by(running.pid)
        assert held["prog"] <= living("prog")
        assert held["map"] <= living("map")
        assert running.end(signal.SIGKILL).status == -signal.SIGKILL
    wait_gone(held)


def test_what_did_not_fit_into_the_buffer_is_counted(ecli: Ecli, package: Path, tmp_path: Path) -> None:
    with ecli.start("run", package, "--json") as running:
        running.process.send_signal(signal.SIGSTOP)
        # The buffer holds 1 MiB, which is 5698 events of 176 bytes and a header of 8: two for each program. A shell starts
        # them, which is quicker.
        subprocess.run(["sh", "-c", "i=0; while [ $i -lt 3000 ]; do /bin/true; i=$((i + 1)); done"], check=True)
        running.process.send_signal(signal.SIGCONT)
        outcome = running.end()
    assert outcome.status == 0
    closing = CLOSING_LINE.fullmatch(outcome.closing_line)
    assert closing
    shown, lost = map(int, closing.groups())
    assert shown == len(outcome.events)
    assert lost > 0
    assert shown + lost >= 6000


def test_count_ends_it_after_that_many_events(ecli: Ecli, package: Path, tmp_path: Path) -> None:
    with ecli.start("run", package, "--json", "--count", "5") as running:
        run_programs(tmp_path, 10)
        outcome = running.wait()
    assert len(outcome.events) == 5
    assert_nothing_lost(outcome)


def test_count_of_more_events_than_are_queued_at_once(ecli: Ecli, package: Path, tmp_path: Path) -> None:
    with ecli.start("run", package, "--json", "--count", "5") as running:
        running.process.send_signal(signal.SIGSTOP)
        run_programs(tmp_path, 10)
        running.process.send_signal(signal.SIGCONT)
        outcome = running.wait()
    assert len(outcome.events) == 5
    assert_nothing_lost(outcome)


def test_duration_ends_it(ecli: Ecli, package: Path, tmp_path: Path) -> None:
    with ecli.start("run", package, "--json", "--duration", "500ms") as running:
        outcome = running.wait()
    assert_nothing_lost(outcome)


def test_min_duration_leaves_out_short_lives_and_execs(ecli: Ecli, package: Path) -> None:
    with ecli.start("run", package, "--json", "--min-duration-ms", "300") as running:
        short = subprocess.Popen(["/bin/true"])
        short.wait()
        long = subprocess.Popen(["/bin/sleep", "0.4"])
        long.wait()
        outcome = running.end()
    assert_nothing_lost(outcome)
    assert all(event["kind"] == "EXIT" and event["duration_ns"] >= 300_000_000 for event in outcome.events)
    assert [event["pid"] for event in mine(outcome.events)] == [long.pid]


def test_only_uid_leaves_out_other_users(ecli: Ecli, package: Path) -> None:
    with ecli.start("run", package, "--json", "--only_uid", "4242") as running:
        subprocess.run(["/bin/true"], check=True)
        other = subprocess.Popen(["/bin/true"], user=4242)
        other.wait()
        outcome = running.end()
    assert_nothing_lost(outcome)
    # The exec is by the user already: a child changes its user before that.
    assert [(event["pid"], event["uid"], event["kind"]) for event in outcome.events] == [
        (other.pid, 4242, "EXEC"),
        (other.pid, 4242, "EXIT"),
    ]


def test_options_may_stand_before_and_after_the_package(ecli: Ecli, package: Path, tmp_path: Path) -> None:
    with ecli.start("run", "--json", package, "--only-uid=0", "--count", "2") as running:
        run_programs(tmp_path, 2)
        outcome = running.wait()
    assert len(outcome.events) == 2
    assert_nothing_lost(outcome)


def test_package_on_standard_input(ecli: Ecli, package: Path) -> None:
    outcome = ecli("run", "-", "--json", "--duration", "100ms", stdin=package.read_bytes())
    assert_nothing_lost(outcome)


def test_text_has_aligned_columns(ecli: Ecli, package: Path, tmp_path: Path) -> None:
    with ecli.start("run", package) as running:
        programs = run_programs(tmp_path, 3)
        outcome = running.end()
    assert outcome.status == 0
    heading, *lines = outcome.stdout.splitlines()
    assert heading.split() == ["TIME", "DURATION_NS", "PID", "PPID", "UID", "KIND", "EXIT_CODE", "COMM", "FILENAME"]
    rows = {line.split()[2]: line for line in lines if line.split()[3] == str(os.getpid()) and "EXIT" in line}
    for program in programs:
        line = rows[str(program.pid)]
        assert re.match(r"\d\d:\d\d:\d\d ", line)
        # Numbers end where their heading ends, texts begin where theirs begins.
        for name, value in (("PID", program.pid), ("PPID", os.getpid()), ("EXIT_CODE", program.exit_code)):
            end = re.search(rf"\b{name}\b", heading).end()  # type: ignore[union-attr]
            assert line[:end].endswith(f" {value}")
            assert line[end : end + 1] == " "
        assert line[heading.index("COMM") :].split(" ")[0] == program.comm
        assert line[heading.index("KIND") :].split(" ")[0] == "EXIT"


def test_a_reader_that_has_enough_ends_it_quietly(ecli: Ecli, package: Path, tmp_path: Path) -> None:
    """As in ``ecli-py run execsnoop.json | head -1``."""
    stderr = tmp_path / "errors"
    with stderr.open("wb") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "ecli_py", "run", str(package), "--json"], stdout=subprocess.PIPE, stderr=errors
        )
    try:
        assert process.stdout
        wait_until(lambda: "attached" in stderr.read_text(), "attaching")
        subprocess.run(["/bin/true"], check=True)
        assert process.stdout.readline().startswith(b"{")
        process.stdout.close()
        # It notices when it next has something to write.
        wait_until(lambda: not subprocess.run(["/bin/true"], check=True).returncode and process.poll() is not None, "ending")
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0
    assert [line for line in stderr.read_text().splitlines() if not line.startswith("attached")] == []


def test_nohup_keeps_it_running(ecli: Ecli, package: Path, tmp_path: Path) -> None:
    with replace(ecli, prefix=["nohup"]).start("run", package, "--json") as running:
        running.process.send_signal(signal.SIGHUP)
        programs = run_programs(tmp_path, 2)
        outcome = running.end()
    assert_nothing_lost(outcome)
    assert_all_seen(programs, outcome.events)


@pytest.mark.parametrize(("words", "text"), [(["--json"], '"comm":"prögram"'), ([], r"pr\xf6gram")])
def test_any_encoding(ecli: Ecli, package: Path, tmp_path: Path, words: list[str], text: str) -> None:
    (tmp_path / "prögram").symlink_to("/bin/true")
    with replace(ecli, environment={"PYTHONIOENCODING": "ascii"}).start("run", package, *words) as running:
        subprocess.run([tmp_path / "prögram"], check=True)
        outcome = running.end()
    assert outcome.status == 0, outcome.stderr
    assert text in outcome.stdout


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_descriptors(ecli: Ecli, package: Path, closed: str) -> None:
    ecli = replace(ecli, prefix=["sh", "-c", f'exec "$@" {closed}', "sh"])
    outcome = ecli("run", package, "--duration", "200ms")
    assert outcome.status == 0
    assert "Traceback" not in outcome.stderr
    assert ecli("run", "gone").status == 1


def test_full_disk_is_an_error_without_traceback(ecli: Ecli, package: Path) -> None:
    with open("/dev/full", "wb") as full, open(ecli.directory / "errors", "wb") as errors:
        process = subprocess.Popen([sys.executable, "-m", "ecli_py", "run", str(package), "--json"], stdout=full, stderr=errors)
    try:
        wait_until(lambda: not subprocess.run(["/bin/true"], check=True).returncode and process.poll() is not None, "ending")
    finally:
        process.kill()
        process.wait()
    Outcome("", (ecli.directory / "errors").read_text(), process.returncode).fails("No space left on device")


def test_verbose_shows_what_libbpf_does(ecli: Ecli, package: Path) -> None:
    outcome = ecli("run", package, "--verbose", "--duration", "100ms")
    assert outcome.status == 0
    assert "libbpf: prog 'on_exec'" in outcome.stderr


def test_unmounted_tracefs_is_mounted_for_itself_only(ecli: Ecli, package: Path, tmp_path: Path) -> None:
    ecli = replace(ecli, prefix=hiding("/sys/kernel/tracing", "/sys/kernel/debug"))
    mounts = mount_table()
    with ecli.start("run", package, "--json") as running:
        assert mount_table() == mounts
        programs = run_programs(tmp_path, 3)
        outcome = running.end()
    assert mount_table() == mounts
    assert_nothing_lost(outcome)
    assert_all_seen(programs, outcome.events)


@pytest.mark.parametrize("filesystems", [{"tracefs": "/sys/kernel/tracing"}, {"debugfs": "/sys/kernel/debug"}])
def test_mounted_tracefs_is_used(ecli: Ecli, package: Path, tmp_path: Path, filesystems: dict[str, str]) -> None:
    prefix = [*hiding("/sys/kernel/tracing", "/sys/kernel/debug"), *mounting(**filesystems)]
    with replace(ecli, prefix=prefix).start("run", package, "--json") as running:
        programs = run_programs(tmp_path, 3)
        outcome = running.end()
    assert_nothing_lost(outcome)
    assert_all_seen(programs, outcome.events)


# --- the same from Python ---


@contextmanager
def nothing_stays() -> Iterator[None]:
    """Assert that this process holds, and mounts, nothing more after the block than before."""
    before, descriptors = held_by(os.getpid()), len(os.listdir("/proc/self/fd"))
    namespace, mounts = mount_namespace(), mount_table()
    yield
    assert held_by(os.getpid()) == before
    assert len(os.listdir("/proc/self/fd")) == descriptors
    assert (mount_namespace(), mount_table()) == (namespace, mounts)


def test_events_from_python(package: Path, tmp_path: Path) -> None:
    with nothing_stays():
        with ecli_py.open(package) as tool:
            programs = run_programs(tmp_path, 5)
            events = []
            for event in tool.events():
                events.append(event)
                if len(mine(events)) == 10:
                    tool.stop()
            assert_all_seen(programs, events)
            assert {(event.source.name, event.type_name) for event in events} == {("events", "event")}
            assert [source.name for source in tool.sources] == ["events"]
            stats = tool.stats
            assert (stats.events, stats.lost, stats.undecoded) == (len(events), 0, 0)
            assert stats.seconds > 0
            held = held_by(os.getpid())
        wait_gone(held)


def test_options_from_python(package: Path) -> None:
    with nothing_stays(), ecli_py.open(package, {"only_uid": 4242}) as tool:
        subprocess.run(["/bin/true"], check=True)
        other = subprocess.Popen(["/bin/true"], user=4242)
        other.wait()
        assert [event["pid"] for event in tool.events(count=2)] == [other.pid, other.pid]
        assert tool.stats.events == 2


def test_a_loop_that_is_left_can_be_taken_up_again(package: Path, tmp_path: Path) -> None:
    with nothing_stays(), ecli_py.open(package) as tool:
        programs = run_programs(tmp_path, 5)
        events = [next(tool.events())]
        for event in tool.events():
            events.append(event)
            break
        events += tool.events(duration_s=0.1)
        assert_all_seen(programs, events)
        assert tool.stats.events == len(events)


def test_stop_from_another_thread(package: Path) -> None:
    with nothing_stays(), ecli_py.open(package) as tool:
        thread = threading.Thread(target=tool.stop)
        thread.start()
        for _event in tool.events():
            pass
        thread.join()


def test_duration_from_python(package: Path, tmp_path: Path) -> None:
    with nothing_stays(), ecli_py.open(package) as tool:
        programs = run_programs(tmp_path, 3)
        assert_all_seen(programs, list(tool.events(duration_s=0.2)))


def test_an_exception_in_the_loop_leaves_nothing(package: Path, tmp_path: Path) -> None:
    held: dict[str, set[int]] = {}

    def fail_at_the_first_event() -> None:
        with ecli_py.open(package) as tool:
            run_programs(tmp_path, 3)
            held.update(held_by(os.getpid()))
            for event in tool.events():
                raise RuntimeError(event["comm"])

    with nothing_stays():
        with pytest.raises(RuntimeError):
            fail_at_the_first_event()
        wait_gone(held)


def test_closing_twice_and_stopping_afterwards_do_nothing(package: Path) -> None:
    with nothing_stays():
        tool = ecli_py.open(package)
        tool.close()
        tool.close()
        tool.stop()


def test_stats_after_closing_are_those_of_the_end(package: Path, tmp_path: Path) -> None:
    with ecli_py.open(package) as tool:
        run_programs(tmp_path, 2)
        list(tool.events(count=2))
        before = tool.stats
    assert tool.stats == before


def test_events_after_closing_are_an_error(package: Path) -> None:
    with ecli_py.open(package) as tool:
        pass
    with pytest.raises(ValueError, match="closed"):
        next(tool.events())


def test_two_tools_at_once(package: Path, tmp_path: Path) -> None:
    with nothing_stays(), ecli_py.open(package) as one, ecli_py.open(package) as other:
        programs = run_programs(tmp_path, 3)
        assert_all_seen(programs, list(one.events(duration_s=0.1)))
        assert_all_seen(programs, list(other.events(duration_s=0.1)))


def test_an_option_that_does_not_exist(package: Path) -> None:
    with nothing_stays(), pytest.raises(EcliError, match="there is no option 'colour'") as caught:
        ecli_py.open(package, {"colour": 1})
    assert "only_uid" in caught.value.hint
