"""What an author does from nothing to a package: init, build, build --watch."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ECLI = [sys.executable, "-m", "ecli_py"]
KINDS = ["exec", "syscall", "kprobe", "xdp", "histogram", "profile"]


def ecli(*words: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*ECLI, *map(str, words)], cwd=cwd, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("kind", KINDS)
def test_each_starter_builds_without_a_word(kind: str, tmp_path: Path) -> None:
    made = ecli("init", "mytool", "--kind", kind, cwd=tmp_path)
    assert (made.stdout, made.stderr, made.returncode) == ("mytool.bpf.c\n", "", 0)
    assert "NAME" not in (tmp_path / "mytool.bpf.c").read_text()
    built = ecli("build", "mytool.bpf.c", cwd=tmp_path)
    assert (built.stdout, built.stderr, built.returncode) == ("", "", 0)
    shown = ecli("run", "mytool.json", "--help", cwd=tmp_path)
    assert shown.returncode == 0
    assert "--json" in shown.stdout


def test_init_overwrites_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.bpf.c").write_text("mine")
    done = ecli("init", "a", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr == "error: a.bpf.c is there already\nhint: choose another name, or remove it first\n"
    assert (tmp_path / "a.bpf.c").read_text() == "mine"


@pytest.mark.parametrize("name", ["", "1st", "a b", "../"])
def test_names_that_are_none(name: str, tmp_path: Path) -> None:
    done = ecli("init", name, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert list(tmp_path.iterdir()) == []


def test_watch_builds_on_each_save(tmp_path: Path) -> None:
    ecli("init", "tool", cwd=tmp_path)
    source = tmp_path / "tool.bpf.c"
    watcher = subprocess.Popen([*ECLI, "build", "tool.bpf.c", "--watch"], cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    assert watcher.stderr is not None
    try:
        assert watcher.stderr.readline().startswith("tool.json: ")
        text = source.read_text()
        _save(source, text.replace("struct event", "struct evnt", 1))
        lines = iter(watcher.stderr.readline, "")
        assert any(line.startswith("error: tool.bpf.c: compilation failed") for line in lines)
        _save(source, text)
        assert any(line.startswith("tool.json: ") for line in lines)
        watcher.send_signal(signal.SIGINT)
        assert watcher.wait(timeout=60) == 130
    finally:
        watcher.kill()
        watcher.wait()
        watcher.stderr.close()


def _save(path: Path, text: str) -> None:
    path.write_text(text)
    later = time.time_ns() + 1_000_000_000  # two saves within the clock's resolution are two all the same
    os.utime(path, ns=(later, later))


def test_two_sources_are_linked_into_one_package(tmp_path: Path) -> None:
    (tmp_path / "shared.h").write_text("struct event { int value; };\n")
    head = '#include <linux/bpf.h>\n#include <bpf/bpf_helpers.h>\n#include "shared.h"\n'
    (tmp_path / "one.bpf.c").write_text(
        head
        + 'struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 4096); } events SEC(".maps");\n'
        + 'int helper(int value);\nSEC("tp/sched/sched_process_exec") int on_exec(void *ctx) { return helper(1); }\n'
        + 'char LICENSE[] SEC("license") = "GPL";\n'
    )
    (tmp_path / "two.bpf.c").write_text(
        head
        + 'extern struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 4096); } events SEC(".maps");\n'
        + "__attribute__((noinline)) int helper(int value)\n{\n"
        + "\tstruct event *event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);\n"
        + "\tif (event) { event->value = value; bpf_ringbuf_submit(event, 0); }\n\treturn 0;\n}\n"
    )
    built = ecli("build", "one.bpf.c", "two.bpf.c", "-o", "both.json", cwd=tmp_path)
    assert (built.stderr, built.returncode) == ("", 0)
    shown = ecli("run", "both.json", "--help", cwd=tmp_path)
    assert shown.returncode == 0, shown.stderr


def test_a_package_on_standard_output(tmp_path: Path) -> None:
    ecli("init", "tool", cwd=tmp_path)
    assert ecli("build", "tool.bpf.c", cwd=tmp_path).returncode == 0
    piped = ecli("build", "tool.bpf.c", "-o", "-", cwd=tmp_path)
    assert (piped.stdout, piped.stderr, piped.returncode) == ((tmp_path / "tool.json").read_text(), "", 0)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["tool.bpf.c", "tool.json"]


def test_options_in_the_help_are_readable(tmp_path: Path) -> None:
    (tmp_path / "tool.bpf.c").write_text(
        "#include <linux/bpf.h>\n#include <bpf/bpf_helpers.h>\n"
        "const volatile unsigned int level = 3; // How much.\nconst volatile char who[16];\n"
        "enum mode { FAST, SLOW };\nconst volatile enum mode mode = SLOW;\n"
        'SEC("raw_tp/sys_enter") int on_enter(void *ctx) { return level + mode + who[0]; }\n'
        'char LICENSE[] SEC("license") = "GPL";\n'
    )
    assert ecli("build", "tool.bpf.c", cwd=tmp_path).returncode == 0
    shown = " ".join(ecli("run", "tool.json", "--help", cwd=tmp_path).stdout.split())
    for text in (
        "--level N How much. (unsigned int, default: 3)",
        "--who TEXT (char[16], default: empty)",
        "--mode FAST|SLOW (enum mode, default: SLOW)",
    ):
        assert text in shown
