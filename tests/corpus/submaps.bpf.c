// SPDX-License-Identifier: GPL-2.0 OR MIT
// Shows processes, renames and out-of-memory kills through a map each; subprograms are given the map or the event.
// expect: forks=struct fork, renames=struct rename, kills=struct kill
// options:
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

#define RINGBUF(name, size)                                                                                            \
	struct {                                                                                                       \
		__uint(type, BPF_MAP_TYPE_RINGBUF);                                                                    \
		__uint(max_entries, size);                                                                             \
	} name SEC(".maps")

struct stamp {
	u64 time_ns;
	u32 pid;
	u32 cpu;
};

struct fork {
	struct stamp stamp;
	u32 parent;
	u32 child;
};

struct rename {
	struct stamp stamp;
	char from[16];
	char to[16];
};

struct kill {
	struct stamp stamp;
	s32 victim;
};

RINGBUF(forks, 1 << 16);
RINGBUF(renames, 1 << 16);

struct {
	__uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
	__uint(key_size, sizeof(u32));
	__uint(value_size, sizeof(u32));
} kills SEC(".maps");

static __noinline void fill(struct stamp *stamp)
{
	stamp->time_ns = bpf_ktime_get_ns();
	stamp->pid = bpf_get_current_pid_tgid() >> 32;
	stamp->cpu = bpf_get_smp_processor_id();
}

static __noinline long output(void *map, void *event, u64 size)
{
	fill(event);
	return bpf_ringbuf_output(map, event, size, 0);
}

static __noinline long output_kill(void *ctx, struct kill *kill)
{
	fill(&kill->stamp);
	return bpf_perf_event_output(ctx, &kills, BPF_F_CURRENT_CPU, kill, sizeof(*kill));
}

SEC("tp/sched/sched_process_fork")
int on_fork(struct trace_event_raw_sched_process_fork *ctx)
{
	struct fork fork = { .parent = ctx->parent_pid, .child = ctx->child_pid };

	output(&forks, &fork, sizeof(fork));
	return 0;
}

SEC("tp/task/task_rename")
int on_rename(struct trace_event_raw_task_rename *ctx)
{
	struct rename rename = {};

	bpf_probe_read_kernel_str(rename.from, sizeof(rename.from), ctx->oldcomm);
	bpf_probe_read_kernel_str(rename.to, sizeof(rename.to), ctx->newcomm);
	output(&renames, &rename, sizeof(rename));
	return 0;
}

SEC("tp/oom/mark_victim")
int on_oom(struct trace_event_raw_mark_victim *ctx)
{
	struct kill kill = { .victim = ctx->pid };

	output_kill(ctx, &kill);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
