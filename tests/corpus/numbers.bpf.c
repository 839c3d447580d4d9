// SPDX-License-Identifier: GPL-2.0 OR MIT
// Events that are no struct of its own: a number, and a type of the kernel.
// expect: pids=pid_t, clocks=struct timespec64
// options:
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} pids SEC(".maps"), clocks SEC(".maps");

SEC("tp/sched/sched_process_free")
int on_free(struct trace_event_raw_sched_process_template *ctx)
{
	pid_t pid = ctx->pid;

	bpf_ringbuf_output(&pids, &pid, sizeof(pid), 0);
	return 0;
}

SEC("tp/syscalls/sys_enter_clock_nanosleep")
int on_sleep(struct trace_event_raw_sys_enter *ctx)
{
	struct timespec64 ts = {};

	if (!bpf_probe_read_user(&ts, sizeof(ts), (void *)ctx->args[2]))
		bpf_ringbuf_output(&clocks, &ts, sizeof(ts), 0);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
