// SPDX-License-Identifier: GPL-2.0 OR MIT
// How long the garbage collector of Python runs, by the USDT probes in the interpreter.
// expect: collections=struct collection
// options: min_us
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <bpf/usdt.bpf.h>

struct collection {
	__u64 duration_us;
	__u64 freed;
	__u32 pid;
	int generation;
};

struct run {
	__u64 since_ns;
	int generation;
};

const volatile __u64 min_us = 0;

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, __u32);
	__type(value, struct run);
} runs SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 64 * 1024);
} collections SEC(".maps");

SEC("usdt//usr/bin/python3:python:gc__start")
int BPF_USDT(gc_start, long generation)
{
	__u32 tid = bpf_get_current_pid_tgid();
	struct run run = { bpf_ktime_get_ns(), generation };

	bpf_map_update_elem(&runs, &tid, &run, BPF_ANY);
	return 0;
}

SEC("usdt//usr/bin/python3:python:gc__done")
int BPF_USDT(gc_done, long freed)
{
	__u64 pid_tgid = bpf_get_current_pid_tgid(), duration_us;
	__u32 tid = pid_tgid;
	struct collection *collection;
	struct run *run;

	run = bpf_map_lookup_elem(&runs, &tid);
	if (!run)
		return 0;
	duration_us = (bpf_ktime_get_ns() - run->since_ns) / 1000;
	if (duration_us < min_us)
		return 0;
	collection = bpf_ringbuf_reserve(&collections, sizeof(*collection), 0);
	if (!collection)
		return 0;
	*collection = (struct collection){
		.duration_us = duration_us,
		.freed = freed,
		.pid = pid_tgid >> 32,
		.generation = run->generation,
	};
	bpf_ringbuf_submit(collection, 0);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
