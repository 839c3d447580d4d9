"""Nobody but its user and root reaches a run, and nobody disturbs it; what answers in its place is not believed."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from tests.bpf import held_by
from tests.cli import Ecli, Running, wait_until
from tests.control import Apart, call, wait_events
from tests.machine import NOBODY

pytestmark = [pytest.mark.kernel, pytest.mark.compiler]


REQUEST = """
import socket, sys
with socket.socket(socket.AF_UNIX) as connection:
    connection.connect(sys.argv[1])
    connection.sendall(b'{"do": "stop"}\\n')
    sys.stdout.write(connection.makefile().read())
"""


def test_another_user_is_refused(apart: Apart, controllable: Path, ordinary_user: Ecli) -> None:
    other = ["setpriv", "--reuid", str(NOBODY), "--regid", str(NOBODY), "--clear-groups"]

    def request(running: Running) -> subprocess.CompletedProcess[str]:
        path = f"/run/ecli-py/{running.pid}.sock"
        words = [*apart.prefix[:2], *other, ordinary_user.python, "-Ic", REQUEST, path]
        return subprocess.run(words, capture_output=True, text=True, check=False, timeout=30)

    with apart.started(controllable) as running:
        assert stat.S_IMODE(apart.sockets.stat().st_mode) == 0o700
        assert "PermissionError" in request(running).stderr
        # Were the directory open, the kernel would still tell who it is.
        apart.sockets.chmod(0o711)
        (apart.sockets / f"{running.pid}.sock").chmod(0o666)
        assert json.loads(request(running).stdout) == {
            "error": f"user {NOBODY} may not control this run",
            "hint": "only its user and root may",
        }
        apart.sockets.chmod(0o700)
        call()
        wait_events(running, 1)
        assert apart.ecli("stop", "control").status == 0


GARBAGE = [
    (b"\n", "one line of JSON"),
    (b"GET / HTTP/1.1\r\n\r\n", "one line of JSON"),
    (b"\0" * 100 + b"\n", "one line of JSON"),
    (b"\xff\xfe{}\n", "one line of JSON"),
    (b"[" * 60_000 + b"\n", "one line of JSON"),
    (b"9" * 60_000 + b"\n", ""),
    (b"[]\n", "a JSON object"),
    (b"{}\n", "a request has `do`"),
    (b'{"do": ["stop"]}\n', "a request has `do`"),
    (b'{"do": "explode"}\n', "a request has `do`"),
    (b'{"do": "stop", "now": true}\n', "no 'now'"),
    (b'{"do": "set"}\n', "`values`"),
    (b'{"do": "set", "values": {}}\n', "`values`"),
    (b'{"do": "set", "values": {"step": 5}}\n', "names and texts"),
    (b'{"do": "set", "values": {"label": "\\ud800"}}\n', "none in UTF-8"),
    (b'{"do": "set", "values": {"\\ud800": "1"}}\n', "no global variable"),
    (b'{"do": "set", "values": {"step": "' + b"9" * 60_000 + b'"}}\n', "expected an integer"),
    (b'{"do": "set", "values": {"label": "' + b"x" * 60_000 + b'"}}\n', "at most 7 bytes"),
    (b"x" * 70_000, "at most 65536 bytes"),
]


def test_garbage_does_not_disturb_a_run(apart: Apart, controllable: Path) -> None:
    with apart.started(controllable) as running:
        for sent, (request, message) in enumerate(GARBAGE, 1):
            answer = apart.ask(running, request)
            assert list(answer) == ["error", "hint"], (request[:50], answer)
            assert message in answer["error"], (request[:50], answer)
            call()
            wait_events(running, sent)
        # More than anybody reads.
        with apart.connect(running) as connection, pytest.raises((BrokenPipeError, ConnectionResetError)):
            connection.sendall(b"y" * (100 << 20))
        for _ in range(50):  # gone before the answer
            with apart.connect(running) as connection:
                connection.sendall(b'{"do": "stats"}\n')
        call()
        wait_events(running, len(GARBAGE) + 1)
        outcome = running.end()
    assert (outcome.status, "Traceback" in outcome.stderr) == (0, False)
    assert outcome.closing_line.startswith(f"{len(GARBAGE) + 1} events, 0 lost, ")


def test_clients_that_hang_hold_up_nobody(apart: Apart, controllable: Path) -> None:
    with apart.started(controllable) as running, ExitStack() as stack:
        before = len(os.listdir(f"/proc/{running.pid}/fd"))
        hung = [stack.enter_context(apart.connect(running)) for _ in range(100)]
        for index, connection in enumerate(hung):
            try:
                connection.sendall(b'{"do": ' if index % 2 else b"")
            except OSError:  # thrown out already
                continue
        call(10)
        wait_events(running, 10)
        assert apart.ecli("pause", "control").status == 0
        assert apart.ecli("resume", "control").status == 0
        assert len(os.listdir(f"/proc/{running.pid}/fd")) <= before + 16
        wait_until(lambda: len(os.listdir(f"/proc/{running.pid}/fd")) == before, "those who say nothing to be thrown out")
        call(10)
        wait_events(running, 20)
        assert running.end().status == 0


@pytest.mark.slow
def test_a_run_that_does_not_answer(apart: Apart, controllable: Path) -> None:
    with apart.started(controllable) as running:
        running.process.send_signal(signal.SIGSTOP)
        outcome = apart.ecli("ps")
        assert outcome.stdout.splitlines()[1].split() == [str(running.pid), "no", "answer"]
        assert json.loads(apart.ecli("ps", "--json").stdout) == [{"pid": running.pid, "state": "no answer"}]
        apart.ecli("pause", str(running.pid)).fails(f"run {running.pid} does not answer within 5 s", "ecli-py ps")
        running.process.send_signal(signal.SIGCONT)
        wait_until(lambda: "running" in apart.ecli("ps").stdout or "paused" in apart.ecli("ps").stdout, "an answer")
        assert running.end().status == 0


STATUS = {"name": "x\x1b[31m\n", "state": "run\x1bning", "age_s": 1, "events": 1, "lost": 0, "events_per_s": 0.0, "cpu": 0.0}


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\n",
        b"[1]\n",
        b'{"ok": 5}\n',
        b'{"error": 5}\n',
        b'{"ok": {}}\n',
        b'{"ok": {"maps": [[]], "set": {"a": 1}, "name": [], "events": "many"}}\n',
        b"[" * 100_000 + b"\n",
        b"x" * (3 << 20),
        json.dumps({"ok": {**STATUS, "cpu": "all"}}).encode() + b"\n",
        json.dumps({"ok": {**STATUS, "age_s": 1e400}}).encode() + b"\n",
    ],
)
def test_what_answers_and_is_no_run(apart: Apart, answer: bytes) -> None:
    apart.sockets.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(apart.sockets / "4711.sock"))
        server.listen()
        thread = threading.Thread(target=serve, args=(server, answer))
        thread.start()
        try:
            outcome = apart.ecli("ps")
            assert (outcome.status, outcome.stderr) == (0, "")
            assert outcome.stdout.splitlines()[1].split()[0] == "4711"
            for words in (("stats", "4711"), ("set", "4711"), ("set", "4711", "a=1"), ("stop", "4711")):
                apart.ecli(*words).fails("4711" if not answer else "what answers is no run of")
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()


def test_a_status_cannot_harm_a_terminal(apart: Apart) -> None:
    apart.sockets.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(apart.sockets / "4711.sock"))
        server.listen()
        thread = threading.Thread(target=serve, args=(server, json.dumps({"ok": STATUS}).encode() + b"\n"))
        thread.start()
        try:
            said = [apart.ecli("ps").stdout, apart.ecli("stop", "nothing").stderr, apart.ecli("pause", "4711").stdout]
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()
    assert all("\\x1b[31m" in each and "\x1b" not in each for each in said), said


def serve(server: socket.socket, answer: bytes) -> None:
    """Give each request the same answer, until the socket is shut down."""
    while True:
        try:
            connection, _address = server.accept()
        except OSError:
            return
        with connection, contextlib.suppress(OSError):
            connection.recv(1 << 16)
            connection.sendall(answer)


def test_a_pipe_that_nobody_reads_any_more(apart: Apart, controllable: Path) -> None:
    words = [*apart.prefix, sys.executable, "-m", "ecli_py", "run", str(controllable), "--json", "--control"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stderr
        assert process.stderr.readline() == b"attached\n"
        process.stdout.close()
        call()
        assert process.wait(30) == 0
    assert list(apart.sockets.iterdir()) == []


@pytest.mark.parametrize("kind", ["link", "file", "owner", "mode"])
def test_a_directory_that_is_not_ours_alone(apart: Apart, controllable: Path, kind: str) -> None:
    elsewhere = apart.run / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    (elsewhere / "1.sock").touch()
    if kind == "link":
        apart.sockets.symlink_to("elsewhere")
        message = "/run/ecli-py is no directory"
    elif kind == "file":
        apart.sockets.touch()
        message = "/run/ecli-py is no directory"
    else:
        apart.sockets.mkdir(mode=0o700)
        if kind == "owner":
            os.chown(apart.sockets, NOBODY, NOBODY)
            message = f"/run/ecli-py belongs to user {NOBODY}"
        else:
            apart.sockets.chmod(0o750)
            message = "others may enter /run/ecli-py"
    for words in (("run", controllable, "--control"), ("ps",), ("stop", "control")):
        apart.ecli(*words).fails(message)
    assert [path.name for path in elsewhere.iterdir()] == ["1.sock"]


def test_runs_of_an_ordinary_user(apart: Apart, ordinary_user: Ecli, hooks: Path) -> None:
    """Who has the rights and is not root has a directory of his own, in which root finds his runs."""
    copy = ordinary_user.directory / "hooks.json"
    copy.write_bytes(hooks.read_bytes())
    copy.chmod(0o644)
    os.chown(ordinary_user.directory, NOBODY, NOBODY)
    home = apart.run / "user" / str(NOBODY)
    home.mkdir(parents=True)
    home.chmod(0o700)
    os.chown(home, NOBODY, NOBODY)
    rights = "+bpf,+perfmon,+net_admin"
    words = ["setpriv", "--reuid", str(NOBODY), "--regid", str(NOBODY), "--clear-groups"]
    words += ["--inh-caps", rights, "--ambient-caps", rights]
    environment = {**ordinary_user.environment, "XDG_RUNTIME_DIR": f"/run/user/{NOBODY}"}
    user = replace(ordinary_user, user=None, prefix=[*apart.prefix[:2], *words], environment=environment)
    attach = ("--attach", "on_raw_tracepoint=sys_enter", "--only_pid", str(os.getpid()))
    replace(user, environment={**environment, "XDG_RUNTIME_DIR": ""})("run", copy, "--control", *attach).fails(
        "XDG_RUNTIME_DIR is not set"
    )
    with user.start("run", copy, "--json", "--control", *attach) as running:
        assert user("pause", "hooks").status == 0
        assert held_by(running.pid)["link"] == set()
        assert user("resume", "hooks").status == 0
        assert len(held_by(running.pid)["link"]) == 1
        (status,) = json.loads(apart.ecli("ps", "--json").stdout)
        assert (status["pid"], status["name"]) == (running.pid, "hooks")
        assert apart.ecli("stop", "hooks").status == 0
        assert running.wait().status == 0
