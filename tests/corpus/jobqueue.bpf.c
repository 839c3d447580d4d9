// SPDX-License-Identifier: GPL-2.0 OR MIT
// Reports, when a process ends, what it had opened last: a queue of work for later and a stack of free slots.
// expect: jobs=struct job
// options: refused
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

struct job {
	u64 queued_ns;
	u64 done_ns;
	u32 pid;
	u32 slot;
	s64 fd;
};

struct {
	__uint(type, BPF_MAP_TYPE_QUEUE);
	__uint(max_entries, 256);
	__type(value, struct job);
} queue SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_STACK);
	__uint(max_entries, 256);
	__type(value, u32);
} free_slots SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 16);
} jobs SEC(".maps");

u64 refused;

SEC("tp/syscalls/sys_exit_openat")
int on_open(struct trace_event_raw_sys_exit *ctx)
{
	struct job job = {
		.queued_ns = bpf_ktime_get_ns(),
		.pid = bpf_get_current_pid_tgid() >> 32,
		.fd = ctx->ret,
	};

	if (bpf_map_pop_elem(&free_slots, &job.slot))
		job.slot = -1;
	if (bpf_map_push_elem(&queue, &job, BPF_EXIST))
		__sync_fetch_and_add(&refused, 1);
	return 0;
}

SEC("tp/sched/sched_process_exit")
int on_exit(void *ctx)
{
	struct job job;

	for (int i = 0; i < 8; i++) {
		if (bpf_map_pop_elem(&queue, &job))
			break;
		if (job.slot != -1)
			bpf_map_push_elem(&free_slots, &job.slot, 0);
		job.done_ns = bpf_ktime_get_ns();
		bpf_ringbuf_output(&jobs, &job, sizeof(job), 0);
	}
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
