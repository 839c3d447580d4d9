// SPDX-License-Identifier: GPL-2.0 OR MIT
// Counts calls of sched_get_priority_max(SCHED_IDLE) in global variables; nothing else leaves the kernel.
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

#define SCHED_IDLE 5

struct hist {
	__u32 slots[8];
};

int only_pid = 0; // Only of this process.
__u64 calls = 0;
char last_comm[16] = {};
__u32 hist[4] = {};
struct hist hists[2] = {};
__u32 by_pairs[4] = {};
static __u64 own; // nobody's business

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 64);
	__type(key, __u32);
	__type(value, __u64);
} under_way SEC(".maps");

SEC("tp/syscalls/sys_enter_sched_get_priority_max")
int on_enter(struct trace_event_raw_sys_enter *ctx)
{
	__u32 pid = bpf_get_current_pid_tgid() >> 32;

	if (ctx->args[0] != SCHED_IDLE || (only_pid && pid != only_pid))
		return 0;
	bpf_map_update_elem(&under_way, &pid, &own, BPF_ANY);
	hist[calls & 3]++;
	hists[calls & 1].slots[2]++;
	by_pairs[calls >> 1 & 3] += 2;
	bpf_get_current_comm(last_comm, sizeof(last_comm));
	__sync_fetch_and_add(&own, 1);
	calls++;
	bpf_map_delete_elem(&under_way, &pid);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
