"""How late events are shown changes nothing else about them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

import ecli_py

pytestmark = pytest.mark.kernel

COUNT = 50


@pytest.mark.parametrize("latency_ms", [0.0, 2.0, 50.0])
def test_every_event_comes(packages: Path, latency_ms: float) -> None:
    with ecli_py.open(packages / "execsnoop.json", latency_ms=latency_ms) as tool:
        pids = set()
        for _ in range(COUNT):
            child = subprocess.Popen(["/bin/true"])
            child.wait()
            pids.add(child.pid)
        tool.stop()
        events = [event for event in tool.events() if event["pid"] in pids]
        assert tool.stats.lost == 0
    assert sorted(event["pid"] for event in events if event["kind"] == "EXIT") == sorted(pids)
