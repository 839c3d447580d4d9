// SPDX-License-Identifier: GPL-2.0 OR MIT
// Block requests: events of several types in one ring buffer that a field of their common header tells apart.
// expect: events=struct issue_event|struct complete_event
// options: dev
#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

enum event_type { EVENT_ISSUE, EVENT_COMPLETE };

struct event_header {
	__u64 time_ns;
	__u32 dev;
	enum event_type type;
};

struct issue_event {
	struct event_header header;
	__u64 sector;
	__u32 bytes;
	char rwbs[8];
	char comm[16];
};

struct complete_event {
	struct event_header header;
	__u64 sector;
	__u32 sectors;
	__s32 error;
	__u64 duration_ns;
	__u64 seen;
};

const volatile __u32 dev = 0;

struct start_key {
	__u32 dev;
	__u32 pad;
	__u64 sector;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 10240);
	__type(key, struct start_key);
	__type(value, __u64);
} starts SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 18);
} events SEC(".maps");

static __always_inline void *new_event(enum event_type type, __u32 size, __u32 device)
{
	struct event_header *header = bpf_ringbuf_reserve(&events, size, 0);

	if (!header)
		return NULL;
	header->time_ns = bpf_ktime_get_ns();
	header->dev = device;
	header->type = type;
	return header;
}

SEC("tp/block/block_rq_issue")
int on_issue(struct trace_event_raw_block_rq *ctx)
{
	struct start_key key = { .dev = ctx->dev, .sector = ctx->sector };
	__u64 now = bpf_ktime_get_ns();
	struct issue_event *e;

	if (dev && ctx->dev != dev)
		return 0;
	bpf_map_update_elem(&starts, &key, &now, BPF_ANY);
	e = new_event(EVENT_ISSUE, sizeof(*e), ctx->dev);
	if (!e)
		return 0;
	e->sector = ctx->sector;
	e->bytes = ctx->bytes;
	bpf_probe_read_kernel_str(e->rwbs, sizeof(e->rwbs), ctx->rwbs);
	bpf_get_current_comm(e->comm, sizeof(e->comm));
	bpf_ringbuf_submit(e, 0);
	return 0;
}

SEC("tp/block/block_rq_complete")
int on_complete(struct trace_event_raw_block_rq_completion *ctx)
{
	struct start_key key = { .dev = ctx->dev, .sector = ctx->sector };
	struct complete_event *e;
	__u64 *start;

	start = bpf_map_lookup_elem(&starts, &key);
	if (!start)
		return 0;
	e = new_event(EVENT_COMPLETE, sizeof(*e), ctx->dev);
	if (e) {
		e->sector = ctx->sector;
		e->sectors = ctx->nr_sector;
		e->error = ctx->error;
		e->duration_ns = bpf_ktime_get_ns() - *start;
		e->seen = *start;
		bpf_ringbuf_submit(e, 0);
	}
	bpf_map_delete_elem(&starts, &key);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
