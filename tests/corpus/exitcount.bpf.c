// SPDX-License-Identifier: GPL-2.0 OR MIT
// Counts the threads that end, by the status they end with, and how often each CPU saw one.
// expect:
// options: per_thread
#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

struct exit_key {
	__u32 status;
	char comm[16];
};

struct counts {
	__u64 ends;
	__u64 last_ns;
};

// Count threads, not only whole processes.
const volatile bool per_thread = false;

struct {
	__uint(type, BPF_MAP_TYPE_LRU_PERCPU_HASH);
	__uint(max_entries, 1024);
	__type(key, struct exit_key);
	__type(value, struct counts);
} by_status SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, u64);
} total SEC(".maps");

static const struct counts no_counts;

SEC("raw_tracepoint/sched_process_exit")
int handle_exit(struct bpf_raw_tracepoint_args *ctx)
{
	struct task_struct *task = (struct task_struct *)ctx->args[0];
	struct counts *counts;
	struct exit_key key = {};
	u32 zero = 0;
	u64 *seen;

	if (!per_thread && BPF_CORE_READ(task, pid) != BPF_CORE_READ(task, tgid))
		return 0;
	BPF_CORE_READ_INTO(&key.status, task, exit_code);
	bpf_core_read_str(key.comm, sizeof(key.comm), &task->comm);
	counts = bpf_map_lookup_elem(&by_status, &key);
	if (!counts) {
		bpf_map_update_elem(&by_status, &key, &no_counts, BPF_NOEXIST);
		counts = bpf_map_lookup_elem(&by_status, &key);
		if (!counts)
			return 0;
	}
	counts->ends++;
	counts->last_ns = bpf_ktime_get_ns();
	seen = bpf_map_lookup_elem(&total, &zero);
	if (seen)
		*seen += 1;
	return 0;
}

char _license[] SEC("license") = "GPL";
