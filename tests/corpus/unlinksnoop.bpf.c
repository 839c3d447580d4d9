// SPDX-License-Identifier: GPL-2.0 OR MIT
// Shows each file that is removed, with kprobe and kretprobe, through whichever buffer the kernel has.
// expect: events=struct event
// options: slow_ns
#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include "unlinksnoop.h"
#include "compat.bpf.h"

struct start {
	u64 ts;
	char filename[MAX_FILENAME_LEN];
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8192);
	__type(key, pid_t);
	__type(value, struct start);
} starts SEC(".maps");

const volatile u64 slow_ns = 1000000;

SEC("kprobe/do_unlinkat")
int BPF_KPROBE(do_unlinkat, int dfd, struct filename *name)
{
	pid_t tid = (u32)bpf_get_current_pid_tgid();
	struct start start = { .ts = bpf_ktime_get_ns() };

	bpf_probe_read_kernel_str(start.filename, sizeof(start.filename), BPF_CORE_READ(name, name));
	bpf_map_update_elem(&starts, &tid, &start, BPF_ANY);
	return 0;
}

SEC("kretprobe/do_unlinkat")
int BPF_KRETPROBE(do_unlinkat_exit, long ret)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();
	u64 id = bpf_get_current_pid_tgid();
	pid_t tid = (u32)id;
	struct start *start;
	struct event *event;

	start = bpf_map_lookup_elem(&starts, &tid);
	if (!start)
		return 0;
	event = reserve_buf(sizeof(*event));
	if (!event)
		goto cleanup;
	event->pid = id >> 32;
	event->ppid = BPF_CORE_READ(task, real_parent, tgid);
	event->ret = ret;
	event->duration_ns = bpf_ktime_get_ns() - start->ts;
	event->slow = event->duration_ns >= slow_ns;
	__builtin_memcpy(event->filename, start->filename, sizeof(event->filename));
	bpf_get_current_comm(&event->comm, sizeof(event->comm));
	submit_buf(ctx, event, sizeof(*event));
cleanup:
	bpf_map_delete_elem(&starts, &tid);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
