// SPDX-License-Identifier: GPL-2.0 OR MIT
// Which programs the CPUs are busy with: looks at each CPU 99 times a second.
//
// Build it with `ecli-py build NAME.bpf.c`, run it with `sudo ecli-py run NAME.json`.
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

struct who {
	__u32 pid;
	char comm[16];
};

// Only count this process; 0 for all.
const volatile __u32 only_pid = 0;

// Read once a second and shown: who, and how often a CPU was found busy with it so far.
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
	bpf_get_current_comm(key.comm, sizeof(key.comm));
	count = bpf_map_lookup_elem(&busy, &key);
	if (count)
		__sync_fetch_and_add(count, 1);
	else
		bpf_map_update_elem(&busy, &key, &one, BPF_NOEXIST);
	return 0;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
