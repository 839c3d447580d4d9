// SPDX-License-Identifier: GPL-2.0 OR MIT
// The open files of each process that ends, sent by a callback that only knows them through its context; another struct is as big.
// expect: files=struct file_info
// options: max_files
#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

struct walk_state {
	struct file **files;
	u32 end;
	u32 sent;
};

struct file_info {
	u64 inode;
	u32 pid;
	u32 fd;
};

struct walk {
	struct walk_state state;
	struct file_info info;
};

const volatile u32 max_files = 64;

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 16);
} files SEC(".maps");

static __noinline long send(struct file_info *info)
{
	return bpf_ringbuf_output(&files, info, sizeof(*info), 0);
}

static long visit(u32 index, void *ctx)
{
	struct walk *walk = ctx;
	struct file_info *info = &walk->info;
	struct file *file = NULL;

	if (index >= walk->state.end)
		return 1;
	bpf_probe_read_kernel(&file, sizeof(file), &walk->state.files[index]);
	if (!file)
		return 0;
	info->inode = BPF_CORE_READ(file, f_inode, i_ino);
	info->fd = index;
	if (!send(info))
		walk->state.sent++;
	return 0;
}

SEC("raw_tp/sched_process_exit")
int on_exit(struct bpf_raw_tracepoint_args *ctx)
{
	struct task_struct *task = (void *)ctx->args[0];
	struct fdtable *table = BPF_CORE_READ(task, files, fdt);
	struct walk walk = {};

	if (!table || BPF_CORE_READ(task, pid) != BPF_CORE_READ(task, tgid))
		return 0;
	walk.state.files = BPF_CORE_READ(table, fd);
	walk.state.end = BPF_CORE_READ(table, max_fds);
	walk.info.pid = BPF_CORE_READ(task, tgid);
	bpf_loop(max_files, visit, &walk, 0);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
