// SPDX-License-Identifier: GPL-2.0 OR MIT
// Reads of each process with their latency: the event is kept in the middle of a map's value, and more structs have its size.
// expect: reads=struct read_event
// options: min_ns
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

struct filter {
	u64 since;
	u64 until;
	u32 uid;
	s32 fd;
};

struct read_event {
	u64 begin_ns;
	u64 end_ns;
	u32 tid;
	s32 ret;
};

struct inflight {
	u32 calls;
	u32 fd;
	struct filter filter;
	struct read_event event;
};

const volatile u64 min_ns;

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, u32);
	__type(value, struct inflight);
} inflight SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 16);
} reads SEC(".maps");

SEC("tp/syscalls/sys_enter_read")
int on_enter(struct trace_event_raw_sys_enter *ctx)
{
	struct inflight begun = { .calls = 1, .fd = ctx->args[0] };
	u32 tid = bpf_get_current_pid_tgid();

	begun.event.begin_ns = bpf_ktime_get_ns();
	begun.event.tid = tid;
	bpf_map_update_elem(&inflight, &tid, &begun, BPF_ANY);
	return 0;
}

SEC("tp/syscalls/sys_exit_read")
int on_exit(struct trace_event_raw_sys_exit *ctx)
{
	u32 tid = bpf_get_current_pid_tgid();
	struct inflight *call = bpf_map_lookup_elem(&inflight, &tid);

	if (!call)
		return 0;
	call->event.end_ns = bpf_ktime_get_ns();
	call->event.ret = ctx->ret;
	if (call->event.end_ns - call->event.begin_ns >= min_ns)
		bpf_ringbuf_output(&reads, &call->event, sizeof(call->event), 0);
	bpf_map_delete_elem(&inflight, &tid);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
