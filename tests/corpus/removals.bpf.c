// SPDX-License-Identifier: GPL-2.0 OR MIT
// Shows each file that is removed, by whichever means the kernel has: fentry and fexit, else kprobes, else tracepoints.
// expect: events=struct removal
// options: only_pid
#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#define MAX_PATH_LENGTH 128

enum seen_by { FENTRY, KPROBE, TRACEPOINT };

struct removal {
	u32 pid;
	int ret; // @meaning errno
	enum seen_by seen_by;
	char path[MAX_PATH_LENGTH];
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 16);
} events SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, u32);
	__type(value, struct removal);
} begun SEC(".maps");

const volatile u32 only_pid = 0; // Report this process alone.
static const struct removal nothing;

static __always_inline struct removal *begin(enum seen_by seen_by)
{
	u64 id = bpf_get_current_pid_tgid();
	u32 tid = id;
	struct removal *removal;

	if (only_pid && id >> 32 != only_pid)
		return 0;
	bpf_map_update_elem(&begun, &tid, &nothing, BPF_ANY);
	removal = bpf_map_lookup_elem(&begun, &tid);
	if (removal) {
		removal->pid = id >> 32;
		removal->seen_by = seen_by;
	}
	return removal;
}

static __always_inline int end(int ret)
{
	u32 tid = bpf_get_current_pid_tgid();
	struct removal *removal = bpf_map_lookup_elem(&begun, &tid);

	if (removal) {
		removal->ret = ret;
		bpf_ringbuf_output(&events, removal, sizeof(*removal), 0);
		bpf_map_delete_elem(&begun, &tid);
	}
	return 0;
}

// @alternative removal fentry
// @target filename_unlinkat
SEC("?fentry/do_unlinkat") int BPF_PROG(by_fentry, int dfd, struct filename *name)
{
	struct removal *removal = begin(FENTRY);

	if (removal)
		bpf_probe_read_kernel_str(removal->path, sizeof(removal->path), name->name);
	return 0;
}

// @alternative removal fentry
// @target filename_unlinkat
SEC("?fexit/do_unlinkat") int BPF_PROG(by_fexit, int dfd, struct filename *name, int ret)
{
	return end(ret);
}

// @alternative removal kprobe
// @target filename_unlinkat
SEC("?kprobe/do_unlinkat") int BPF_KPROBE(by_kprobe, int dfd, struct filename *name)
{
	struct removal *removal = begin(KPROBE);

	if (removal)
		bpf_probe_read_kernel_str(removal->path, sizeof(removal->path), BPF_CORE_READ(name, name));
	return 0;
}

// @alternative removal kprobe
// @target filename_unlinkat
SEC("?kretprobe/do_unlinkat") int BPF_KRETPROBE(by_kretprobe, int ret)
{
	return end(ret);
}

// @alternative removal tracepoint
SEC("tp/syscalls/sys_enter_unlinkat") int on_enter(struct trace_event_raw_sys_enter *ctx)
{
	struct removal *removal = begin(TRACEPOINT);

	if (removal)
		bpf_probe_read_user_str(removal->path, sizeof(removal->path), (void *)ctx->args[1]);
	return 0;
}

// @alternative removal tracepoint
SEC("tp/syscalls/sys_exit_unlinkat") int on_exit(struct trace_event_raw_sys_exit *ctx)
{
	return end(ctx->ret);
}

char LICENSE[] SEC("license") = "GPL";
