// SPDX-License-Identifier: GPL-2.0 OR MIT
// Shows the calls that benchmarks/c/calls.c makes: an event of eight members and 80 bytes for each.
#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

enum kind { READ, WRITE };

struct event {
	__u64 ts;
	__u32 pid;
	__u32 ppid;
	char comm[16];
	__s32 ret;
	enum kind kind;
	__u8 flag;
	char path[32];
};

// Events that found the ring buffer full.
__u64 events_lost = 0;

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, RING_BYTES); // given when it is built
} events SEC(".maps");

SEC("tp/syscalls/sys_enter_faccessat")
int on_enter(struct trace_event_raw_sys_enter *ctx)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	__u32 mode = ctx->args[2];
	struct event *event;

	if (mode >> 16 != 0x6563) // somebody else's call: modes go up to 7
		return 0;
	event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
	if (!event) {
		__sync_fetch_and_add(&events_lost, 1);
		return 0;
	}
	event->ts = bpf_ktime_get_ns();
	event->pid = bpf_get_current_pid_tgid() >> 32;
	event->ppid = BPF_CORE_READ(task, real_parent, tgid);
	bpf_get_current_comm(event->comm, sizeof(event->comm));
	event->kind = mode & 1;
	event->flag = mode >> 8;
	event->ret = -(__s32)event->flag;
	bpf_probe_read_user_str(event->path, sizeof(event->path), (void *)ctx->args[1]);
	bpf_ringbuf_submit(event, 0);
	return 0;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
