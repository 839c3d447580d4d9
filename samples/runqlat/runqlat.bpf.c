// SPDX-License-Identifier: GPL-2.0 OR MIT
// How long threads that could run waited for a CPU, as a histogram of microseconds.
#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

#define SLOT_COUNT 27 // the last one counts everything from 67 s on
#define TASK_RUNNING 0

struct histogram {
	__u64 total_us;
	__u64 waits;
	__u32 slots[SLOT_COUNT];
};

// Only report threads of this process.
const volatile __u32 only_pid = 0;

// When each thread became ready, in nanoseconds, by thread.
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, __u32);
	__type(value, __u64);
} ready SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct histogram);
} waited SEC(".maps");

// Linux 5.14 renamed task_struct.state (2f064a59a11f).
struct task_struct___old {
	long state;
} __attribute__((preserve_access_index));

static bool is_running(struct task_struct *task)
{
	struct task_struct___old *old = (void *)task;

	if (bpf_core_field_exists(old->state))
		return BPF_CORE_READ(old, state) == TASK_RUNNING;
	return BPF_CORE_READ(task, __state) == TASK_RUNNING;
}

static int begin(struct task_struct *task)
{
	__u64 now = bpf_ktime_get_ns();
	__u32 thread = BPF_CORE_READ(task, pid);

	if (!thread || (only_pid && BPF_CORE_READ(task, tgid) != only_pid))
		return 0;
	bpf_map_update_elem(&ready, &thread, &now, BPF_ANY);
	return 0;
}

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

SEC("raw_tp/sched_wakeup")
int on_wakeup(struct bpf_raw_tracepoint_args *ctx)
{
	return begin((void *)ctx->args[0]);
}

SEC("raw_tp/sched_wakeup_new")
int on_wakeup_new(struct bpf_raw_tracepoint_args *ctx)
{
	return begin((void *)ctx->args[0]);
}

SEC("raw_tp/sched_switch")
int on_switch(struct bpf_raw_tracepoint_args *ctx)
{
	struct task_struct *previous = (void *)ctx->args[1];
	struct task_struct *next = (void *)ctx->args[2];
	struct histogram *histogram;
	__u32 thread, zero = 0, slot;
	__u64 *since, waited_us;

	if (is_running(previous)) // it was taken off its CPU, and waits for one again
		begin(previous);
	thread = BPF_CORE_READ(next, pid);
	since = bpf_map_lookup_elem(&ready, &thread);
	if (!since)
		return 0;
	waited_us = (bpf_ktime_get_ns() - *since) / 1000;
	bpf_map_delete_elem(&ready, &thread);
	histogram = bpf_map_lookup_elem(&waited, &zero);
	if (!histogram)
		return 0;
	slot = log2(waited_us);
	if (slot >= SLOT_COUNT)
		slot = SLOT_COUNT - 1;
	__sync_fetch_and_add(&histogram->slots[slot], 1);
	__sync_fetch_and_add(&histogram->waits, 1);
	__sync_fetch_and_add(&histogram->total_us, waited_us);
	return 0;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
