// SPDX-License-Identifier: GPL-2.0 OR MIT
// Latency of block requests as a histogram for each device; which member holds the device depends on the kernel.
// expect:
// options: per_disk
#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include "upsert.bpf.h"

#define MAX_SLOTS 27

/* Before Linux 5.17 a request names its disk itself. */
struct request___early {
	struct gendisk *rq_disk;
} __attribute__((preserve_access_index));

struct disk {
	__u32 device;
	__u32 write;
};

struct hist {
	__u32 slots[MAX_SLOTS];
};

const volatile bool per_disk = true; // A histogram for each device, else one for all.
static const struct hist empty;

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 10240);
	__type(key, struct request *);
	__type(value, u64);
} begun SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 256);
	__type(key, struct disk);
	__type(value, struct hist);
} hists SEC(".maps");

static __always_inline struct gendisk *disk_of(struct request *request)
{
	struct request___early *early = (void *)request;

	if (bpf_core_field_exists(early->rq_disk))
		return BPF_CORE_READ(early, rq_disk);
	return BPF_CORE_READ(request, q, disk);
}

SEC("tp_btf/block_rq_issue")
int BPF_PROG(on_issue, struct request *request)
{
	u64 now = bpf_ktime_get_ns();

	bpf_map_update_elem(&begun, &request, &now, BPF_ANY);
	return 0;
}

SEC("tp_btf/block_rq_complete")
int BPF_PROG(on_complete, struct request *request, int error, unsigned int nr_bytes)
{
	u64 *since = bpf_map_lookup_elem(&begun, &request);
	struct disk key = {};
	struct hist *hist;
	u32 slot;

	if (!since)
		return 0;
	slot = floor_log2((bpf_ktime_get_ns() - *since) / 1000);
	if (per_disk) {
		struct gendisk *disk = disk_of(request);

		key.device = BPF_CORE_READ(disk, major) << 20 | BPF_CORE_READ(disk, first_minor);
		key.write = BPF_CORE_READ(request, cmd_flags) & 1;
	}
	hist = upsert(&hists, &key, &empty);
	if (hist)
		__sync_fetch_and_add(&hist->slots[slot < MAX_SLOTS ? slot : MAX_SLOTS - 1], 1);
	bpf_map_delete_elem(&begun, &request);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
