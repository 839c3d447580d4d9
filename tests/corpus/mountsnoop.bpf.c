// SPDX-License-Identifier: GPL-2.0 OR MIT
// Shows mount(2) and umount(2), by ksyscall, with events too large for the stack of a program.
// expect: events=struct mount_event|struct umount_event
// options: target_pid
#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#define PATH_MAX 1024

enum event_type { EVENT_MOUNT = 1, EVENT_UMOUNT };

struct header {
	enum event_type type;
	__u32 pid;
	__u64 mnt_ns;
	char comm[16];
};

struct mount_event {
	struct header header;
	__u64 flags;
	char fs[8];
	char source[PATH_MAX];
	char target[PATH_MAX];
};

struct umount_event {
	struct header header;
	__u64 flags;
	char target[PATH_MAX];
};

union any_event {
	struct header header;
	struct mount_event mount;
	struct umount_event umount;
};

const volatile pid_t target_pid = 0;

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, union any_event);
} buffer SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
	__type(key, __u32);
	__type(value, __u32);
} events SEC(".maps");

static union any_event *begin(enum event_type type)
{
	struct task_struct *task = (void *)bpf_get_current_task_btf();
	__u32 zero = 0, pid = bpf_get_current_pid_tgid() >> 32;
	union any_event *event;

	if (target_pid && target_pid != pid)
		return NULL;
	event = bpf_map_lookup_elem(&buffer, &zero);
	if (!event)
		return NULL;
	event->header.type = type;
	event->header.pid = pid;
	event->header.mnt_ns = task->nsproxy->mnt_ns->ns.inum;
	bpf_get_current_comm(event->header.comm, sizeof(event->header.comm));
	return event;
}

SEC("ksyscall/mount")
int BPF_KSYSCALL(enter_mount, const char *source, const char *target, const char *fs, unsigned long flags)
{
	union any_event *event = begin(EVENT_MOUNT);
	struct mount_event *mount;

	if (!event)
		return 0;
	mount = &event->mount;
	mount->flags = flags;
	bpf_probe_read_user_str(mount->fs, sizeof(mount->fs), fs);
	bpf_probe_read_user_str(mount->source, sizeof(mount->source), source);
	bpf_probe_read_user_str(mount->target, sizeof(mount->target), target);
	bpf_perf_event_output(ctx, &events, BPF_F_CURRENT_CPU, mount, sizeof(*mount));
	return 0;
}

SEC("ksyscall/umount")
int BPF_KSYSCALL(enter_umount, const char *target, int flags)
{
	union any_event *event = begin(EVENT_UMOUNT);
	struct umount_event *umount;

	if (!event)
		return 0;
	umount = &event->umount;
	umount->flags = flags;
	bpf_probe_read_user_str(umount->target, sizeof(umount->target), target);
	bpf_perf_event_output(ctx, &events, BPF_F_CURRENT_CPU, umount, sizeof(*umount));
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
