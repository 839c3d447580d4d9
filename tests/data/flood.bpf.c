// SPDX-License-Identifier: GPL-2.0 OR MIT
// Sends an event for each sched_get_priority_max(SCHED_IDLE), a system call that costs next to nothing and that nobody makes.
// Built with PERF it sends through a perf event array, else through a ring buffer; with PER_CPU it counts what it loses per CPU.
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

#define SCHED_IDLE 5

struct event {
	__u64 number;
};

__u64 made = 0;

#ifdef PERF
struct {
	__uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
	__type(key, int);
	__type(value, int);
} events SEC(".maps");

#define SEND(ctx, event) bpf_perf_event_output(ctx, &events, BPF_F_CURRENT_CPU, event, sizeof(*event))
#else
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 18);
} events SEC(".maps");

#define SEND(ctx, event) bpf_ringbuf_output(&events, event, sizeof(*event), 0)
#endif

#ifdef PER_CPU
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} events_lost SEC(".maps");

static void lose(void)
{
	__u32 zero = 0, *count = bpf_map_lookup_elem(&events_lost, &zero);

	if (count)
		__sync_fetch_and_add(count, 1);
}
#elif defined(COUNTED)
__u64 events_lost = 0;

static void lose(void)
{
	__sync_fetch_and_add(&events_lost, 1);
}
#else
static void lose(void)
{
}
#endif

SEC("?tp/syscalls/sys_exit_sched_get_priority_max")
int on_exit(struct trace_event_raw_sys_exit *ctx)
{
	return 0;
}

SEC("tp/syscalls/sys_enter_sched_get_priority_max")
int on_call(struct trace_event_raw_sys_enter *ctx)
{
	struct event event;

	if (ctx->args[0] != SCHED_IDLE)
		return 0;
	event.number = __sync_fetch_and_add(&made, 1);
	if (SEND(ctx, &event))
		lose();
	return 0;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
