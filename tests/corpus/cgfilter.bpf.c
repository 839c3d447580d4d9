// SPDX-License-Identifier: GPL-2.0 OR MIT
// Shows directory changes of one control group only; the event type is named by a pointer that nothing uses.
// expect: events=struct event
// options: filter_cg
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

struct event {
	__u8 comm[16];
	__u8 path[192];
	__u32 pid;
};

// Keeps the type in the object for tools that generate code from it.
const struct event *unused __attribute__((unused));

const volatile bool filter_cg = false;

struct {
	__uint(type, BPF_MAP_TYPE_CGROUP_ARRAY);
	__type(key, u32);
	__type(value, u32);
	__uint(max_entries, 1);
} cgroup_map SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_CGRP_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, u64);
} changes SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 24);
} events SEC(".maps");

SEC("tracepoint/syscalls/sys_enter_chdir")
int trace_chdir(struct trace_event_raw_sys_enter *ctx)
{
	struct event *task_info;

	if (filter_cg && !bpf_current_task_under_cgroup(&cgroup_map, 0))
		return 0;
	task_info = bpf_ringbuf_reserve(&events, sizeof(struct event), 0);
	if (!task_info)
		return 0;
	task_info->pid = bpf_get_current_pid_tgid() >> 32;
	bpf_get_current_comm(&task_info->comm, 16);
	if (bpf_probe_read_user_str(task_info->path, sizeof(task_info->path), (void *)ctx->args[0]) <= 0) {
		bpf_ringbuf_discard(task_info, 0);
		return 0;
	}
	bpf_ringbuf_submit(task_info, 0);
	return 0;
}

SEC("tp_btf/cgroup_attach_task")
int on_attach(u64 *ctx)
{
	struct cgroup *cgroup = (void *)ctx[0];
	u64 *count = bpf_cgrp_storage_get(&changes, cgroup, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);

	if (count)
		__sync_fetch_and_add(count, 1);
	return 0;
}

char __license[] SEC("license") = "Dual MIT/GPL";
