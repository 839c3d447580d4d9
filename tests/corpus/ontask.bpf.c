// SPDX-License-Identifier: GPL-2.0 OR MIT
// How long threads wait for a CPU: the event is kept with the task until it runs, and a struct that nobody sends has its size.
// expect: events=struct wait
// options: min_us
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

struct wait {
	__u64 since;
	__u32 pid;
	__u32 prio;
	char comm[16];
};

struct totals {
	__u64 waits;
	__u64 sum_ns;
	__u64 max_ns[2];
};

const volatile __u64 min_us = 1000;
struct totals totals;

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct wait);
} waits SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 64 * 1024);
} events SEC(".maps");

SEC("tp_btf/sched_wakeup")
int BPF_PROG(on_wakeup, struct task_struct *task)
{
	struct wait *wait = bpf_task_storage_get(&waits, task, NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);

	if (wait)
		wait->since = bpf_ktime_get_ns();
	return 0;
}

SEC("tp_btf/sched_switch")
int BPF_PROG(on_switch, bool preempt, struct task_struct *prev, struct task_struct *next)
{
	struct wait *wait = bpf_task_storage_get(&waits, next, NULL, 0);
	__u64 waited_ns;

	if (!wait || !wait->since)
		return 0;
	waited_ns = bpf_ktime_get_ns() - wait->since;
	totals.waits++;
	totals.sum_ns += waited_ns;
	if (waited_ns >= min_us * 1000) {
		wait->pid = next->pid;
		wait->prio = next->prio;
		bpf_probe_read_kernel_str(wait->comm, sizeof(wait->comm), next->comm);
		bpf_ringbuf_output(&events, wait, sizeof(*wait), 0);
	}
	wait->since = 0;
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
