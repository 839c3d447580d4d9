// SPDX-License-Identifier: GPL-2.0 OR MIT
// Shows each call of kill(2): who sends which signal to whom, and what came of it.
//
// Build it with `ecli-py build NAME.bpf.c`, run it with `sudo ecli-py run NAME.json`.
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

struct event {
	__u32 pid;
	__u32 target_pid;
	int signal;
	int error; // errno, or 0
	char comm[16];
};

// Only report this signal; 0 for all.
const volatile int only_signal = 0;

// Events that found the ring buffer full.
__u64 events_lost = 0;

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
} events SEC(".maps");

struct call {
	__u32 target_pid;
	int signal;
};

// Arguments are known when a call begins, its result when it ends: they meet here, by thread.
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 10240);
	__type(key, __u32);
	__type(value, struct call);
} calls SEC(".maps");

SEC("tp/syscalls/sys_enter_kill")
int on_enter(struct trace_event_raw_sys_enter *ctx)
{
	__u32 thread = bpf_get_current_pid_tgid();
	struct call call = { .target_pid = ctx->args[0], .signal = ctx->args[1] };

	if (only_signal && call.signal != only_signal)
		return 0;
	bpf_map_update_elem(&calls, &thread, &call, BPF_ANY);
	return 0;
}

SEC("tp/syscalls/sys_exit_kill")
int on_exit(struct trace_event_raw_sys_exit *ctx)
{
	__u64 id = bpf_get_current_pid_tgid();
	__u32 thread = id;
	struct call *call = bpf_map_lookup_elem(&calls, &thread);
	struct event *event;

	if (!call)
		return 0;
	event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
	if (event) {
		event->pid = id >> 32;
		event->target_pid = call->target_pid;
		event->signal = call->signal;
		event->error = ctx->ret < 0 ? -ctx->ret : 0;
		bpf_get_current_comm(event->comm, sizeof(event->comm));
		bpf_ringbuf_submit(event, 0);
	} else {
		__sync_fetch_and_add(&events_lost, 1);
	}
	bpf_map_delete_elem(&calls, &thread);
	return 0;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
