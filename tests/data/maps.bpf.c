// SPDX-License-Identifier: MIT
// Maps of the types that are read, filled by whoever calls getppid(), and by the tests themselves.
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

#define MAP(name, kind, entries, key_type, value_type) \
	struct { \
		__uint(type, BPF_MAP_TYPE_##kind); \
		__uint(max_entries, entries); \
		__type(key, key_type); \
		__type(value, value_type); \
	} name SEC(".maps")

struct key {
	__u32 number;
	char name[16];
};

struct value {
	__u64 hits;
	__u64 total_ns;
	__u64 max_ns;
};

struct histogram {
	__u32 slots[32];
};

MAP(hash, HASH, 5000, struct key, struct value);
MAP(lru_hash, LRU_HASH, 5000, struct key, struct value);
MAP(percpu_hash, PERCPU_HASH, 5000, struct key, struct value);
MAP(array, ARRAY, 300, __u32, struct value);
MAP(percpu_array, PERCPU_ARRAY, 300, __u32, struct value);

// @sample {"interval": 20, "clear_map": true}
MAP(once, HASH, 100000, __u64, __u32);

// @sample {"interval": 20, "clear_map": true}
MAP(grown, ARRAY, 4, __u32, struct value);

// @sample {"interval": 50, "type": "log2_hist", "unit": "bytes"}
MAP(sizes, HASH, 16, __u32, struct histogram);

const volatile __u32 only_pid = 0; // Only this process.

__u64 calls;

SEC("tp/syscalls/sys_enter_getppid")
int on_getppid(void *ctx)
{
	static const struct histogram none;
	__u64 number;
	__u32 one = 1, slot = 0, at;
	struct histogram *histogram;
	struct value *value;

	if (!only_pid || bpf_get_current_pid_tgid() >> 32 != only_pid)
		return 0;
	number = __sync_fetch_and_add(&calls, 1);
	bpf_map_update_elem(&once, &number, &one, BPF_NOEXIST);
	at = number % 3;
	value = bpf_map_lookup_elem(&grown, &at);
	if (value) {
		__sync_fetch_and_add(&value->hits, 1);
		__sync_fetch_and_add(&value->total_ns, 10);
		value->max_ns = 7;
	}
	histogram = bpf_map_lookup_elem(&sizes, &at);
	if (!histogram) {
		bpf_map_update_elem(&sizes, &at, &none, BPF_NOEXIST);
		histogram = bpf_map_lookup_elem(&sizes, &at);
	}
	for (__u64 rest = number; rest > 1 && slot < 31; rest /= 2)
		slot++;
	if (histogram)
		__sync_fetch_and_add(&histogram->slots[slot & 31], 1);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
