// SPDX-License-Identifier: GPL-2.0 OR MIT
// Counts calls of the functions of the file system, by kprobe.multi where there is one; programs that nobody asked for stay out.
// expect: slow=struct slow_call
// options: threshold_ns
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

struct slow_call {
	u64 ip;
	u64 duration_ns;
	u32 tid;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 4096);
	__type(key, u64);
	__type(value, u64);
} calls SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, u64);
	__type(value, u64);
} since SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 16);
} slow SEC(".maps");

const volatile u64 threshold_ns = 1000000;

static int count(u64 ip)
{
	u64 id = bpf_get_current_pid_tgid(), now = bpf_ktime_get_ns(), one = 1, *calls_so_far;

	calls_so_far = bpf_map_lookup_elem(&calls, &ip);
	if (calls_so_far)
		*calls_so_far += 1;
	else
		bpf_map_update_elem(&calls, &ip, &one, BPF_ANY);
	bpf_map_update_elem(&since, &id, &now, BPF_ANY);
	return 0;
}

SEC("kprobe.multi/vfs_*")
int BPF_KPROBE(enter)
{
	return count(bpf_get_func_ip(ctx));
}

SEC("kretprobe.multi/vfs_*")
int BPF_KRETPROBE(leave)
{
	u64 id = bpf_get_current_pid_tgid(), *begin = bpf_map_lookup_elem(&since, &id), duration;
	struct slow_call *call;

	if (!begin)
		return 0;
	duration = bpf_ktime_get_ns() - *begin;
	bpf_map_delete_elem(&since, &id);
	if (duration < threshold_ns)
		return 0;
	call = bpf_ringbuf_reserve(&slow, sizeof(*call), 0);
	if (!call)
		return 0;
	call->ip = bpf_get_func_ip(ctx);
	call->duration_ns = duration;
	call->tid = id;
	bpf_ringbuf_submit(call, 0);
	return 0;
}

// Not loaded unless somebody says so.
SEC("?kprobe/vfs_fsync")
int BPF_KPROBE(enter_fsync, struct file *file)
{
	return count(PT_REGS_IP(ctx));
}

char LICENSE[] SEC("license") = "GPL";
