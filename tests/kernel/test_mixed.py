"""A package with several maps, types and an iterator: schema, choices of members and of events, formats, and replay agree."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from ecli_packager.build import Request, build
from ecli_schemas.write import write_package
from tests.cli import Ecli

pytestmark = [pytest.mark.kernel, pytest.mark.compiler]

MIXED = """\
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

enum kind { STARTED = 1, LOADED = 2 };
struct started { __u32 pid; enum kind kind; __u64 start_ns; };
struct loaded { __u32 pid; enum kind kind; char comm[16]; };
struct reached { __u32 pid; __be32 daddr; };

struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 1 << 16); } first SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY); __uint(key_size, 4); __uint(value_size, 4); } second SEC(".maps");
// @sample {"interval": 50, "type": "default_kv"}
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, struct reached);
} third SEC(".maps");

SEC("tp/sched/sched_process_exec")
int on_exec(void *ctx)
{
	__u32 key = 1, pid = bpf_get_current_pid_tgid() >> 32;
	struct reached reached = { pid, 0x0100007f };
	struct started started = { pid, STARTED, 5 };
	struct loaded loaded = { pid, LOADED };

	bpf_get_current_comm(loaded.comm, sizeof(loaded.comm));
	bpf_ringbuf_output(&first, &started, sizeof(started), 0);
	bpf_ringbuf_output(&first, &loaded, sizeof(loaded), 0);
	bpf_perf_event_output(ctx, &second, BPF_F_CURRENT_CPU, &reached, sizeof(reached));
	bpf_map_update_elem(&third, &key, &reached, 0);
	return 0;
}

SEC("iter/bpf_map")
int dump(struct bpf_iter__bpf_map *ctx)
{
	if (!ctx->meta->seq_num)
		bpf_seq_write(ctx->meta->seq, "a line\\n", 7);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
"""
TAGS = {("first", "started"), ("first", "loaded"), ("second", None), ("third", None), (None, None)}


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source = tmp_path_factory.mktemp("mixed") / "mixed.bpf.c"
    source.write_text(MIXED)
    path = source.with_name("mixed.json")
    path.write_bytes(write_package(build(Request((source,))).package))
    return path


def run(ecli: Ecli, package: Path, *words: str) -> list[dict[str, Any]]:
    """Return the events of a run in which programs are started."""
    with ecli.start("run", package, "--json", "--duration", "400ms", *words) as running:
        for _ in range(3):
            subprocess.run(["/bin/true"], check=True)
        outcome = running.wait()
    assert outcome.status == 0, outcome.stderr
    return outcome.events


def record(ecli: Ecli, package: Path, *words: str) -> list[dict[str, Any]]:
    """Return the events of a run that is recorded to ``file``, lines of iterators excepted, which recordings leave out."""
    return run(ecli, package, "--record", "file", "--disable", "dump", *words)


def tags(event: dict[str, Any]) -> tuple[str | None, str | None]:
    return event.get("@map"), event.get("@type")


@pytest.mark.parametrize("words", [[], ["--raw"]])
def test_the_schema_describes_what_is_written(ecli: Ecli, mixed: Path, words: list[str]) -> None:
    outcome = ecli("schema", mixed, *words)
    assert (outcome.stderr, outcome.status) == ("", 0)
    validator = Draft202012Validator(json.loads(outcome.stdout))
    events = run(ecli, mixed, *words)
    assert {tags(event) for event in events} == TAGS
    for event in events:
        validator.validate(event)
        for name in event:
            assert not validator.is_valid({key: value for key, value in event.items() if key != name})
    opposite = Draft202012Validator(json.loads(ecli("schema", mixed, *([] if words else ["--raw"])).stdout))
    assert not all(map(opposite.is_valid, events))


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (["--fields", "comm"], {("first", "loaded"): {"comm"}}),
        (["--fields", "daddr,start_ns"], {("first", "started"): {"start_ns"}, ("second", None): {"daddr"}}),
        (["--fields", "value"], {("third", None): {"value"}}),
        (["--where", "start_ns == 5ns"], {("first", "started"): {"pid", "kind", "start_ns"}}),
        (["--where", "daddr == 127.0.0.1"], {("second", None): {"pid", "daddr"}, ("third", None): {"key", "value"}}),
        (["--raw", "--where", "daddr != 0", "--fields=-pid"], {("second", None): {"daddr"}, ("third", None): {"key", "value"}}),
    ],
)
def test_what_only_one_type_has(ecli: Ecli, mixed: Path, words: list[str], shown: dict[Any, set[str]]) -> None:
    live = record(ecli, mixed, *words)
    again = ecli("replay", "file", "--json", *words)
    assert again.events == live
    assert {tags(event): event.keys() - {"@map", "@type"} for event in live} == shown


def test_each_map_has_a_closing_line(ecli: Ecli, mixed: Path) -> None:
    with ecli.start("run", mixed, "--record", "file", "--disable", "dump", "--where=pid > 0") as running:
        subprocess.run(["/bin/true"], check=True)
        live = running.end()
    lines = live.stderr.splitlines()[-4:]
    assert [line.partition(": ")[0] for line in lines[:3]] == ["first", "second", "third"]
    counts = [line.partition(": ")[2].split(" of ")[0] for line in lines[:3]]
    assert int(counts[0]) == 2 * int(counts[1]) > 0
    assert sum(map(int, counts)) == int(lines[3].split()[0])
    assert ecli("replay", "file", "--where=pid > 0").stderr.splitlines()[-4:] == lines


def test_a_table_of_one_type_among_several(ecli: Ecli, mixed: Path) -> None:
    record(ecli, mixed)
    ecli("replay", "file", "--csv").fails("--csv: events are of several types, from first, second, third", hint=True)
    lines = ecli("replay", "file", "--csv", "--where", "start_ns > 0", "--fields", "start_ns,kind").stdout.splitlines()
    assert lines[0] == "start_ns,kind"
    assert set(lines[1:]) == {"5,STARTED"}
    assert ecli("replay", "file", "--csv", "--fields", "comm").stdout.splitlines()[0] == "comm"
