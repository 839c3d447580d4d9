// SPDX-License-Identifier: GPL-2.0 OR MIT
// Sends connections of a control group elsewhere: services are looked up by address and port, what was done is reported.
// expect: rewrites=struct rewrite4|struct rewrite6
// options:
#include <linux/bpf.h>
#include <linux/in.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

struct service {
	__be32 addr;
	__be16 port;
	__u16 pad;
};

struct rewrite4 {
	__u64 cookie;
	struct service from, to;
};

struct rewrite6 {
	__u64 cookie;
	__be32 from[4];
	__be32 to[4];
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 512);
	__type(key, struct service);
	__type(value, struct service);
} services SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
	__uint(key_size, 4);
	__uint(value_size, 4);
} rewrites SEC(".maps");

SEC("cgroup/connect4")
int connect4(struct bpf_sock_addr *ctx)
{
	struct service from = { .addr = ctx->user_ip4, .port = ctx->user_port };
	struct rewrite4 event = { 0 };
	struct service *to;

	to = bpf_map_lookup_elem(&services, &from);
	if (!to)
		return 1;
	ctx->user_ip4 = to->addr;
	ctx->user_port = to->port;
	event.cookie = bpf_get_socket_cookie(ctx);
	event.from = from;
	event.to = *to;
	bpf_perf_event_output(ctx, &rewrites, BPF_F_CURRENT_CPU, &event, sizeof(struct rewrite4));
	return 1;
}

SEC("cgroup/connect6")
int connect6(struct bpf_sock_addr *ctx)
{
	struct rewrite6 event = { .to = { [3] = bpf_htonl(1) } };

	event.cookie = bpf_get_socket_cookie(ctx);
	event.from[0] = ctx->user_ip6[0];
	event.from[1] = ctx->user_ip6[1];
	event.from[2] = ctx->user_ip6[2];
	event.from[3] = ctx->user_ip6[3];
	if (event.from[0] != bpf_htonl(0xfd000000))
		return 1;
	ctx->user_ip6[0] = event.to[0];
	ctx->user_ip6[1] = event.to[1];
	ctx->user_ip6[2] = event.to[2];
	ctx->user_ip6[3] = event.to[3];
	bpf_perf_event_output(ctx, &rewrites, BPF_F_CURRENT_CPU, &event, sizeof(event));
	return 1;
}

char _license[] SEC("license") = "GPL";
