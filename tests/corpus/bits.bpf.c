// SPDX-License-Identifier: GPL-2.0 OR MIT
// An event with whatever C can hold: bit fields, unions, wide enums, anonymous structs, arrays of arrays.
// expect: events=struct bits
// options: only_nice
#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include "bits.h"

#define PF_EXITING 0x00000004
#define PF_KTHREAD 0x00200000

// Makes the type part of the object even if nothing else did.
struct bits *unused_bits __attribute__((unused));

const volatile s8 only_nice = -128;

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 16);
} events SEC(".maps");

SEC("tp_btf/sched_wakeup_new")
int BPF_PROG(on_wakeup_new, struct task_struct *task)
{
	int nice = task->static_prio - 120;
	struct bits *bits;

	if (only_nice != -128 && only_nice != nice)
		return 0;
	bits = bpf_ringbuf_reserve(&events, sizeof(*bits), 0);
	if (!bits)
		return 0;
	__builtin_memset(bits, 0, sizeof(*bits));
	bits->time_ns = bpf_ktime_get_ns();
	bits->cpu = bpf_get_smp_processor_id();
	bits->exiting = !!(task->flags & PF_EXITING);
	bits->kernel_thread = !!(task->flags & PF_KTHREAD);
	bits->nice = nice;
	bits->signed_field = -3;
	bits->access = ACCESS_NONE;
	bits->wide = task->mm ? WIDE_BIT_40 : WIDE_BIT_63;
	bits->addresses[0].v4 = 0x0100007f;
	bits->addresses[1].low = 1;
	bits->pointer = (const char *)task;
	bits->flag = 1;
	bits->matrix[1][2] = 12;
	bits->points[1].y = -1;
	bpf_ringbuf_submit(bits, 0);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
