// SPDX-License-Identifier: GPL-2.0 OR MIT
// Keeps programs of some control groups from tracing others or loading eBPF, by LSM hooks; modify_return does the same to openat.
// expect: denials=struct denial
// options: enforce hook_mask
#include "vmlinux.h"
#include <asm-generic/errno-base.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

enum hook {
	HOOK_PTRACE = 1,
	HOOK_BPF = 2,
	HOOK_OPEN = 4,
};

struct denial {
	__u64 cgroup;
	__u32 pid;
	__u32 target;
	enum hook hook;
	bool enforced;
	char comm[16];
	char target_comm[16];
};

const volatile bool enforce = false;
volatile enum hook hook_mask = HOOK_PTRACE;

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 128);
	__type(key, u64);
	__type(value, u8);
} confined SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_INODE_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, u64);
} opens SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 18);
} denials SEC(".maps");

static int deny(enum hook hook, struct task_struct *target)
{
	u64 cgroup = bpf_get_current_cgroup_id();
	struct denial *denial;

	if (!(hook_mask & hook) || !bpf_map_lookup_elem(&confined, &cgroup))
		return 0;
	denial = bpf_ringbuf_reserve(&denials, sizeof(*denial), 0);
	if (denial) {
		denial->cgroup = cgroup;
		denial->pid = bpf_get_current_pid_tgid() >> 32;
		denial->target = target ? BPF_CORE_READ(target, tgid) : 0;
		denial->hook = hook;
		denial->enforced = enforce;
		bpf_get_current_comm(denial->comm, sizeof(denial->comm));
		denial->target_comm[0] = '\0';
		if (target)
			BPF_CORE_READ_STR_INTO(&denial->target_comm, target, comm);
		bpf_ringbuf_submit(denial, 0);
	}
	return enforce ? -EPERM : 0;
}

SEC("lsm/ptrace_access_check")
int BPF_PROG(on_ptrace, struct task_struct *child, unsigned int mode, int ret)
{
	if (ret)
		return ret;
	return deny(HOOK_PTRACE, child);
}

SEC("lsm/bpf")
int BPF_PROG(on_bpf, int cmd, union bpf_attr *attr, unsigned int size)
{
	return deny(HOOK_BPF, NULL);
}

SEC("lsm.s/file_open")
int BPF_PROG(on_open, struct file *file)
{
	u64 *count = bpf_inode_storage_get(&opens, file->f_inode, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);

	if (count)
		__sync_fetch_and_add(count, 1);
	return 0;
}

SEC("fmod_ret/security_file_open")
int BPF_PROG(on_file_open, struct file *file)
{
	return deny(HOOK_OPEN, NULL);
}

char _license[] SEC("license") = "GPL";
