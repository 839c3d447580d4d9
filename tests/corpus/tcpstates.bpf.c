// SPDX-License-Identifier: GPL-2.0 OR MIT
// Shows each change of state of a TCP connection: events of IPv4 and IPv6 differ in size and share a head.
// expect: events=struct event_v4|struct event_v6
// options: filter_by_sport family
#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define AF_INET 2
#define AF_INET6 10
#define MAX_PORTS 64

enum type { TYPE_V4 = 4, TYPE_V6 = 6 };

struct common {
	enum type type;
	__u32 pid;
	__u64 skaddr;
	__u64 delta_us;
	int oldstate;
	int newstate;
	__u16 sport;
	__u16 dport;
};

struct event_v4 {
	struct common common;
	__be32 saddr;
	__be32 daddr;
};

struct event_v6 {
	struct common common;
	__u8 saddr[16];
	__u8 daddr[16];
};

const volatile bool filter_by_sport = false;
const volatile short family = 0;

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_PORTS);
	__type(key, __u16);
	__type(value, __u16);
} sports SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 10240);
	__type(key, struct sock *);
	__type(value, __u64);
} timestamps SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(__u32));
} events SEC(".maps");

static __always_inline void fill(struct common *common, struct trace_event_raw_inet_sock_set_state *ctx, __u64 since)
{
	__u64 now = bpf_ktime_get_ns();

	common->type = ctx->family == AF_INET ? TYPE_V4 : TYPE_V6;
	common->pid = bpf_get_current_pid_tgid() >> 32;
	common->skaddr = (__u64)ctx->skaddr;
	common->delta_us = since ? (now - since) / 1000 : 0;
	common->oldstate = ctx->oldstate;
	common->newstate = ctx->newstate;
	common->sport = ctx->sport;
	common->dport = ctx->dport;
}

SEC("tracepoint/sock/inet_sock_set_state")
int handle_set_state(struct trace_event_raw_inet_sock_set_state *ctx)
{
	struct sock *sk = (struct sock *)ctx->skaddr;
	__u16 sport = ctx->sport;
	__u64 *tsp, ts, now;

	if (ctx->protocol != IPPROTO_TCP || (family && ctx->family != family))
		return 0;
	if (filter_by_sport && !bpf_map_lookup_elem(&sports, &sport))
		return 0;
	tsp = bpf_map_lookup_elem(&timestamps, &sk);
	ts = tsp ? *tsp : 0;
	if (ctx->family == AF_INET) {
		struct event_v4 event = {};

		fill(&event.common, ctx, ts);
		bpf_probe_read_kernel(&event.saddr, sizeof(event.saddr), &sk->__sk_common.skc_rcv_saddr);
		bpf_probe_read_kernel(&event.daddr, sizeof(event.daddr), &sk->__sk_common.skc_daddr);
		bpf_perf_event_output(ctx, &events, BPF_F_CURRENT_CPU, &event, sizeof(event));
	} else {
		struct event_v6 event = {};

		fill(&event.common, ctx, ts);
		BPF_CORE_READ_INTO(&event.saddr, sk, __sk_common.skc_v6_rcv_saddr.in6_u.u6_addr8);
		BPF_CORE_READ_INTO(&event.daddr, sk, __sk_common.skc_v6_daddr.in6_u.u6_addr8);
		bpf_perf_event_output(ctx, &events, BPF_F_CURRENT_CPU, &event, sizeof(event));
	}
	if (ctx->newstate == TCP_CLOSE) {
		bpf_map_delete_elem(&timestamps, &sk);
	} else {
		now = bpf_ktime_get_ns();
		bpf_map_update_elem(&timestamps, &sk, &now, BPF_ANY);
	}
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
