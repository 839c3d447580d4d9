"""``ecli-py inspect`` on packages that were just built."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from ecli_runtime.libbpf.object import OpenObject
from ecli_schemas.read import read_package
from ecli_schemas.write import write_package
from tests.cli import Ecli
from tests.corpus_programs import CORPUS
from tests.machine import missing

pytestmark = pytest.mark.compiler

SOURCE = """
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
enum verdict { KEPT, DROPPED };
struct seen { __u64 at; // @meaning time_ns
    enum verdict verdict; unsigned int fragment : 1, ttl : 7; __u8 mac[2][6]; };
const volatile __u32 port = 22; // Whom to drop.
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 4096); } packets SEC(".maps");
struct hist { __u32 slots[8]; };
struct from { __be32 saddr; };
struct { __uint(type, BPF_MAP_TYPE_PERCPU_HASH); __uint(max_entries, 10); __type(key, struct from); __type(value, struct hist); }
    sizes SEC(".maps");

/// @tchook {"ifindex": 1}
SEC("xdp") int filter(struct xdp_md *ctx)
{
    __u32 key = 0;
    struct hist *hist = bpf_map_lookup_elem(&sizes, &key);
    struct seen *seen = bpf_ringbuf_reserve(&packets, sizeof(*seen), 0);

    if (hist) hist->slots[0]++;
    if (!seen) return XDP_PASS;
    __builtin_memset(seen, 0, sizeof(*seen));
    seen->at = bpf_ktime_get_ns();
    seen->verdict = port == 22 ? DROPPED : KEPT;
    bpf_ringbuf_submit(seen, 0);
    return port == 22 ? XDP_DROP : XDP_PASS;
}
char LICENSE[] SEC("license") = "GPL";
"""


@pytest.fixture
def package(build: Ecli) -> Path:
    (build.directory / "guard.bpf.c").write_text(SOURCE)
    outcome = build("build", "guard.bpf.c", "--export", "packets=struct seen")
    assert outcome.status == 0, outcome.stderr
    return build.directory / "guard.json"


def test_all_that_is_shown(build: Ecli, package: Path) -> None:
    outcome = build("inspect", package)
    assert (outcome.status, outcome.stderr) == (0, "")
    lines = [" ".join(line.split()) for line in outcome.stdout.splitlines()]  # how it is aligned is shown elsewhere
    for line in (
        "license GPL",
        "* can drop or redirect packets: filter",
        "--port __u32, default 22",
        "Whom to drop.",
        "enum verdict { KEPT = 0, DROPPED = 1 };",
        "struct seen { // 32 bytes",
        "__u64 at; // at 0, 8 bytes, time_ns",
        "enum verdict verdict; // at 8, 4 bytes",
        "__u8 mac[2][6]; // at 13, 12 bytes",
        "__be32 saddr; // at 0, 4 bytes, ipv4",
        "unsigned int ttl : 7; // at 12, bits 1 to 7",
        "sizes (a map, read every 1000 ms, shown as a log2 histogram):",
    ):
        assert line in lines
    assert any(line.startswith("filter xdp xdp (tchook") for line in lines)
    assert any(
        line.split() == ["sizes", "percpu_hash", "4", "32", "10", "896", "B", "+", "320", "B", "per", "CPU"] for line in lines
    )
    assert any(line.startswith("guard.bpf.c sha256:") for line in lines)


def test_what_is_built_is_believed_and_what_is_changed_is_not(build: Ecli, package: Path) -> None:
    document: dict[str, Any] = json.loads(build("inspect", package, "--json").stdout)
    assert (document["verified"], document["contradictions"]) == (True, [])
    assert set(document["behaviour"]["facts"]) == {"drops_or_redirects_packets"}
    meanings = {one["role"]: one["meanings"] for each in document["events"] for one in each["types"]}
    assert meanings == {"event": {"at": "time_ns"}, "key": {"saddr": "ipv4"}, "value": {}}
    honest = read_package(package.read_bytes())
    assert honest.behaviour is not None
    package.write_bytes(write_package(honest.replace(behaviour=honest.behaviour.replace(facts={}))))
    outcome = build("inspect", package)
    assert outcome.status == 1
    assert "the object can drop or redirect packets; the package does not say so" in outcome.stdout


def test_other_loaders_take_the_object(build: Ecli, package: Path) -> None:
    assert build("inspect", package, "--object", "guard.o").status == 0
    elf = build.directory / "guard.o"
    with OpenObject.open(elf.read_bytes(), "guard") as opened:
        assert [each.name for each in opened.programs] == ["filter"]
    piped = subprocess.run(
        [build.python, "-m", "ecli_py", "inspect", package, "--object", "-"], capture_output=True, check=True, timeout=60
    )
    assert piped.stdout == elf.read_bytes()


def test_bpftool_takes_the_object(build: Ecli, package: Path) -> None:
    bpftool = shutil.which("bpftool", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    if bpftool is None:
        missing("bpftool")
    assert build("inspect", package, "--object", "guard.o").status == 0
    dumped = subprocess.run(
        [bpftool, "btf", "dump", "file", build.directory / "guard.o"], capture_output=True, text=True, check=True, timeout=60
    )
    assert "STRUCT 'seen' size=32" in dumped.stdout


def test_a_profile_and_a_program_that_is_not_loaded_are_marked(build: Ecli) -> None:
    for name in ("offcpu", "multiprobe"):
        assert build("build", CORPUS[name], "-o", f"{name}.json").status == 0
    lines = build("inspect", "offcpu.json").stdout.splitlines()
    assert any("(a profile: counts by stack trace, read every 1000 ms" in line for line in lines)
    lines = build("inspect", "multiprobe.json").stdout.splitlines()
    assert any(line.endswith("  kprobe/vfs_fsync (not loaded by default)") for line in lines)
    programs = json.loads(build("inspect", "multiprobe.json", "--json").stdout)["programs"]
    assert [each["section"] for each in programs if not each["autoload"]] == ["kprobe/vfs_fsync"]
