// SPDX-License-Identifier: GPL-2.0 OR MIT
// What each CPU was interrupted by: events are built in global variables, one of them an array with a place for each CPU.
// expect: events=struct irq|struct softirq
// options:
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

#define MAX_CPUS 128

struct irq {
	__u64 at;
	__u32 cpu;
	__s32 number;
};

struct softirq {
	__u64 at;
	__u32 cpu;
	__u32 vector;
	__u64 count;
};

struct pair_of_counts {
	__u64 irqs;
	__u64 softirqs;
} counts;

static struct irq last[MAX_CPUS];
struct softirq softirq = {};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 64 * 1024);
} events SEC(".maps");

SEC("tp/irq/irq_handler_entry")
int on_irq(struct trace_event_raw_irq_handler_entry *ctx)
{
	__u32 cpu = bpf_get_smp_processor_id() & (MAX_CPUS - 1);

	counts.irqs++;
	last[cpu].at = bpf_ktime_get_ns();
	last[cpu].cpu = cpu;
	last[cpu].number = ctx->irq;
	bpf_ringbuf_output(&events, &last[cpu], sizeof(last[cpu]), 0);
	return 0;
}

SEC("tp/irq/softirq_entry")
int on_softirq(struct trace_event_raw_softirq *ctx)
{
	if (counts.softirqs++ % 1024)
		return 0;
	softirq.at = bpf_ktime_get_ns();
	softirq.cpu = bpf_get_smp_processor_id();
	softirq.vector = ctx->vec;
	softirq.count = counts.softirqs;
	bpf_ringbuf_output(&events, &softirq, sizeof(softirq), 0);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
