// SPDX-License-Identifier: GPL-2.0 OR MIT
// Spreads packets over CPUs and network devices, by a map that user space swaps as a whole.
// expect:
// options:
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#define MAX_DEVICES 8
#define MAX_CPUS 64

struct {
	__uint(type, BPF_MAP_TYPE_DEVMAP);
	__uint(max_entries, MAX_DEVICES);
	__type(key, __u32);
	__type(value, struct bpf_devmap_val);
} devices SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_DEVMAP_HASH);
	__uint(max_entries, MAX_DEVICES);
	__type(key, __u32);
	__type(value, struct bpf_devmap_val);
} mirrors SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_CPUMAP);
	__uint(max_entries, MAX_CPUS);
	__type(key, __u32);
	__type(value, struct bpf_cpumap_val);
} cpus SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_XSKMAP);
	__uint(max_entries, MAX_DEVICES);
	__type(key, __u32);
	__type(value, __u32);
} sockets SEC(".maps");

struct table {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 256);
	__type(key, __u32);
	__type(value, __u32);
} table_a SEC(".maps"), table_b SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 2);
	__type(key, __u32);
	__array(values, struct table);
} tables SEC(".maps") = {
	.values = { &table_a, &table_b },
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH_OF_MAPS);
	__uint(max_entries, 16);
	__type(key, __u32);
	__array(
		values, struct {
			__uint(type, BPF_MAP_TYPE_HASH);
			__uint(max_entries, 64);
			__type(key, __u32);
			__type(value, __u64);
		});
} by_interface SEC(".maps");

SEC("xdp.frags")
int spread(struct xdp_md *ctx)
{
	__u32 slot = ctx->rx_queue_index & 255, which = 0, ifindex = ctx->ingress_ifindex, queue = ctx->rx_queue_index;
	__u32 *target;
	__u64 *seen;
	void *table, *counters;

	if (bpf_map_lookup_elem(&sockets, &queue))
		return bpf_redirect_map(&sockets, queue, XDP_PASS);
	counters = bpf_map_lookup_elem(&by_interface, &ifindex);
	if (counters) {
		seen = bpf_map_lookup_elem(counters, &slot);
		if (seen)
			__sync_fetch_and_add(seen, 1);
	}
	table = bpf_map_lookup_elem(&tables, &which);
	if (!table)
		return XDP_PASS;
	target = bpf_map_lookup_elem(table, &slot);
	if (!target)
		return XDP_PASS;
	switch (*target >> 30) {
	case 0:
		return bpf_redirect_map(&devices, *target, XDP_PASS);
	case 1:
		return bpf_redirect_map(&mirrors, 0, BPF_F_BROADCAST | BPF_F_EXCLUDE_INGRESS);
	default:
		return bpf_redirect_map(&cpus, *target & (MAX_CPUS - 1), XDP_PASS);
	}
}

char _license[] SEC("license") = "GPL";
