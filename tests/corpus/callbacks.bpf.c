// SPDX-License-Identifier: GPL-2.0 OR MIT
// Finds out who makes the most system calls: callbacks over a map and over numbers, and a global function.
// expect: tops=struct top
// options: period
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

struct top {
	u64 calls;
	u32 pid;
	u32 number;
};

const volatile u32 period = 4096; // system calls between two reports

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, u32);
	__type(value, u64);
} calls_of SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 512);
	__type(key, u32);
	__type(value, u64);
} numbers SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 8192);
} tops SEC(".maps");

static u64 seen;

static long find_most(struct bpf_map *map, u32 *pid, u64 *calls, struct top *top)
{
	if (*calls > top->calls) {
		top->calls = *calls;
		top->pid = *pid;
	}
	return 0;
}

static long find_number(u32 index, void *context)
{
	u64 *calls = bpf_map_lookup_elem(&numbers, &index);
	struct top *top = context;

	if (!calls)
		return 1;
	if (*calls > top->calls)
		top->number = index;
	*calls = 0;
	return 0;
}

// Verified on its own, for any argument.
__noinline int report(u32 unused)
{
	struct top top = {};

	bpf_for_each_map_elem(&calls_of, find_most, &top, 0);
	bpf_loop(512, find_number, &top, 0);
	return bpf_ringbuf_output(&tops, &top, sizeof(top), 0);
}

SEC("raw_tp/sys_enter")
int on_enter(struct bpf_raw_tracepoint_args *ctx)
{
	u32 pid = bpf_get_current_pid_tgid() >> 32, number = ctx->args[1];
	u64 *calls, one = 1;

	calls = bpf_map_lookup_elem(&calls_of, &pid);
	if (calls)
		__sync_fetch_and_add(calls, 1);
	else
		bpf_map_update_elem(&calls_of, &pid, &one, BPF_NOEXIST);
	calls = bpf_map_lookup_elem(&numbers, &number);
	if (calls)
		__sync_fetch_and_add(calls, 1);
	if (__sync_fetch_and_add(&seen, 1) % (period ?: 1) == 0)
		report(number);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
