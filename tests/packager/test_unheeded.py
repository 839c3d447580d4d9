"""Annotations that have no effect where they stand: the build says so."""

from __future__ import annotations

import pytest

from tests.cli import Ecli

pytestmark = pytest.mark.compiler

SOURCE = """\
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include "tool.h"
struct local { u32 address; // @meaning ipv4
};
// @cmdarg {"short": "s"}
const volatile u32 step = 1;
/* @cmdarg {"short": "t"}
 * @meaning duration_ns */
const u32 folded = 2;
// @cmdarg {"short": "e"}
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 4096); } events SEC(".maps");

/// @sample {"interval": 10}
SEC("tp/sched/sched_process_exec") int on_exec(void *ctx)
{
	struct local here = { .address = step + folded };
	struct event *event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);

	if (!event)
		return 0;
	event->server = here.address;
	bpf_ringbuf_submit(event, 0);
	return 0;
}
// The kernel's comments have words like these: @meaning: of what.
char LICENSE[] SEC("license") = "GPL";
"""
HEADER = "struct event { u32 server; // @meaning ipv4\n};\nstruct unused { u32 n; // @meaning ipv4\n};\n"


def test_annotations_that_nothing_reads_are_warned_of(build: Ecli) -> None:
    (build.directory / "tool.bpf.c").write_text(SOURCE)
    (build.directory / "tool.h").write_text(HEADER)
    outcome = build("build", "tool.bpf.c")
    assert outcome.status == 0, outcome.stderr
    assert [line.partition(" has no effect here: ")[0] for line in outcome.stderr.splitlines() if "no effect" in line] == [
        "warning: tool.bpf.c:4:32: @meaning",
        "warning: tool.bpf.c:8:4: @cmdarg",
        "warning: tool.bpf.c:9:4: @meaning",
        "warning: tool.bpf.c:11:4: @cmdarg",
        "warning: tool.bpf.c:14:5: @sample",
        "warning: tool.h:3:27: @meaning",
    ]
    assert "tool.bpf.c:8:4: @cmdarg has no effect here: it is for a variable that is an option" in outcome.stderr
