// SPDX-License-Identifier: GPL-2.0 OR MIT
// Counts the traffic of each control group, with storage at the group itself, and stops it at a limit.
// expect:
// options: limit_bytes
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct traffic {
	__u64 packets;
	__u64 bytes;
};

struct {
	__uint(type, BPF_MAP_TYPE_CGROUP_STORAGE);
	__type(key, struct bpf_cgroup_storage_key);
	__type(value, struct traffic);
} shared SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_CGROUP_STORAGE);
	__type(key, struct bpf_cgroup_storage_key);
	__type(value, struct traffic);
} per_cpu SEC(".maps");

const volatile __u64 limit_bytes = ~0ULL;

static int count(struct __sk_buff *skb)
{
	struct traffic *all = bpf_get_local_storage(&shared, 0);
	struct traffic *own = bpf_get_local_storage(&per_cpu, 0);

	own->packets++;
	own->bytes += skb->len;
	__sync_fetch_and_add(&all->packets, 1);
	__sync_fetch_and_add(&all->bytes, skb->len);
	return all->bytes <= limit_bytes;
}

SEC("cgroup_skb/ingress")
int ingress(struct __sk_buff *skb)
{
	return count(skb);
}

SEC("cgroup_skb/egress")
int egress(struct __sk_buff *skb)
{
	return count(skb);
}

char LICENSE[] SEC("license") = "GPL";
