// SPDX-License-Identifier: GPL-2.0 OR MIT
// Classifies packets on an interface with tail calls: one program for each protocol, addresses seen kept in a bloom filter.
// expect: strangers=struct stranger
// options: enabled
#include "vmlinux.h"
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define ETH_P_IP 0x0800
#define ETH_P_IPV6 0x86DD

enum { PROG_IPV4, PROG_IPV6, PROG_COUNT };

struct stranger {
	u32 ifindex;
	u16 protocol;
	u8 addr[16];
};

int classify_ipv4(struct __sk_buff *skb);
int classify_ipv6(struct __sk_buff *skb);

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, PROG_COUNT);
	__uint(key_size, sizeof(u32));
	__array(values, int(void *));
} chain SEC(".maps") = {
	.values = {
		[PROG_IPV4] = (void *)&classify_ipv4,
		[PROG_IPV6] = (void *)&classify_ipv6,
	},
};

struct {
	__uint(type, BPF_MAP_TYPE_BLOOM_FILTER);
	__uint(max_entries, 10000);
	__uint(map_extra, 3);
	__uint(value_size, 16);
} known SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096 * 16);
} strangers SEC(".maps");

volatile bool enabled = true;

static __noinline int see(struct __sk_buff *skb, u16 protocol, u32 offset, u32 size)
{
	struct stranger stranger = { .ifindex = skb->ifindex, .protocol = protocol };

	if (size > sizeof(stranger.addr) || !size || bpf_skb_load_bytes(skb, offset, stranger.addr, size))
		return TCX_NEXT;
	if (bpf_map_peek_elem(&known, stranger.addr) == 0)
		return TCX_NEXT;
	bpf_map_push_elem(&known, stranger.addr, BPF_ANY);
	bpf_ringbuf_output(&strangers, &stranger, sizeof(stranger), BPF_RB_NO_WAKEUP);
	return TCX_NEXT;
}

SEC("tcx/ingress")
int classify_ipv4(struct __sk_buff *skb)
{
	return see(skb, ETH_P_IP, 14 + offsetof(struct iphdr, saddr), 4);
}

SEC("tcx/ingress")
int classify_ipv6(struct __sk_buff *skb)
{
	return see(skb, ETH_P_IPV6, 14 + offsetof(struct ipv6hdr, saddr), 16);
}

SEC("tcx/ingress")
int entry(struct __sk_buff *skb)
{
	if (!enabled)
		return TCX_NEXT;
	switch (bpf_ntohs(skb->protocol)) {
	case ETH_P_IP:
		bpf_tail_call(skb, &chain, PROG_IPV4);
		break;
	case ETH_P_IPV6:
		bpf_tail_call(skb, &chain, PROG_IPV6);
		break;
	}
	return TCX_NEXT;
}

char LICENSE[] SEC("license") = "GPL";
