// SPDX-License-Identifier: GPL-2.0 OR MIT
// Drops fragments, or all that is forwarded to one port, out of a netfilter hook; shows what it dropped.
// expect: dropped=struct verdict
// options: drop_port
#include "vmlinux.h"
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define NF_DROP 0
#define NF_ACCEPT 1

extern int bpf_dynptr_from_skb(struct __sk_buff *skb, __u64 flags, struct bpf_dynptr *ptr) __ksym;
extern void *bpf_dynptr_slice(const struct bpf_dynptr *ptr, __u32 offset, void *buffer, __u32 buffer__szk) __ksym;

struct verdict {
	__u32 hook;
	__be32 saddr, daddr;
	__be16 dport;
	__u8 fragment;
};

const volatile __u16 drop_port = 0;

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 65536);
} dropped SEC(".maps");

SEC("netfilter")
int on_packet(struct bpf_nf_ctx *ctx)
{
	struct iphdr ip_buffer, *ip;
	struct udphdr udp_buffer, *udp;
	struct bpf_dynptr packet;
	struct verdict *verdict;
	__be16 dport = 0;
	bool fragment;

	if (bpf_dynptr_from_skb((struct __sk_buff *)ctx->skb, 0, &packet))
		return NF_ACCEPT;
	ip = bpf_dynptr_slice(&packet, 0, &ip_buffer, sizeof(ip_buffer));
	if (!ip || ip->version != 4)
		return NF_ACCEPT;
	fragment = ip->frag_off & bpf_htons(0x3fff);
	udp = bpf_dynptr_slice(&packet, sizeof(*ip), &udp_buffer, sizeof(udp_buffer));
	if (udp)
		dport = udp->dest;
	if (!fragment && !(drop_port && dport == bpf_htons(drop_port)))
		return NF_ACCEPT;
	verdict = bpf_ringbuf_reserve(&dropped, sizeof(struct verdict), 0);
	if (verdict) {
		verdict->hook = ctx->state->hook;
		verdict->saddr = ip->saddr;
		verdict->daddr = ip->daddr;
		verdict->dport = dport;
		verdict->fragment = fragment;
		bpf_ringbuf_submit(verdict, BPF_RB_FORCE_WAKEUP);
	}
	return NF_DROP;
}

char _license[] SEC("license") = "GPL";
