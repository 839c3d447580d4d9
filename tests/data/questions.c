// What programs ask of a kernel, each way of asking in a program of its own (tests/kernel/test_check.py splits the file).
// "--- name" begins one; behind "->" is a part of the reason why the kernel of the tests refuses it.
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_core_read.h>

struct task_struct___old {
	int gone;
} __attribute__((preserve_access_index));
#define OLD(task) ((struct task_struct___old *)(task))
#define HAS_OLD bpf_core_field_exists(struct task_struct___old, gone)
#define SWITCH(name) BPF_PROG(name, bool preempt, struct task_struct *task)

u64 hits;
char LICENSE[] SEC("license") = "GPL";

// --- asked
SEC("raw_tp/sched_switch") int SWITCH(p)
{
	if (HAS_OLD)
		hits += BPF_CORE_READ(OLD(task), gone);
	return 0;
}

// --- not asked -> struct task_struct has no member gone, which
SEC("raw_tp/sched_switch") int SWITCH(p)
{
	hits += BPF_CORE_READ(OLD(task), gone);
	return 0;
}

// --- asked by the caller
static __noinline int read_old(struct task_struct *task, int there)
{
	return there ? BPF_CORE_READ(OLD(task), gone) : 1;
}
SEC("raw_tp/sched_switch") int SWITCH(p)
{
	hits += read_old(task, HAS_OLD);
	return 0;
}

// --- behind an option
const volatile bool old = false;
SEC("raw_tp/sched_switch") int SWITCH(p)
{
	if (old)
		hits += BPF_CORE_READ(OLD(task), gone);
	return 0;
}

// --- behind an option that is set -> struct task_struct has no member gone
const volatile bool old = true;
SEC("raw_tp/sched_switch") int SWITCH(p)
{
	if (old)
		hits += BPF_CORE_READ(OLD(task), gone);
	return 0;
}

// --- behind a variable -> struct task_struct has no member gone
bool old = false;
SEC("raw_tp/sched_switch") int SWITCH(p)
{
	if (old)
		hits += BPF_CORE_READ(OLD(task), gone);
	return 0;
}

// --- behind an old version
extern int LINUX_KERNEL_VERSION __kconfig;
SEC("raw_tp/sched_switch") int SWITCH(p)
{
	if (LINUX_KERNEL_VERSION < 5 << 16)
		hits += BPF_CORE_READ(OLD(task), gone);
	return 0;
}

// --- behind a new version -> struct task_struct has no member gone
extern int LINUX_KERNEL_VERSION __kconfig;
SEC("raw_tp/sched_switch") int SWITCH(p)
{
	if (LINUX_KERNEL_VERSION > 5 << 16)
		hits += BPF_CORE_READ(OLD(task), gone);
	return 0;
}

// --- an option of the kernel -> without CONFIG_NO_SUCH
extern bool CONFIG_NO_SUCH __kconfig;
SEC("raw_tp/sys_enter") int p(void *ctx)
{
	hits += CONFIG_NO_SUCH;
	return 0;
}

// --- an option of the kernel that may be missing
extern bool CONFIG_NO_SUCH __kconfig __weak;
SEC("raw_tp/sched_switch") int SWITCH(p)
{
	if (CONFIG_NO_SUCH)
		hits += BPF_CORE_READ(OLD(task), gone);
	return 0;
}

// --- a kfunc
extern struct task_struct *bpf_task_from_pid(s32 pid) __ksym;
extern void bpf_task_release(struct task_struct *task) __ksym;
SEC("tp_btf/sched_process_exec") int p(void *ctx)
{
	struct task_struct *task = bpf_task_from_pid(1);

	if (task)
		bpf_task_release(task);
	return 0;
}

// --- a kfunc that is not for raw_tp -> may not call bpf_task_from_pid
extern struct task_struct *bpf_task_from_pid(s32 pid) __ksym;
extern void bpf_task_release(struct task_struct *task) __ksym;
SEC("raw_tp/sys_enter") int p(void *ctx)
{
	struct task_struct *task = bpf_task_from_pid(1);

	if (task)
		bpf_task_release(task);
	return 0;
}

// --- no kfunc -> no kfunc bpf_no_such
extern void bpf_no_such(void) __ksym;
SEC("tp_btf/sched_process_exec") int p(void *ctx)
{
	bpf_no_such();
	return 0;
}

// --- a kfunc that may be missing
extern void bpf_no_such(void) __ksym __weak;
SEC("tp_btf/sched_process_exec") int p(void *ctx)
{
	if (bpf_ksym_exists(bpf_no_such))
		bpf_no_such();
	return 0;
}

// --- a kfunc with other parameters -> is not declared as the object has it
extern void bpf_task_release(int a, int b) __ksym;
SEC("tp_btf/sched_process_exec") int p(void *ctx)
{
	bpf_task_release(1, 2);
	return 0;
}

// --- no symbol -> no symbol no_such
extern const void no_such __ksym;
SEC("raw_tp/sys_enter") int p(void *ctx)
{
	hits += (u64)&no_such;
	return 0;
}

// --- a symbol that may be missing
extern const void no_such __ksym __weak;
SEC("raw_tp/sched_switch") int SWITCH(p)
{
	if (&no_such)
		hits += BPF_CORE_READ(OLD(task), gone);
	return 0;
}

// --- no tracepoint -> no tracepoint sched:sched_swich
SEC("tp/sched/sched_swich") int p(void *ctx) { return hits++, 0; }

// --- no raw tracepoint -> no raw tracepoint sched_swich
SEC("raw_tp/sched_swich") int p(void *ctx) { return hits++, 0; }

// --- no typed tracepoint -> no raw tracepoint sched_swich
SEC("tp_btf/sched_swich") int p(void *ctx) { return hits++, 0; }

// --- no iterator -> no iterator no_such
SEC("iter/no_such") int p(void *ctx) { return hits++, 0; }

// --- a helper that is not for raw_tp -> may not call bpf_get_func_ip
SEC("raw_tp/sys_enter") int p(void *ctx)
{
	hits += bpf_get_func_ip(ctx);
	return 0;
}

// --- bpf_d_path anywhere -> bpf_d_path may not be called at vfs_read
SEC("fentry/vfs_read") int BPF_PROG(p, struct file *file)
{
	char path[64];

	bpf_d_path(&file->f_path, path, sizeof(path));
	return 0;
}
