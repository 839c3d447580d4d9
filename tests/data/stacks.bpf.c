// SPDX-License-Identifier: GPL-2.0 OR MIT
// Stack traces of sched_get_priority_max(SCHED_IDLE), a system call that nobody makes: ids in a map of stack traces, and
// addresses in the event itself.
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

#define SCHED_IDLE 5
#define DEPTH 32

struct inner {
	__u32 tgid;
	__s32 ustack_id;
};

struct event {
	__u32 pid;
	__s32 kern_stack_id;
	struct inner inner;
	__s32 stack_id;  // whose, only its addresses tell
	__s32 origin;    // @meaning user_stack
	__s32 ustackid;  // @meaning plain
	__s32 kstack_sz;
	__s32 ustack_sz;
	__s32 unused;
	__u64 kstack[DEPTH];
	__u64 ustack[DEPTH];
};

struct {
	__uint(type, BPF_MAP_TYPE_STACK_TRACE);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, DEPTH * sizeof(__u64));
	__uint(max_entries, 1024);
} stacks SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
} events SEC(".maps");

SEC("tp/syscalls/sys_enter_sched_get_priority_max")
int on_call(struct trace_event_raw_sys_enter *ctx)
{
	struct event *event;

	if (ctx->args[0] != SCHED_IDLE)
		return 0;
	event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
	if (!event)
		return 0;
	event->pid = bpf_get_current_pid_tgid();
	event->inner.tgid = bpf_get_current_pid_tgid() >> 32;
	event->kern_stack_id = bpf_get_stackid(ctx, &stacks, 0);
	event->inner.ustack_id = bpf_get_stackid(ctx, &stacks, BPF_F_USER_STACK);
	event->stack_id = event->origin = event->ustackid = event->inner.ustack_id;
	event->unused = 0;
	event->kstack_sz = bpf_get_stack(ctx, event->kstack, sizeof(event->kstack), 0);
	event->ustack_sz = bpf_get_stack(ctx, event->ustack, sizeof(event->ustack), BPF_F_USER_STACK);
	bpf_ringbuf_submit(event, 0);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
