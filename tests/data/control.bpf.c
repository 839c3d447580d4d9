// SPDX-License-Identifier: GPL-2.0 OR MIT
// Sends an event for each sched_get_priority_max(SCHED_IDLE), a system call that nobody makes, and counts those it loses.
// Its variables are of each kind that can be set while it runs; on_other does nothing and is another kind of hook.
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#define SCHED_IDLE 5

enum mode { QUIET = 1, LOUD = 2 };

struct event {
	__u64 number;
	__u32 step;
	enum mode mode;
	bool marked;
	char label[8];
};

const volatile __u32 only_pid = 0; // Report this process alone.

__u64 made = 0;
__u64 events_lost = 0;
__u32 step = 1;
__s16 offset = -1;
enum mode mode = QUIET;
bool marked = false;
char label[8] = "first";
struct event last = {};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 18);
} events SEC(".maps");

SEC("tp/syscalls/sys_enter_sched_get_priority_max")
int on_call(struct trace_event_raw_sys_enter *ctx)
{
	struct event event = {};

	if (ctx->args[0] != SCHED_IDLE)
		return 0;
	if (only_pid && (bpf_get_current_pid_tgid() >> 32) != only_pid)
		return 0;
	event.number = __sync_fetch_and_add(&made, step);
	event.step = step;
	event.mode = mode;
	event.marked = marked;
	for (int i = 0; i < 8; i++)
		event.label[i] = ((volatile char *)label)[i];
	last = event;
	if (bpf_ringbuf_output(&events, &event, sizeof(event), 0))
		__sync_fetch_and_add(&events_lost, 1);
	return 0;
}

SEC("raw_tp/sys_enter")
int on_other(void *ctx)
{
	return offset;
}

char LICENSE[] SEC("license") = "GPL";
