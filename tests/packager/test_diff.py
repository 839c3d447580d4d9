"""``ecli-py diff``: two versions of a tool, and what their readers must know."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.cli import Ecli

pytestmark = pytest.mark.compiler

TOOL = """\
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
enum kind {{ EXEC, EXIT{kinds} }};
struct event {{
	{members}
	enum kind kind;
	char comm[{length}];
}};
const volatile {option};
struct {{ __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, {ring}); }} events SEC(".maps");
SEC("{section}") int on_exec(void *ctx)
{{
	struct event *event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);

	if (!event)
		return 0;
	__builtin_memset(event, 0, sizeof(*event));
	event->kind = only_pid ? EXEC : EXIT;
	bpf_get_current_comm(event->comm, sizeof(event->comm));
	{more}
	bpf_ringbuf_submit(event, 0);
	return 0;
}}
char LICENSE[] SEC("license") = "GPL";
"""
OLD = {
    "kinds": "",
    "members": "__u32 pid;",
    "length": "16",
    "option": "__u32 only_pid = 0",
    "ring": "4096",
    "section": "tp/sched/sched_process_exec",
    "more": "",
}


@pytest.fixture
def difference(build: Ecli) -> Any:
    """Return what differs between the tool and one with some parts changed: as JSON, and as text."""

    def make(name: str, parts: dict[str, str]) -> None:
        directory = build.directory / name
        directory.mkdir()
        (directory / "tool.bpf.c").write_text(TOOL.format(**{**OLD, **parts}))
        outcome = build("build", directory / "tool.bpf.c", "-o", f"{name}.json")
        assert outcome.status == 0, outcome.stderr

    def compare(**parts: str) -> tuple[dict[str, Any], str]:
        make("old", {})
        make("new", parts)
        outcome = build("diff", "old.json", "new.json", "--json")
        assert outcome.status == 0, outcome.stderr
        document: dict[str, Any] = json.loads(outcome.stdout)
        text = build("diff", "old.json", "new.json")
        assert (text.status, text.stderr) == (0, "")
        breaking = build("diff", "old.json", "new.json", "--fail-on-breaking")
        assert breaking.status == (3 if document["events"]["verdict"] == "breaking" else 0)
        return document, text.stdout

    return compare


def test_the_same_package(difference: Any) -> None:
    document, text = difference()
    assert document["same"]
    assert text.endswith(": the same bytes\n")


def test_what_it_does_and_takes(difference: Any) -> None:
    document, text = difference(
        ring="8192", section="tp/sched/sched_process_exit", option="__s32 only_pid = -1", more="bpf_send_signal(9);"
    )
    assert not document["same"]
    assert document["facts"] == {"added": ["sends_signals"], "removed": []}
    assert document["helpers"] == {"added": ["bpf_send_signal"], "removed": []}
    assert document["events"] == {"verdict": "same", "changes": []}
    assert document["new"]["memory"] - document["old"]["memory"] == 4096
    for line in (
        "  + can send signals to processes, so end them",
        '  ~ on_exec: section "tp/sched/sched_process_exec" → "tp/sched/sched_process_exit"',
        "  + bpf_send_signal",
        '  ~ only_pid: type "__u32" → "__s32", default 0 → -1',
    ):
        assert line in text.splitlines()
    assert "  ~ events: max_entries 4096 → 8192, memory 4096 → 8192" in text
    assert "Events" not in text


@pytest.mark.parametrize(
    ("parts", "verdict", "changes"),
    [
        ({"members": "__u32 pid; __u32 ppid;"}, "compatible", ["event.ppid is new: an integer"]),
        ({"members": "__u16 pid;"}, "compatible", ["event.pid was 0 to 4294967295 and is 0 to 65535"]),
        ({"members": "__s32 pid;"}, "breaking", ["event.pid was 0 to 4294967295 and is -2147483648 to 2147483647"]),
        ({"members": "__u32 tgid;"}, "breaking", ["event.pid is gone", "event.tgid is new: an integer"]),
        ({"members": "__u32 pid[2];"}, "breaking", ["event.pid was an integer and is a list"]),
        ({"members": "_Bool pid;"}, "breaking", ["event.pid was an integer and is true or false"]),
        ({"length": "8"}, "compatible", ["event.comm was up to 16 characters and is up to 8 characters"]),
        ({"length": "32"}, "breaking", ["event.comm was up to 16 characters and is up to 32 characters"]),
        ({"kinds": ", FORK"}, "breaking", ["event.kind: FORK is new"]),
    ],
)
def test_events(difference: Any, parts: dict[str, str], verdict: str, changes: list[str]) -> None:
    document, text = difference(**parts)
    assert document["events"]["verdict"] == verdict
    assert [
        f"{each['path']} {each['text']}".replace(" FORK is", ": FORK is") for each in document["events"]["changes"]
    ] == changes
    assert f"\nEvents: {verdict}: a reader that was made for the old ones " in text


def test_what_is_no_package(build: Ecli) -> None:
    (build.directory / "no.json").write_text("{}")
    build("diff", "no.json", "no.json").fails("no.json: this JSON object is neither a package")
    build("diff", "missing.json", "no.json").fails("cannot read missing.json")
