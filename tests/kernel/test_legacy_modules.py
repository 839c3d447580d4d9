"""Upstream's older modules, which carry a package: loaded, run and polled by functions of ``env``."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.bpf import held_by, wait_gone
from tests.cli import Ecli, wait_until
from tests.guests import wasm

pytestmark = [pytest.mark.kernel, pytest.mark.compiler]


def legacy(package: bytes, more: str = "") -> bytes:
    """Return a module that runs a package, and ends with the result of polling, or one more than the number of what failed."""
    text = "".join(f"\\{each:02x}" for each in package)
    return wasm(f"""
(module
  (import "env" "create_bpf" (func $create (param i32 i32) (result i32)))
  (import "env" "run_bpf" (func $run (param i32) (result i32)))
  (import "env" "wait_and_poll_bpf" (func $wait (param i32) (result i32)))
  (memory (export "memory") {len(package) // 65536 + 2})
  (data (i32.const 1024) "{text}")
  {more}
  (func (export "bpf_main") (param $arguments i32) (param $size i32) (result i32)
    (local $id i32)
    (local.set $id (call $create (i32.const 1024) (i32.const {len(package)})))
    (if (i32.le_s (local.get $id) (i32.const 0)) (then (return (i32.const 1))))
    (if (i32.lt_s (call $run (local.get $id)) (i32.const 0)) (then (return (i32.const 2))))
    (call $wait (local.get $id))))
""")


# Keeps what is a JSON object, with a NUL behind it.
KEEP_OBJECTS = """
(func (export "process_event") (param $context i32) (param $data i32) (param $size i32) (result i32)
  (if (i32.load8_u (i32.add (local.get $data) (local.get $size))) (then unreachable))
  (select (i32.const 0) (i32.const -1) (i32.eq (i32.load8_u (local.get $data)) (i32.const 123))))
"""
DROP_ALL = '(func (export "process_event") (param i32 i32 i32) (result i32) (i32.const -1))'


@pytest.mark.parametrize("more", ["", KEEP_OBJECTS])
def test_events_are_written_as_json(ecli: Ecli, packages: Path, tmp_path: Path, more: str) -> None:
    (tmp_path / "app.wasm").write_bytes(legacy((packages / "execsnoop.json").read_bytes(), more))
    with ecli.start("run", "app.wasm") as running:
        held = held_by(running.pid)
        process = subprocess.Popen(["true"])
        process.wait()
        wait_until(lambda: f'"pid": {process.pid}' in running.stdout, "an event")
        outcome = running.end()
    assert (outcome.status, outcome.stderr) == (0, "attached\n")
    assert process.pid in [event["pid"] for event in map(json.loads, outcome.stdout.splitlines())]
    wait_gone(held)


def test_the_module_drops_events(ecli: Ecli, packages: Path, tmp_path: Path) -> None:
    (tmp_path / "app.wasm").write_bytes(legacy((packages / "execsnoop.json").read_bytes(), DROP_ALL))
    with ecli.start("run", "app.wasm") as running:
        subprocess.run(["true"], check=True)
        assert running.end().stdout == ""


def test_what_it_carries_is_no_package(ecli: Ecli, tmp_path: Path) -> None:
    (tmp_path / "app.wasm").write_bytes(legacy(b"{}"))
    outcome = ecli("run", "app.wasm")
    assert outcome.status == 1
    assert outcome.stderr.startswith("error: ")
