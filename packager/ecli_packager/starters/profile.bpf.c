// SPDX-License-Identifier: GPL-2.0 OR MIT
// Where the CPUs are busy: looks at each CPU 99 times a second, and counts by program and stack.
//
// Build it with `ecli-py build NAME.bpf.c`, run it with `sudo ecli-py run NAME.json`; `--flamegraph FILE.svg` draws it.
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

#define MAX_DEPTH 127

// Members with stack in their names are ids in a map of stack traces: functions of these are shown by their names.
struct who {
	__u32 pid;
	__s32 kernel_stack;
	__s32 user_stack;
	char comm[16];
};

// Only count this process; 0 for all.
const volatile __u32 only_pid = 0;

struct {
	__uint(type, BPF_MAP_TYPE_STACK_TRACE);
	__uint(max_entries, 16384);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, MAX_DEPTH * sizeof(__u64));
} stacks SEC(".maps");

// Read once a second and shown: who, where, and how often a CPU was found busy with it so far.
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 10240);
	__type(key, struct who);
	__type(value, __u64);
} busy SEC(".maps");

SEC("perf_event")
int on_tick(struct bpf_perf_event_data *ctx)
{
	struct who key = { .pid = bpf_get_current_pid_tgid() >> 32 };
	__u64 one = 1, *count;

	if (!key.pid || (only_pid && key.pid != only_pid)) // process 0 is the idle loop
		return 0;
	key.kernel_stack = bpf_get_stackid(ctx, &stacks, 0);
	key.user_stack = bpf_get_stackid(ctx, &stacks, BPF_F_USER_STACK);
	bpf_get_current_comm(key.comm, sizeof(key.comm));
	count = bpf_map_lookup_elem(&busy, &key);
	if (count)
		__sync_fetch_and_add(count, 1);
	else
		bpf_map_update_elem(&busy, &key, &one, BPF_NOEXIST);
	return 0;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
