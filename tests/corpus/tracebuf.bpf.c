// SPDX-License-Identifier: GPL-2.0 OR MIT
// The environment that programs start with, in one buffer: an event ends where its buffer is filled to.
// expect: traces=struct trace
// options: max_bytes
#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

#define BUFFER_SIZE 1024
#define MIN(a, b) ((a) < (b) ? (a) : (b))

struct trace {
	__u64 at;
	__u32 pid;
	__u32 filled;
	char buffer[BUFFER_SIZE];
};

const volatile __u32 max_bytes = 512; // of an environment

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct trace);
} room SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(__u32));
} traces SEC(".maps");

static void send(void *ctx, struct trace *trace)
{
	__u64 size = sizeof(*trace) - BUFFER_SIZE + trace->filled;

	if (size <= sizeof(*trace))
		bpf_perf_event_output(ctx, &traces, BPF_F_CURRENT_CPU, trace, MIN(size, sizeof(*trace)));
}

SEC("tp/sched/sched_process_exec")
int on_exec(void *ctx)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	const char *begin = (const char *)BPF_CORE_READ(task, mm, env_start);
	const __u32 key = 0;
	struct trace *trace = bpf_map_lookup_elem(&room, &key);
	__u32 size = max_bytes;

	if (!trace)
		return 0;
	if (size > BUFFER_SIZE)
		size = BUFFER_SIZE;
	trace->at = bpf_ktime_get_ns();
	trace->pid = bpf_get_current_pid_tgid() >> 32;
	trace->filled = bpf_probe_read_user(trace->buffer, size, begin) ? 0 : size;
	send(ctx, trace);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
