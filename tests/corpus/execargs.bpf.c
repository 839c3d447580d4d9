// SPDX-License-Identifier: GPL-2.0 OR MIT
// Shows the arguments of programs that are executed: an event is as long as its arguments are.
// expect: events=struct event
// options: max_args targ_uid
#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include "execargs.h"

#define INVALID_UID ((uid_t)-1)

const volatile int max_args = TOTAL_MAX_ARGS;
const volatile uid_t targ_uid = INVALID_UID;

static const struct event empty_event = {};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, pid_t);
	__type(value, struct event);
} execs SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
	__uint(key_size, sizeof(u32));
	__uint(value_size, sizeof(u32));
} events SEC(".maps");

SEC("tracepoint/syscalls/sys_enter_execve")
int enter_execve(struct trace_event_raw_sys_enter *ctx)
{
	const char **args = (const char **)(ctx->args[1]);
	uid_t uid = (u32)bpf_get_current_uid_gid();
	u64 id = bpf_get_current_pid_tgid();
	pid_t pid = (pid_t)id;
	struct event *event;
	const char *argp;
	long ret;
	int i;

	if (targ_uid != INVALID_UID && targ_uid != uid)
		return 0;
	if (bpf_map_update_elem(&execs, &pid, &empty_event, BPF_NOEXIST))
		return 0;
	event = bpf_map_lookup_elem(&execs, &pid);
	if (!event)
		return 0;
	event->pid = id >> 32;
	event->uid = uid;
	event->args_count = 0;
	event->args_size = 0;
	for (i = 0; i < TOTAL_MAX_ARGS && i < max_args; i++) {
		ret = bpf_probe_read_user(&argp, sizeof(argp), &args[i]);
		if (ret < 0 || !argp || event->args_size > LAST_ARG)
			return 0;
		ret = bpf_probe_read_user_str(&event->args[event->args_size], ARGSIZE, argp);
		if (ret < 0 || ret > ARGSIZE)
			return 0;
		event->args_count++;
		event->args_size += ret;
	}
	return 0;
}

SEC("tracepoint/syscalls/sys_exit_execve")
int exit_execve(struct trace_event_raw_sys_exit *ctx)
{
	pid_t pid = (pid_t)bpf_get_current_pid_tgid();
	struct event *event;
	size_t len;

	event = bpf_map_lookup_elem(&execs, &pid);
	if (!event)
		return 0;
	if (ctx->ret >= 0) {
		bpf_get_current_comm(&event->comm, sizeof(event->comm));
		len = EVENT_SIZE(event);
		if (len <= sizeof(*event))
			bpf_perf_event_output(ctx, &events, BPF_F_CURRENT_CPU, event, len);
	}
	bpf_map_delete_elem(&execs, &pid);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
