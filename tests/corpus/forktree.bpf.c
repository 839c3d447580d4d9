// SPDX-License-Identifier: GPL-2.0 OR MIT
// Shows each fork: who, and whom it made. The event is built on the stack and copied out.
// expect: rb=fork_event_t
// options: threads
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include "forktree.h"

const volatile bool threads = true; /* also show new threads */

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 256 * 1024);
} rb SEC(".maps");

static inline void describe(struct process *who, struct task_struct *task)
{
	who->pid = task->tgid;
	who->tid = task->pid;
	bpf_probe_read_kernel_str(who->name, sizeof(who->name), task->comm);
}

SEC("tp_btf/sched_process_fork")
int BPF_PROG(on_fork, struct task_struct *parent, struct task_struct *child)
{
	fork_event_t event = { .time_ns = bpf_ktime_get_boot_ns() };

	if (!threads && child->pid != child->tgid)
		return 0;
	describe(&event.parent, parent);
	describe(&event.child, child);
	bpf_ringbuf_output(&rb, &event, sizeof(event), 0);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
