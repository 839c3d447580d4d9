// SPDX-License-Identifier: GPL-2.0 OR MIT
// Counts the packets that arrive at a network interface, by protocol, and lets all of them pass.
//
// Build it with `ecli-py build NAME.bpf.c`, run it with `sudo ecli-py run NAME.json`.
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

struct traffic {
	__u64 packets;
	__u64 bytes;
};

// Read once a second and shown: key (the protocol's number: 1 ICMP, 6 TCP, 17 UDP) and value.
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 256);
	__type(key, __u32);
	__type(value, struct traffic);
} by_protocol SEC(".maps");

// The interface's number, as `ip link` shows it; 1 is lo.
// @ifindex 1
SEC("xdp")
int on_packet(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct ethhdr *ethernet = data;
	struct iphdr *ip = (void *)(ethernet + 1);
	struct traffic first = { .packets = 1, .bytes = end - data }, *traffic;
	__u32 protocol;

	// The verifier wants proof that what is read lies within the packet.
	if ((void *)(ip + 1) > end || ethernet->h_proto != bpf_htons(ETH_P_IP))
		return XDP_PASS;
	protocol = ip->protocol;
	traffic = bpf_map_lookup_elem(&by_protocol, &protocol);
	if (traffic) {
		__sync_fetch_and_add(&traffic->packets, 1);
		__sync_fetch_and_add(&traffic->bytes, end - data);
	} else {
		bpf_map_update_elem(&by_protocol, &protocol, &first, BPF_NOEXIST);
	}
	return XDP_PASS; // XDP_DROP would drop it
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
