// SPDX-License-Identifier: GPL-2.0 OR MIT
// Shows each program that is executed, and each process that ends, with its exit code and how long it ran.
#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

enum kind { EXEC, EXIT };

struct event {
	__u64 duration_ns; // EXIT: since the exec that was seen, else 0
	__u32 pid;
	__u32 ppid;
	__u32 uid;
	enum kind kind;
	int exit_code; // EXIT: status given to exit(), or 128 + the signal that killed it
	char comm[16];
	char filename[128]; // EXEC: the file that is executed
};

// Only report processes that lived at least this long, in milliseconds: exec events are left out then.
const volatile __u32 min_duration_ms = 0;

// Only report this user.
const volatile int only_uid = -1;

// Events that found the ring buffer full.
__u64 events_lost = 0;

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
} events SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, __u32);
	__type(value, __u64);
} started SEC(".maps");

static struct event *new_event(enum kind kind)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	__u32 uid = bpf_get_current_uid_gid();
	struct event *event;

	if (only_uid >= 0 && uid != only_uid)
		return NULL;
	event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
	if (!event) {
		__sync_fetch_and_add(&events_lost, 1);
		return NULL;
	}
	event->duration_ns = 0;
	event->pid = bpf_get_current_pid_tgid() >> 32;
	event->ppid = BPF_CORE_READ(task, real_parent, tgid);
	event->uid = uid;
	event->kind = kind;
	event->exit_code = 0;
	bpf_get_current_comm(event->comm, sizeof(event->comm));
	event->filename[0] = 0;
	return event;
}

SEC("tp/sched/sched_process_exec")
int on_exec(struct trace_event_raw_sched_process_exec *ctx)
{
	__u32 pid = bpf_get_current_pid_tgid() >> 32;
	__u64 now = bpf_ktime_get_ns();
	struct event *event;

	bpf_map_update_elem(&started, &pid, &now, BPF_ANY);
	if (min_duration_ms)
		return 0;
	event = new_event(EXEC);
	if (!event)
		return 0;
	bpf_probe_read_str(event->filename, sizeof(event->filename), (void *)ctx + (ctx->__data_loc_filename & 0xffff));
	bpf_ringbuf_submit(event, 0);
	return 0;
}

SEC("tp/sched/sched_process_exit")
int on_exit(void *ctx)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	__u64 id = bpf_get_current_pid_tgid();
	__u32 pid = id >> 32;
	__u64 duration = 0, *begin;
	struct event *event;
	int status;

	if (pid != (__u32)id) // a thread, not the process
		return 0;
	begin = bpf_map_lookup_elem(&started, &pid);
	if (begin) {
		duration = bpf_ktime_get_ns() - *begin;
		bpf_map_delete_elem(&started, &pid);
	}
	if (duration < min_duration_ms * 1000000ULL)
		return 0;
	event = new_event(EXIT);
	if (!event)
		return 0;
	event->duration_ns = duration;
	status = BPF_CORE_READ(task, exit_code);
	event->exit_code = status & 0x7f ? 128 + (status & 0x7f) : (status >> 8) & 0xff;
	bpf_ringbuf_submit(event, 0);
	return 0;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
