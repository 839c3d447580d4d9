// SPDX-License-Identifier: GPL-2.0 OR MIT
// Shows each file that is opened, or failed to open, through open(2) and openat(2).
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

struct event {
	__u32 pid;
	__u32 uid;
	int fd; // -1: it failed
	int error; // errno of the failure, else 0
	__u32 flags;
	char comm[16];
	char path[256];
};

// Only report this process.
const volatile __u32 only_pid = 0;

// Only report calls that failed.
const volatile bool failed_only = false;

struct call {
	const char *path;
	__u32 flags;
};

// What the calls under way were given, by thread.
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 10240);
	__type(key, __u32);
	__type(value, struct call);
} calls SEC(".maps");

// An event is too large for the stack of a program.
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct event);
} scratch SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
	__uint(key_size, sizeof(int));
	__uint(value_size, sizeof(int));
} events SEC(".maps");

static int enter(const char *path, __u32 flags)
{
	__u64 id = bpf_get_current_pid_tgid();
	struct call call = { .path = path, .flags = flags };
	__u32 thread = id;

	if (only_pid && id >> 32 != only_pid)
		return 0;
	bpf_map_update_elem(&calls, &thread, &call, BPF_ANY);
	return 0;
}

static int leave(struct trace_event_raw_sys_exit *ctx)
{
	__u64 id = bpf_get_current_pid_tgid();
	__u32 thread = id, zero = 0;
	struct call *call;
	struct event *event;

	call = bpf_map_lookup_elem(&calls, &thread);
	if (!call)
		return 0;
	event = bpf_map_lookup_elem(&scratch, &zero);
	if (!event || (failed_only && ctx->ret >= 0))
		goto out;
	event->pid = id >> 32;
	event->uid = bpf_get_current_uid_gid();
	event->fd = ctx->ret < 0 ? -1 : ctx->ret;
	event->error = ctx->ret < 0 ? -ctx->ret : 0;
	event->flags = call->flags;
	bpf_get_current_comm(event->comm, sizeof(event->comm));
	if (bpf_probe_read_user_str(event->path, sizeof(event->path), call->path) < 0)
		event->path[0] = 0;
	bpf_perf_event_output(ctx, &events, BPF_F_CURRENT_CPU, event, sizeof(*event));
out:
	bpf_map_delete_elem(&calls, &thread);
	return 0;
}

// Newer architectures, as arm64 and RISC-V, have openat(2) alone.
#if !defined(__TARGET_ARCH_arm64) && !defined(__TARGET_ARCH_riscv)
SEC("tp/syscalls/sys_enter_open")
int enter_open(struct trace_event_raw_sys_enter *ctx)
{
	return enter((const char *)ctx->args[0], ctx->args[1]);
}

SEC("tp/syscalls/sys_exit_open")
int leave_open(struct trace_event_raw_sys_exit *ctx)
{
	return leave(ctx);
}
#endif

SEC("tp/syscalls/sys_enter_openat")
int enter_openat(struct trace_event_raw_sys_enter *ctx)
{
	return enter((const char *)ctx->args[1], ctx->args[2]);
}

SEC("tp/syscalls/sys_exit_openat")
int leave_openat(struct trace_event_raw_sys_exit *ctx)
{
	return leave(ctx);
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
