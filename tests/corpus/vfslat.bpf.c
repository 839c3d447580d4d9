// SPDX-License-Identifier: GPL-2.0 OR MIT
// How long reads and writes take, as one histogram each, by fentry and fexit with the start time kept at the task itself.
// expect:
// options: min_bytes in_ns
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#define MAX_SLOTS 32

enum operation {
	READ_LATENCY,
	WRITE_LATENCY,
	LATENCY_COUNT,
};

struct hist {
	__u64 latency;
	__u32 slots[MAX_SLOTS];
};

const volatile __u64 min_bytes = 0;
const volatile bool in_ns;

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, __u64);
} start SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, LATENCY_COUNT);
	__type(key, enum operation);
	__type(value, struct hist);
} hists SEC(".maps");

static __u32 slot_of(__u64 v)
{
	__u32 slot = 0;

#pragma unroll
	for (int i = 1; i < MAX_SLOTS; i++)
		slot += v >> i != 0;
	return slot;
}

static void enter(void)
{
	__u64 *ts = bpf_task_storage_get(&start, bpf_get_current_task_btf(), NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);

	if (ts)
		*ts = bpf_ktime_get_ns();
}

static void leave(enum operation op, long ret)
{
	__u64 *ts = bpf_task_storage_get(&start, bpf_get_current_task_btf(), NULL, 0);
	struct hist *hist;
	__u64 delta;
	__u32 slot;

	if (!ts || ret < 0 || ret < min_bytes)
		return;
	delta = bpf_ktime_get_ns() - *ts;
	if (!in_ns)
		delta /= 1000;
	hist = bpf_map_lookup_elem(&hists, &op);
	if (!hist)
		return;
	slot = slot_of(delta);
	if (slot < MAX_SLOTS)
		__sync_fetch_and_add(&hist->slots[slot], 1);
	__sync_fetch_and_add(&hist->latency, delta);
}

SEC("fentry/vfs_read")
int BPF_PROG(read_enter, struct file *file)
{
	enter();
	return 0;
}

SEC("fexit/vfs_read")
int BPF_PROG(read_exit, struct file *file, char *buf, size_t count, loff_t *pos, ssize_t ret)
{
	leave(READ_LATENCY, ret);
	return 0;
}

SEC("fentry/vfs_write")
int BPF_PROG(write_enter, struct file *file)
{
	enter();
	return 0;
}

SEC("fexit/vfs_write")
int BPF_PROG(write_exit, struct file *file, const char *buf, size_t count, loff_t *pos, ssize_t ret)
{
	leave(WRITE_LATENCY, ret);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
