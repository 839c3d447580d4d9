// SPDX-License-Identifier: GPL-2.0 OR MIT
// Reports each DNS query that leaves an interface: a fixed head and as much of the name as there is.
// expect: queries=struct query
// options: dns_port
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/pkt_cls.h>
#include <linux/udp.h>
#include <stddef.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define DNS_HEADER_LEN 12
#define NAME_MAX_LEN 256 // a power of two, for the mask

struct query {
	__u64 time_ns;
	__be32 saddr;
	__be32 daddr;
	__u16 id;
	__u16 name_len;
	unsigned char name[NAME_MAX_LEN];
};

const volatile __u16 dns_port = 53;

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, int);
	__type(value, struct query);
} scratch SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 16);
} queries SEC(".maps");

SEC("tc")
int on_egress(struct __sk_buff *skb)
{
	__u32 at = ETH_HLEN + sizeof(struct iphdr), room;
	struct query *query;
	struct udphdr udp;
	struct iphdr ip;
	int zero = 0;

	if (skb->protocol != bpf_htons(ETH_P_IP) || bpf_skb_load_bytes(skb, ETH_HLEN, &ip, sizeof(ip)) < 0)
		return TC_ACT_OK;
	if (ip.protocol != IPPROTO_UDP || ip.ihl != 5 || bpf_skb_load_bytes(skb, at, &udp, sizeof(udp)) < 0)
		return TC_ACT_OK;
	if (udp.dest != bpf_htons(dns_port))
		return TC_ACT_OK;
	query = bpf_map_lookup_elem(&scratch, &zero);
	if (!query)
		return TC_ACT_OK;
	at += sizeof(udp);
	if (bpf_skb_load_bytes(skb, at, &query->id, sizeof(query->id)) < 0)
		return TC_ACT_OK;
	at += DNS_HEADER_LEN;
	if (skb->len <= at)
		return TC_ACT_OK;
	room = ((skb->len - at - 1) & (NAME_MAX_LEN - 1)) + 1;
	if (bpf_skb_load_bytes(skb, at, query->name, room) < 0)
		return TC_ACT_OK;
	query->time_ns = bpf_ktime_get_ns();
	query->saddr = ip.saddr;
	query->daddr = ip.daddr;
	query->name_len = room;
	bpf_ringbuf_output(&queries, query, offsetof(struct query, name) + room, 0);
	return TC_ACT_OK;
}

char __license[] SEC("license") = "Dual MIT/GPL";
