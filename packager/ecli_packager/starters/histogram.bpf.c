// SPDX-License-Identifier: GPL-2.0 OR MIT
// How many bytes read(2) returns, as a histogram.
//
// Build it with `ecli-py build NAME.bpf.c`, run it with `sudo ecli-py run NAME.json`.
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

#define SLOT_COUNT 32

// A map whose value has an array named slots is read once a second and drawn: slot i counts values from 2^i on.
struct histogram {
	__u32 slots[SLOT_COUNT];
};

// Only report this process; 0 for all.
const volatile __u32 only_pid = 0;

// @sample {"interval": 1000, "type": "log2_hist", "unit": "bytes"}
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct histogram);
} sizes SEC(".maps");

static __u32 log2(__u64 value)
{
	__u32 slot = 0;

	for (int bit = 32; bit; bit /= 2) {
		if (value >> bit) {
			value >>= bit;
			slot += bit;
		}
	}
	return slot;
}

SEC("tp/syscalls/sys_exit_read")
int on_read(struct trace_event_raw_sys_exit *ctx)
{
	__u32 zero = 0, slot;
	struct histogram *histogram;

	if (ctx->ret <= 0 || (only_pid && bpf_get_current_pid_tgid() >> 32 != only_pid))
		return 0;
	histogram = bpf_map_lookup_elem(&sizes, &zero);
	if (!histogram)
		return 0;
	slot = log2(ctx->ret);
	if (slot < SLOT_COUNT)
		__sync_fetch_and_add(&histogram->slots[slot], 1);
	return 0;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
