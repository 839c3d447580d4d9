"""What goes to standard output arrives."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

# The handler leaves the program at work, as that of a run does.
SCRIPT = """
import signal, sys
from ecli_py.report import write_out
signal.signal(signal.SIGUSR1, lambda *_: None)
sys.stderr.write("ready")
sys.stderr.flush()
write_out(sys.argv[1] * 300_000 if sys.argv[2] == "text" else sys.argv[1].encode() * 300_000)
"""


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("kind", ["text", "bytes"])
def test_a_signal_does_not_cut_what_is_written_to_a_pipe(unbuffered: str, kind: str) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, "é", kind],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONUNBUFFERED": unbuffered, "PYTHONUTF8": "1"},
    )
    assert process.stdout is not None
    assert process.stderr is not None
    with process.stdout, process.stderr:
        assert process.stderr.read(5) == b"ready"
        time.sleep(0.1)  # the pipe is full by then, most likely
        process.send_signal(signal.SIGUSR1)
        assert process.stdout.read() == "é".encode() * 300_000
    assert process.wait() == 0
