"""A profile of a loop whose functions are known: the starter of `ecli-py init --kind profile` names them."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

import ecli_py
from tests.cli import Ecli, wait_until

pytestmark = pytest.mark.kernel

# The software clock: a virtual machine may have no other.
OPTIONS = ("--attach", "on_tick=software:cpu-clock@99Hz")


@pytest.fixture
def loop(loop_binary: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The loop, which runs."""
    with subprocess.Popen([loop_binary], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.read(5)
        yield process
        process.kill()


def test_a_folded_profile_names_the_functions_of_a_loop(
    ecli: Ecli, profile: Path, loop: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    words = ("--only-pid", str(loop.pid), "--duration", "1.5s", "--folded", "--flamegraph", "loop.svg")
    outcome = ecli("run", profile, *OPTIONS, *words)
    assert outcome.status == 0, outcome.stderr
    counts: dict[str, int] = {}
    for line in outcome.stdout.splitlines():
        stack, _, count = line.rpartition(" ")
        counts[stack] = int(count)
        assert stack.startswith("busyloop;")
    inside = sum(count for stack, count in counts.items() if re.search(r";main;spin_outside;spin_inside(;|$)", stack))
    assert inside > 0.8 * sum(counts.values()) > 20, outcome.stdout
    titles = [title.text or "" for title in ET.parse(tmp_path / "loop.svg").iter("{http://www.w3.org/2000/svg}title")]
    assert any(title.startswith("spin_inside (") for title in titles)


def test_the_functions_of_a_loop_that_has_ended(
    ecli: Ecli, profile: Path, loop: subprocess.Popen[bytes], loop_binary: Path
) -> None:
    with ecli.start("run", profile, *OPTIONS, "--only-pid", str(loop.pid), "--interval", "100ms", "--json") as running:
        wait_until(lambda: "spin_inside" in running.stdout, "the loop being seen")
        loop.kill()
        loop.wait()
        loop_binary.rename(loop_binary.with_suffix(".gone"))
        try:
            outcome = running.end()
        finally:
            loop_binary.with_suffix(".gone").rename(loop_binary)
    assert outcome.status == 0, outcome.stderr
    last = [event for event in outcome.events if event["value"] == max(each["value"] for each in outcome.events)][-1]
    assert last["user_stack"][:3] == ["spin_inside", "spin_outside", "main"]


def test_a_recording_keeps_the_names(ecli: Ecli, profile: Path, loop: subprocess.Popen[bytes], tmp_path: Path) -> None:
    words = ("--only-pid", str(loop.pid), "--duration", "1s", "--interval=300ms", "--record=file")
    live = ecli("run", profile, *OPTIONS, *words, "--folded", "--flamegraph", "live.svg")
    assert live.status == 0, live.stderr
    loop.kill()
    loop.wait()
    again = ecli("replay", "file", "--folded", "--flamegraph", "again.svg")
    assert (again.status, again.stdout) == (0, live.stdout), again.stderr
    assert ";main;spin_outside;spin_inside" in again.stdout
    assert (tmp_path / "again.svg").read_bytes() == (tmp_path / "live.svg").read_bytes()
    events = ecli("replay", "file", "--json").events
    assert any(event["user_stack"][:3] == ["spin_inside", "spin_outside", "main"] for event in events)
    assert "    spin_outside (busyloop)\n" in ecli("replay", "file").stdout


def test_a_profile_from_python(profile: Path, loop: subprocess.Popen[bytes]) -> None:
    attach = {"on_tick": "software:cpu-clock@99Hz"}
    with ecli_py.open(profile, {"only_pid": loop.pid}, attach=attach) as tool:
        events = list(tool.events(duration_s=0.5))
    assert any("spin_inside" in event["user_stack"] for event in events)
    assert {event["key"]["comm"] for event in events} == {"busyloop"}


@pytest.mark.compiler
def test_maps_whose_author_leaves_their_sizes_to_user_space(build: Ecli, loop: subprocess.Popen[bytes], tmp_path: Path) -> None:
    """As many of libbpf-tools do: the maps of stack traces have neither entries nor size, hashes no entries."""
    assert build("init", "sizes", "--kind", "profile").status == 0
    source = tmp_path / "sizes.bpf.c"
    text, count = re.subn(r"\t__uint\((max_entries|value_size), .*\n", "", source.read_text())
    assert count == 3
    source.write_text(text)
    outcome = build("build", source.name)
    assert outcome.status == 0, outcome.stderr
    maps = build("inspect", "sizes.json").stdout.partition("\nMaps\n")[2].partition("\n\n")[0]
    assert re.search(r"stacks +stack_trace +4 +0 +not said +10\.2 MiB", maps)
    assert re.search(r"busy +hash +28 +8 +not said +1\.\d MiB", maps)
    outcome = build("run", "sizes.json", *OPTIONS, "--only-pid", str(loop.pid), "--duration", "1s", "--folded")
    assert (outcome.status, "warning" in outcome.stderr) == (0, False), outcome.stderr
    assert "busyloop;" in outcome.stdout
    assert ";main;spin_outside;spin_inside" in outcome.stdout
