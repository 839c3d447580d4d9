// SPDX-License-Identifier: GPL-2.0 OR MIT
// Page faults of user space, through one ring buffer for each CPU: the buffers are in an array of maps, so no call names one.
// expect: ring0=struct fault, ring1=struct fault
// options: dropped sample_every
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

struct fault {
	__u64 address;
	__u64 ip;
	__u32 pid;
	__u32 error_code;
};

struct ring {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 14);
} ring0 SEC(".maps"), ring1 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 2);
	__uint(key_size, sizeof(int));
	__array(values, struct ring);
} rings SEC(".maps") = {
	.values = { &ring0, &ring1 },
};

const volatile u32 sample_every = 64;
static u64 faults;
u64 dropped = 0;

SEC("tp/exceptions/page_fault_user")
int on_fault(struct trace_event_raw_exceptions *ctx)
{
	int cpu = bpf_get_smp_processor_id() & 1;
	struct fault *fault;
	void *ring;

	if (sample_every && faults++ % sample_every)
		return 0;
	ring = bpf_map_lookup_elem(&rings, &cpu);
	if (!ring)
		return 0;
	fault = bpf_ringbuf_reserve(ring, sizeof(*fault), 0);
	if (!fault) {
		dropped++;
		return 0;
	}
	fault->address = ctx->address;
	fault->ip = ctx->ip;
	fault->pid = bpf_get_current_pid_tgid() >> 32;
	fault->error_code = ctx->error_code;
	bpf_ringbuf_submit(fault, 0);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
