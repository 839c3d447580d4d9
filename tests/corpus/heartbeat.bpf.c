// SPDX-License-Identifier: GPL-2.0 OR MIT
// Beats: a timer in an array map that user space starts by running a program; each beat is an event.
// expect: beats=struct beat
// options: interval_ns
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

#define CLOCK_MONOTONIC 1

struct beat {
	u64 time_ns;
	u64 number;
};

struct element {
	struct bpf_spin_lock lock;
	struct bpf_timer timer;
	u64 number;
};

struct arguments {
	u64 interval_ns;
};

u64 interval_ns = 1000000000;

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, int);
	__type(value, struct element);
} elements SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} beats SEC(".maps");

static int beat(void *map, int *key, struct element *element)
{
	struct beat *event = bpf_ringbuf_reserve(&beats, sizeof(*event), 0);
	u64 number;

	bpf_spin_lock(&element->lock);
	number = ++element->number;
	bpf_spin_unlock(&element->lock);
	if (event) {
		event->time_ns = bpf_ktime_get_ns();
		event->number = number;
		bpf_ringbuf_submit(event, 0);
	}
	bpf_timer_start(&element->timer, interval_ns, 0);
	return 0;
}

SEC("syscall")
int begin(struct arguments *arguments)
{
	struct element *element;
	int zero = 0;

	if (arguments->interval_ns)
		interval_ns = arguments->interval_ns;
	element = bpf_map_lookup_elem(&elements, &zero);
	if (!element)
		return 1;
	bpf_timer_init(&element->timer, &elements, CLOCK_MONOTONIC);
	bpf_timer_set_callback(&element->timer, beat);
	return bpf_timer_start(&element->timer, interval_ns, 0);
}

char LICENSE[] SEC("license") = "GPL";
