// SPDX-License-Identifier: GPL-2.0 OR MIT
// What the controller in controller.c loads: events by a ring buffer and a perf event array, maps of several types, XDP, sockops.
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

#define ETH_P_IP_BE 0x0008

struct event {
	__u32 pid;
	__u32 is_exit;
	char comm[16];
};

const volatile __u32 only_parent = 0; // Set by the guest in its copy of the object.

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 18);
} execs SEC(".maps"), exits SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
	__uint(key_size, 4);
	__uint(value_size, 4);
} perf SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 64);
	__type(key, __u32);
	__type(value, __u64);
} counts SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} per_cpu SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} calls SEC(".maps");

static __always_inline void count(__u32 key)
{
	__u64 *found = bpf_map_lookup_elem(&counts, &key), one = 1;
	__u32 zero = 0, *on_this_cpu = bpf_map_lookup_elem(&per_cpu, &zero);

	if (found)
		__sync_fetch_and_add(found, 1);
	else
		bpf_map_update_elem(&counts, &key, &one, BPF_ANY);
	if (on_this_cpu)
		*on_this_cpu += 1;
}

static __always_inline int report(void *ctx, void *ring, __u32 is_exit)
{
	struct event event = { .pid = bpf_get_current_pid_tgid() >> 32, .is_exit = is_exit };

	bpf_get_current_comm(event.comm, sizeof(event.comm));
	bpf_ringbuf_output(ring, &event, sizeof(event), 0);
	bpf_perf_event_output(ctx, &perf, BPF_F_CURRENT_CPU, &event, sizeof(event));
	return 0;
}

SEC("tp/sched/sched_process_exec") int on_exec(void *ctx)
{
	return report(ctx, &execs, 0);
}

SEC("tp/sched/sched_process_exit") int on_exit(void *ctx)
{
	return report(ctx, &exits, 1);
}

SEC("xdp") int on_packet(struct xdp_md *ctx)
{
	count(1);
	return XDP_PASS;
}

SEC("tc") int on_tc(struct __sk_buff *ctx)
{
	count(2);
	return 0;
}

SEC("sockops") int on_sockops(struct bpf_sock_ops *ctx)
{
	count(3);
	return 1;
}

SEC("tp/syscalls/sys_enter_getpgid") int on_call(void *ctx)
{
	__u32 number = bpf_get_current_pid_tgid() >> 32;

	count(4);
	return 0;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
