// SPDX-License-Identifier: GPL-2.0 OR MIT
// Lists all tasks, as text and as records, each time its file is read.
// expect:
// options: user_only
#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

struct task_info {
	pid_t pid;
	pid_t tid;
	int state;
	char comm[TASK_COMM_LEN];
};

const volatile bool user_only;

SEC("iter/task")
int list_tasks(struct bpf_iter__task *ctx)
{
	struct seq_file *seq = ctx->meta->seq;
	struct task_struct *task = ctx->task;

	if (!task)
		return 0;
	if (user_only && !task->mm)
		return 0;
	if (ctx->meta->seq_num == 0)
		BPF_SEQ_PRINTF(seq, "%8s %8s %s\n", "PID", "TID", "COMM");
	BPF_SEQ_PRINTF(seq, "%8d %8d %s\n", task->tgid, task->pid, task->comm);
	return 0;
}

SEC("iter/task")
int dump_tasks(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task;
	struct task_info info = {};

	if (!task)
		return 0;
	info.pid = task->tgid;
	info.tid = task->pid;
	info.state = BPF_CORE_READ(task, __state);
	bpf_probe_read_kernel_str(info.comm, sizeof(info.comm), task->comm);
	bpf_seq_write(ctx->meta->seq, &info, sizeof(info));
	return 0;
}

SEC("iter/task_file")
int list_files(struct bpf_iter__task_file *ctx)
{
	struct task_struct *task = ctx->task;

	if (task && ctx->file)
		BPF_SEQ_PRINTF(ctx->meta->seq, "%d %u\n", task->tgid, ctx->fd);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
