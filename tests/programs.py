"""Sources of small programs for tests to build."""

from __future__ import annotations

from pathlib import Path

MINIMAL = """\
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

{declarations}

SEC("{section}")
int run(void *ctx)
{{
	{body}
	return 0;
}}

char LICENSE[] SEC("license") = "GPL";
"""


def source(directory: Path, section: str = "tp/sched/sched_process_exec", declarations: str = "", body: str = "") -> Path:
    """Write the source of a program."""
    path = directory / "tool.bpf.c"
    path.write_text(MINIMAL.format(section=section, declarations=declarations, body=body))
    return path


# A ring buffer for declarations, and what sends an event through it for a body.
RINGBUF = """\
struct event {
	int pid;
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} events SEC(".maps");
"""
EVENT = "struct event event = { 1 };\n\tbpf_ringbuf_output(&events, &event, sizeof(event), 0);"
