// SPDX-License-Identifier: GPL-2.0 OR MIT
// New TCP connections, through a perf buffer for each address family: of the two calls that send, the compiler makes one.
// expect: v4_events=struct v4_event, v6_events=struct v6_event
// options: only_port
#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define AF_INET 2
#define AF_INET6 10

struct v4_event {
	__u64 at;
	__u32 pid;
	__u32 saddr;
	__u32 daddr;
	__u16 dport;
};

struct v6_event {
	__u64 at;
	__u32 pid;
	__u8 saddr[16];
	__u8 daddr[16];
	__u16 dport;
};

const volatile __u16 only_port = 0; // Only connections to this port; 0 for all.

struct {
	__uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(__u32));
} v4_events SEC(".maps"), v6_events SEC(".maps");

SEC("tp/sock/inet_sock_set_state")
int on_state(struct trace_event_raw_inet_sock_set_state *ctx)
{
	__u32 pid = bpf_get_current_pid_tgid() >> 32;
	__u16 port = ctx->dport;

	if (ctx->newstate != BPF_TCP_SYN_SENT || (only_port && port != only_port))
		return 0;
	if (ctx->family == AF_INET) {
		struct v4_event event = { .at = bpf_ktime_get_ns(), .pid = pid, .dport = port };

		bpf_probe_read_kernel(&event.saddr, sizeof(event.saddr), ctx->saddr);
		bpf_probe_read_kernel(&event.daddr, sizeof(event.daddr), ctx->daddr);
		bpf_perf_event_output(ctx, &v4_events, BPF_F_CURRENT_CPU, &event, sizeof(event));
	} else if (ctx->family == AF_INET6) {
		struct v6_event event = { .at = bpf_ktime_get_ns(), .pid = pid, .dport = port };

		bpf_probe_read_kernel(event.saddr, sizeof(event.saddr), ctx->saddr_v6);
		bpf_probe_read_kernel(event.daddr, sizeof(event.daddr), ctx->daddr_v6);
		bpf_perf_event_output(ctx, &v6_events, BPF_F_CURRENT_CPU, &event, sizeof(event));
	}
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
