// SPDX-License-Identifier: GPL-2.0 OR MIT
// Where threads block: time off the CPU by stack, in a stack trace map and a hash of its keys.
// expect:
// options: min_block_us max_block_us state
#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#define PF_KTHREAD 0x00200000
#define MAX_ENTRIES 10240
#define PERF_MAX_STACK_DEPTH 127

struct key_t {
	__u32 pid;
	__u32 tgid;
	int user_stack_id;
	int kern_stack_id;
};

struct val_t {
	__u64 delta;
	char comm[16];
};

struct internal_key {
	u64 start_ts;
	struct key_t key;
};

const volatile __u64 min_block_us = 1;
const volatile __u64 max_block_us = -1;
const volatile long state = -1; // of the threads to count; -1: any

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__type(key, u32);
	__type(value, struct internal_key);
	__uint(max_entries, MAX_ENTRIES);
} start SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_STACK_TRACE);
	__uint(key_size, sizeof(u32));
	__uint(value_size, PERF_MAX_STACK_DEPTH * sizeof(u64));
	__uint(max_entries, MAX_ENTRIES);
} stackmap SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__type(key, struct key_t);
	__type(value, struct val_t);
	__uint(max_entries, MAX_ENTRIES);
} info SEC(".maps");

SEC("tp_btf/sched_switch")
int BPF_PROG(on_switch, bool preempt, struct task_struct *prev, struct task_struct *next)
{
	struct internal_key *since, begin = {};
	struct val_t *val, none = {};
	u32 pid = prev->pid;
	s64 delta;

	if (pid && !(prev->flags & PF_KTHREAD) && (state == -1 || prev->__state == state)) {
		begin.key.pid = pid;
		begin.key.tgid = prev->tgid;
		begin.start_ts = bpf_ktime_get_ns();
		begin.key.user_stack_id = bpf_get_stackid(ctx, &stackmap, BPF_F_USER_STACK);
		begin.key.kern_stack_id = bpf_get_stackid(ctx, &stackmap, 0);
		bpf_map_update_elem(&start, &pid, &begin, 0);
		bpf_probe_read_kernel_str(&none.comm, sizeof(none.comm), prev->comm);
		bpf_map_update_elem(&info, &begin.key, &none, BPF_NOEXIST);
	}

	pid = next->pid;
	since = bpf_map_lookup_elem(&start, &pid);
	if (!since)
		return 0;
	delta = (s64)(bpf_ktime_get_ns() - since->start_ts);
	if (delta < 0)
		return 0;
	delta = (u64)delta / 1000U;
	if (delta >= min_block_us && delta <= max_block_us) {
		val = bpf_map_lookup_elem(&info, &since->key);
		if (val)
			__sync_fetch_and_add(&val->delta, delta);
	}
	bpf_map_delete_elem(&start, &pid);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
