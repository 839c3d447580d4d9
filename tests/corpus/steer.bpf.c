// SPDX-License-Identifier: GPL-2.0 OR MIT
// Serves a range of ports with one listening socket, and spreads datagrams over a group of sockets.
// expect:
// options: first_port last_port
#include <linux/bpf.h>
#include <linux/in.h>
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_SOCKMAP);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} listener SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_REUSEPORT_SOCKARRAY);
	__uint(max_entries, 16);
	__type(key, __u32);
	__type(value, __u64);
} workers SEC(".maps");

const volatile __u16 first_port = 7000;
const volatile __u16 last_port = 7999;

SEC("sk_lookup")
int steer(struct bpf_sk_lookup *ctx)
{
	const __u32 zero = 0;
	struct bpf_sock *sk;
	long err;

	if (ctx->protocol != IPPROTO_TCP || ctx->local_port < first_port || ctx->local_port > last_port)
		return SK_PASS;
	sk = bpf_map_lookup_elem(&listener, &zero);
	if (!sk)
		return SK_PASS;
	err = bpf_sk_assign(ctx, sk, 0);
	bpf_sk_release(sk);
	return err ? SK_DROP : SK_PASS;
}

SEC("sk_reuseport")
int spread(struct sk_reuseport_md *ctx)
{
	__u32 worker = ctx->hash % 16;

	return bpf_sk_select_reuseport(ctx, &workers, &worker, 0) ? SK_DROP : SK_PASS;
}

char _license[] SEC("license") = "Dual BSD/GPL";
