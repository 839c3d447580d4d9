"""Event handlers on the kernel that runs: the samples', those of a package and those of the user."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import ecli_py
from ecli_runtime.errors import WasmError
from tests.cli import Ecli, wait_until
from tests.conftest import DATA, ROOT
from tests.handler_modules import EMIT, handler
from tests.machine import need_compiler

pytestmark = pytest.mark.kernel

HANDLERS = ROOT / "samples" / "handlers"
ODD_PIDS = "(i32.and (i32.load offset=8 (local.get $at)) (i32.const 1))"
NOT_TRUE = """
  (if (result i32) (i32.eq (i32.load offset=28 (local.get $at)) (i32.const 0x65757274))
    (then unreachable) (else (i32.const 0)))"""  # traps at events of the command `true`


@pytest.fixture(scope="session")
def handled(tmp_path_factory: pytest.TempPathFactory, caches: dict[str, str]) -> Path:
    """A directory with packages that have handlers: of execsnoop, runqlat and of all shapes."""
    need_compiler()
    directory = tmp_path_factory.mktemp("handled")
    build = Ecli(directory, environment=caches)
    samples = ROOT / "samples"
    for name, source, module, *words in (
        ("tree", samples / "execsnoop" / "execsnoop.bpf.c", HANDLERS / "tree.c"),
        ("percentiles", samples / "runqlat" / "runqlat.bpf.c", HANDLERS / "percentiles.c"),
        ("shapes", DATA / "shapes.bpf.c", DATA / "shapes.c", "--export", "numbers=u64"),
    ):
        outcome = build("build", source, "--wasm", module, *words, "-o", f"{name}.json")
        assert outcome.status == 0, outcome.stderr
    return directory


def run_true(count: int = 1) -> list[int]:
    """Run that many programs, one after the other, and return their process ids."""
    found = []
    for _ in range(count):
        process = subprocess.Popen(["/bin/true"])
        process.wait()
        found.append(process.pid)
    return found


def test_only_the_descendants_of_a_process(ecli: Ecli, handled: Path) -> None:
    script = "import subprocess, sys; sys.stdin.read(1); subprocess.run(['sh', '-c', '/bin/true; /bin/false'])"
    with subprocess.Popen([sys.executable, "-Ic", script], stdin=subprocess.PIPE) as root:
        assert root.stdin is not None
        with ecli.start("run", handled / "tree.json", "--json", "--handler-option", f"pid={root.pid}") as running:
            run_true()  # which is none
            root.stdin.write(b"x")
            root.stdin.close()
            root.wait()
            wait_until(lambda: f'"pid":{root.pid},' in running.stdout, "the exit of the root")
            outcome = running.end()
    events = [event for event in outcome.events if "pid" in event]
    assert [(event["kind"], event["comm"]) for event in events if event["comm"] in ("sh", "true", "false")] == [
        ("EXEC", "sh"),
        ("EXEC", "true"),
        ("EXIT", "true"),
        ("EXEC", "false"),
        ("EXIT", "false"),
        ("EXIT", "sh"),
    ]
    assert {event["ppid"] for event in events if event["comm"] == "sh"} == {root.pid}
    (said,) = [event for event in outcome.events if "handler" in event]
    assert said["line"].startswith(f"of process {root.pid} and its descendants: {len(events)} of ")
    assert f"handler tree: {len(events)} of " in outcome.stderr
    assert " 0 lost" in outcome.closing_line
    assert outcome.closing_line.startswith(f"{len(outcome.events)} of ")


def test_an_option_that_a_handler_needs(ecli: Ecli, handled: Path) -> None:
    ecli("run", handled / "tree.json", "--duration", "100ms").fails(
        "handler tree: error: say which process: --handler-option pid=4711", "ecli_init returned -1"
    )


def test_percentiles_in_place_of_a_histogram(ecli: Ecli, handled: Path) -> None:
    outcome = ecli("run", handled / "percentiles.json", "--interval", "200ms", "--duration", "1s")
    assert outcome.status == 0, outcome.stderr
    lines = outcome.stdout.splitlines()
    assert len(lines) >= 4
    assert lines[-1].startswith("in all: ")
    totals = [int(re.search(r"(\d+) waits", line)[1]) for line in lines]  # type: ignore[index]
    assert sum(totals[:-1]) == totals[-1]
    assert re.search(r"p50 <\d+ us  p90 <\d+ us  p99 <\d+ us  p99.9 <\d+ us$", lines[-1])


def test_each_member_is_where_the_header_says(ecli: Ecli, handled: Path) -> None:
    with ecli.start("run", handled / "shapes.json", "--json") as running:
        run_true()
        wait_until(lambda: '"last":5' in running.stdout and '"@map":"counts","key":"four"' in running.stdout, "events")
        outcome = running.end()
    assert not [event for event in outcome.events if "handler" in event]
    shapes = [event for event in outcome.events if event["@map"] == "events"]
    assert {(event["@type"], event["last"], event["nine"]) for event in shapes} == {("shapes", 5, 300)}
    assert {event["value"] for event in outcome.events if event["@map"] == "numbers"} == {8}
    counts = [event["value"] for event in outcome.events if event["@map"] == "counts"]
    assert counts
    assert all(value[0]["count"] >= 1_000_000 > value[1]["count"] for value in counts)


def test_without_the_handlers_of_a_package(ecli: Ecli, handled: Path) -> None:
    with ecli.start("run", handled / "tree.json", "--json", "--no-wasm") as running:
        (pid,) = run_true()
        wait_until(lambda: running.stdout.count(f'"pid":{pid},') == 2, "the events of a program")
        outcome = running.end()
    assert "handler" not in outcome.stderr


def test_a_handler_in_front_of_a_package(ecli: Ecli, packages: Path) -> None:
    (ecli.directory / "odd.wasm").write_bytes(handler(ODD_PIDS))
    with ecli.start("run", packages / "execsnoop.json", "--json", "--handler", "odd.wasm") as running:
        pids = run_true(8)
        even = [pid for pid in pids if pid % 2 == 0]
        wait_until(lambda: all(running.stdout.count(f'"pid":{pid},') == 2 for pid in even), "the events of some programs")
        outcome = running.end()
    assert all(event["pid"] % 2 == 0 for event in outcome.events)
    assert re.search(r"^handler odd: \d+ of \d+ events kept, ", outcome.stderr, re.MULTILINE)


def test_no_thread_has_rights_left(ecli: Ecli, packages: Path) -> None:
    (ecli.directory / "keep.wasm").write_bytes(handler("(i32.const 0)"))
    with ecli.start("run", packages / "execsnoop.json", "--json", "--handler", "keep.wasm") as running:
        threads = [task.read_text() for task in Path(f"/proc/{running.pid}/task").glob("*/status")]
        run_true()
        wait_until(lambda: bool(running.stdout), "an event")
        assert running.end().status == 0
    assert len(threads) >= 2
    assert all(re.search(r"^CapPrm:\t0+$", text, re.MULTILINE) for text in threads)


def test_a_trap_ends_a_run_with_what_it_was(ecli: Ecli, packages: Path) -> None:
    (ecli.directory / "trap.wasm").write_bytes(handler(NOT_TRUE))
    with ecli.start("run", packages / "execsnoop.json", "--json", "--handler", "trap.wasm") as running:
        run_true()
        outcome = running.wait()
    assert outcome.status == 1
    assert "error: handler trap trapped: wasm `unreachable` instruction executed" in outcome.stderr
    assert re.search(r"^  in event through map events: [0-9a-f ]+74 72 75 65", outcome.stderr, re.MULTILINE)
    assert "  at event" in outcome.stderr
    assert "--on-trap pass" in outcome.stderr
    assert "handler trapped" in outcome.stderr


def test_a_trap_that_is_passed_and_one_that_is_dropped(ecli: Ecli, packages: Path) -> None:
    (ecli.directory / "trap.wasm").write_bytes(handler(NOT_TRUE))
    options = ("--json", "--handler", "trap.wasm", "--fail-on-loss", "--on-trap")
    with ecli.start("run", packages / "execsnoop.json", *options, "pass") as running:
        (pid,) = run_true()
        wait_until(lambda: running.stdout.count(f'"pid":{pid},') == 2, "the events of a program")
        outcome = running.end()
    assert outcome.status == 0
    with ecli.start("run", packages / "execsnoop.json", *options, "drop") as running:
        (pid,) = run_true()
        wait_until(lambda: running.stderr.count("handler trap trapped") == 2, "traps")
        outcome = running.end()
    assert outcome.status == 3
    assert f'"pid":{pid},' not in outcome.stdout
    assert sum(mark["count"] for mark in outcome.marks("@lost") if mark["why"] == "handler trapped") >= 2


def test_a_handler_that_spins_does_not_stop_the_stream(ecli: Ecli, packages: Path) -> None:
    (ecli.directory / "spin.wasm").write_bytes(handler("(loop $again (br $again)) (i32.const 0)"))
    limits = ("--handler", "spin.wasm", "--handler-limit", "time=100ms")
    with ecli.start("run", packages / "execsnoop.json", "--json", *limits) as running:
        pids = run_true(2)
        wait_until(lambda: all(running.stdout.count(f'"pid":{pid},') == 2 for pid in pids), "the events of two programs")
        outcome = running.end()
    assert outcome.status == 0
    assert "quarantined: it took longer than 100 ms" in outcome.stderr


def test_a_summary_comes_also_with_count(ecli: Ecli, packages: Path) -> None:
    more = '(func (export "ecli_finish") (result i32) (call $emit (i32.const -1) (i32.const 0) (i32.const 4)))'
    (ecli.directory / "end.wasm").write_bytes(handler("(i32.const 0)", EMIT, more + '(data (i32.const 0) "done")'))
    for form, expected in (("--json", '{"handler":"end","line":"done"}'), ("--csv", None)):
        with ecli.start("run", packages / "execsnoop.json", form, "--handler", "end.wasm", "--count", "1") as running:
            run_true()
            outcome = running.wait()
        assert outcome.status == 0, outcome.stderr
        assert (outcome.stdout.splitlines()[-1] == expected) == (expected is not None)
        assert expected is not None or "\ndone\n" in outcome.stderr


def test_maps_are_read_and_changed_as_far_as_granted(ecli: Ecli, packages: Path) -> None:
    """The handler puts 8 bytes of map `started` into the event, and removes the entry, so that the exit has no duration."""
    imports = """
      (import "ecli.lookup" "started" (func $lookup (param i32 i32 i32 i32) (result i32)))
      (import "ecli.delete" "started" (func $delete (param i32 i32) (result i32)))"""
    body = """
      (if (i32.eqz (i32.load offset=20 (local.get $at)))
        (then
          (drop (call $lookup (i32.add (local.get $at) (i32.const 8)) (i32.const 4) (local.get $at) (i32.const 8)))
          (drop (call $delete (i32.add (local.get $at) (i32.const 8)) (i32.const 4)))))
      (i32.const 0)"""
    (ecli.directory / "maps.wasm").write_bytes(handler(body, imports))
    command = ("run", packages / "execsnoop.json", "--json", "--handler", "maps.wasm")
    refused = ecli(*command, "--duration", "100ms").fails("handler maps wants to change map started, which it is not granted")
    assert "--grant started" in refused
    with ecli.start(*command, "--grant", "started") as running:
        process = subprocess.Popen(["/bin/sleep", "60"])
        wait_until(lambda: f'"pid":{process.pid},' in running.stdout, "the start of a program")
        process.kill()
        process.wait()
        wait_until(lambda: running.stdout.count(f'"pid":{process.pid},') == 2, "its end")
        outcome = running.end()
    begin, end = (event for event in outcome.events if event["pid"] == process.pid)
    assert begin["duration_ns"] > 0
    assert end["duration_ns"] == 0


def test_from_python(handled: Path, packages: Path, tmp_path: Path) -> None:
    (tmp_path / "odd.wasm").write_bytes(handler(ODD_PIDS))
    with ecli_py.open(packages / "execsnoop.json", handlers=[tmp_path / "odd.wasm"]) as tool:
        pids = run_true(6)
        seen = {event["pid"] for event in tool.events(duration_s=0.5)}
        assert {pid for pid in pids if pid % 2 == 0} <= seen
        assert not any(pid % 2 for pid in seen)
        assert tool.stats.filtered > 0
    (tmp_path / "trap.wasm").write_bytes(handler(NOT_TRUE))
    with ecli_py.open(packages / "execsnoop.json", handlers=[tmp_path / "trap.wasm"]) as tool:
        run_true()
        with pytest.raises(WasmError, match="handler trap trapped"):
            list(tool.events(duration_s=2))
    with ecli_py.open(handled / "tree.json", wasm=False) as tool:
        run_true()
        assert next(tool.events(duration_s=5))["kind"] == "EXEC"


def test_what_the_command_line_says_wrong(ecli: Ecli, packages: Path) -> None:
    command = ("run", packages / "execsnoop.json", "--duration", "100ms")
    (ecli.directory / "keep.wasm").write_bytes(handler("(i32.const 0)"))
    ecli(*command, "--handler", "absent.wasm").fails("cannot read handler absent.wasm")
    ecli(*command, "--handler", packages / "execsnoop.json").fails("handler execsnoop.json: this is no Wasm module")
    ecli(*command, "--handler", "keep.wasm", "--on-trap", "go").fails("--on-trap: expected stop, pass or drop, got 'go'")
    ecli(*command, "--handler", "keep.wasm", "--handler-option", "x").fails("--handler-option: expected NAME=VALUE, got 'x'")
    ecli(*command, "--handler", "keep.wasm", "--handler-limit", "time=x").fails("--handler-limit: expected a limit, got 'time=x'")
