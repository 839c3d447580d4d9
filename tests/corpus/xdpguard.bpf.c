// SPDX-License-Identifier: GPL-2.0 OR MIT
// Drops IPv4 packets from blocked networks at the earliest point, and reports a sample of them with the packet's first bytes.
// expect: samples=struct sample_hdr
// options: sample_every
#include <stdbool.h>
#include <stddef.h>
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define SNAP_LEN 64
#define min(a, b) ((a) < (b) ? (a) : (b))

struct lpm_key {
	__u32 prefix_len;
	__be32 addr;
};

struct datarec {
	__u64 packets;
	__u64 bytes;
};

// In front of the bytes of the packet that the kernel appends.
struct sample_hdr {
	__u16 cookie;
	__u16 pkt_len;
	__be32 saddr;
} __attribute__((packed));

const volatile __u32 sample_every = 16;

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 1024);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct lpm_key);
	__type(value, __u32);
} blocked SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, XDP_REDIRECT + 1);
	__type(key, __u32);
	__type(value, struct datarec);
} xdp_stats_map SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
	__uint(key_size, sizeof(int));
	__uint(value_size, sizeof(__u32));
} samples SEC(".maps");

static __always_inline __u32 record(struct xdp_md *ctx, __u32 action, __u64 *packets)
{
	struct datarec *rec = bpf_map_lookup_elem(&xdp_stats_map, &action);

	if (!rec)
		return XDP_ABORTED;
	*packets = ++rec->packets;
	rec->bytes += ctx->data_end - ctx->data;
	return action;
}

SEC("xdp")
int xdp_guard(struct xdp_md *ctx)
{
	void *data_end = (void *)(long)ctx->data_end;
	void *data = (void *)(long)ctx->data;
	struct ethhdr *eth = data;
	struct iphdr *ip = (void *)(eth + 1);
	struct lpm_key key = { .prefix_len = 32 };
	__u32 action = XDP_PASS;
	__u64 packets = 0;

	if ((void *)(ip + 1) <= data_end && eth->h_proto == bpf_htons(ETH_P_IP)) {
		key.addr = ip->saddr;
		if (bpf_map_lookup_elem(&blocked, &key))
			action = XDP_DROP;
	}
	action = record(ctx, action, &packets);
	if (action == XDP_DROP && sample_every && packets % sample_every == 0) {
		struct sample_hdr meta = {
			.cookie = 0xdead,
			.pkt_len = data_end - data,
			.saddr = key.addr,
		};
		__u64 flags = BPF_F_CURRENT_CPU | (__u64)min(meta.pkt_len, SNAP_LEN) << 32;

		bpf_perf_event_output(ctx, &samples, flags, &meta, sizeof(meta));
	}
	return action;
}

char _license[] SEC("license") = "GPL";
