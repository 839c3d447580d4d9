// SPDX-License-Identifier: GPL-2.0 OR MIT
// The life of processes in one ring buffer: three structs of one size that a small member of their common head tells apart.
// expect: events=struct born|struct renewed|struct dead
// options:
// tags: born=1, renewed=2, dead=3|4
#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

enum kind {
	BORN = 1,
	RENEWED,
	ENDED,
	KILLED,
};

struct head {
	__u64 at;
	__u32 pid;
	__u8 kind; // enum kind
};

struct born {
	struct head head;
	__u32 parent;
	__u32 child;
};

struct renewed {
	struct head head;
	char comm[8];
};

struct dead {
	struct head head;
	__u64 code;
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 64 * 1024);
} events SEC(".maps");

static __always_inline void begin(struct head *head, enum kind kind)
{
	head->at = bpf_ktime_get_ns();
	head->pid = bpf_get_current_pid_tgid() >> 32;
	head->kind = kind;
}

SEC("tp/sched/sched_process_fork")
int on_fork(struct trace_event_raw_sched_process_fork *ctx)
{
	struct born *born = bpf_ringbuf_reserve(&events, sizeof(*born), 0);

	if (!born)
		return 0;
	begin(&born->head, BORN);
	born->parent = ctx->parent_pid;
	born->child = ctx->child_pid;
	bpf_ringbuf_submit(born, 0);
	return 0;
}

SEC("tp/sched/sched_process_exec")
int on_exec(void *ctx)
{
	struct renewed renewed = {};

	begin(&renewed.head, RENEWED);
	bpf_get_current_comm(renewed.comm, sizeof(renewed.comm));
	bpf_ringbuf_output(&events, &renewed, sizeof(renewed), 0);
	return 0;
}

SEC("tp/sched/sched_process_exit")
int on_exit(void *ctx)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	int code = BPF_CORE_READ(task, exit_code);
	struct dead *dead = bpf_ringbuf_reserve(&events, sizeof(*dead), 0);

	if (!dead)
		return 0;
	begin(&dead->head, code & 0x7f ? KILLED : ENDED);
	dead->code = code;
	bpf_ringbuf_submit(dead, 0);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
