// SPDX-License-Identifier: GPL-2.0 OR MIT
// Shows the ancestors of each process that ends, with kfuncs where the kernel has them.
// expect: lineages=struct lineage
// options: use_kfuncs
#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#define GENERATIONS 8

extern struct task_struct *bpf_task_from_pid(s32 pid) __weak __ksym;
extern void bpf_task_release(struct task_struct *p) __weak __ksym;
extern const void init_task __ksym __weak;

struct lineage {
	u32 pid;
	u32 count;
	u32 ancestors[GENERATIONS];
	char parent[16];
	bool by_kfunc;
};

const volatile bool use_kfuncs = true;

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 16);
} lineages SEC(".maps");

SEC("tp_btf/sched_process_exit")
int BPF_PROG(on_exit, struct task_struct *task)
{
	struct task_struct *at = task, *parent;
	struct lineage *lineage;

	if (task->pid != task->tgid)
		return 0;
	lineage = bpf_ringbuf_reserve(&lineages, sizeof(*lineage), 0);
	if (!lineage)
		return 0;
	__builtin_memset(lineage, 0, sizeof(*lineage));
	lineage->pid = task->tgid;
	for (int i = 0; i < GENERATIONS; i++) {
		at = BPF_CORE_READ(at, real_parent);
		if (!at || (&init_task && at == (void *)&init_task))
			break;
		lineage->ancestors[i] = BPF_CORE_READ(at, tgid);
		lineage->count++;
	}
	if (use_kfuncs && bpf_ksym_exists(bpf_task_from_pid)) {
		parent = bpf_task_from_pid(lineage->ancestors[0]);
		if (parent) {
			bpf_probe_read_kernel_str(lineage->parent, sizeof(lineage->parent), parent->comm);
			lineage->by_kfunc = true;
			bpf_task_release(parent);
		}
	}
	bpf_ringbuf_submit(lineage, 0);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
