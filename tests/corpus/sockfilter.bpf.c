// SPDX-License-Identifier: GPL-2.0 OR MIT
// Shows the packets that a raw socket sees, out of a socket filter.
// expect: rb=struct so_event
// options:
#include <stddef.h>
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include "sockfilter.h"

#define IP_MF 0x2000
#define IP_OFFSET 0x1fff

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 256 * 1024);
} rb SEC(".maps");

static inline int is_fragment(struct __sk_buff *skb, __u32 nhoff)
{
	__u16 frag_off;

	bpf_skb_load_bytes(skb, nhoff + offsetof(struct iphdr, frag_off), &frag_off, 2);
	return bpf_ntohs(frag_off) & (IP_MF | IP_OFFSET);
}

SEC("socket")
int socket_handler(struct __sk_buff *skb)
{
	__u32 nhoff = ETH_HLEN;
	struct so_event *e;
	__u16 proto;
	__u8 hdr_len;

	bpf_skb_load_bytes(skb, 12, &proto, 2);
	if (bpf_ntohs(proto) != ETH_P_IP || is_fragment(skb, nhoff))
		return 0;
	e = bpf_ringbuf_reserve(&rb, sizeof(*e), 0);
	if (!e)
		return 0;
	bpf_skb_load_bytes(skb, nhoff + offsetof(struct iphdr, protocol), &e->ip_proto, 1);
	bpf_skb_load_bytes(skb, nhoff + offsetof(struct iphdr, saddr), &e->src_addr, 4);
	bpf_skb_load_bytes(skb, nhoff + offsetof(struct iphdr, daddr), &e->dst_addr, 4);
	bpf_skb_load_bytes(skb, nhoff, &hdr_len, sizeof(hdr_len));
	bpf_skb_load_bytes(skb, nhoff + (hdr_len & 0x0f) * 4, &e->ports, 4);
	e->pkt_type = skb->pkt_type;
	e->ifindex = skb->ifindex;
	bpf_ringbuf_submit(e, 0);
	return skb->len;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
