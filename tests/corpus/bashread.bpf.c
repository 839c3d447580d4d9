// SPDX-License-Identifier: GPL-2.0 OR MIT
// Shows the lines that are typed into bash, and counts allocations of libc, by uprobe and uretprobe.
// expect: events=struct str_t
// options: malloc_bytes
#include <linux/ptrace.h>
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

struct str_t {
	__u32 pid;
	char comm[16];
	char str[80];
};

__u64 malloc_bytes; // what was asked of malloc so far

struct {
	__uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(__u32));
} events SEC(".maps");

SEC("uretprobe//bin/bash:readline")
int BPF_URETPROBE(print_line, const void *ret)
{
	struct str_t data = {};

	if (!ret)
		return 0;
	bpf_get_current_comm(&data.comm, sizeof(data.comm));
	data.pid = bpf_get_current_pid_tgid() >> 32;
	bpf_probe_read_user_str(data.str, sizeof(data.str), ret);
	bpf_perf_event_output(ctx, &events, BPF_F_CURRENT_CPU, &data, sizeof(data));
	return 0;
}

SEC("uprobe/libc.so.6:malloc")
int BPF_UPROBE(count_malloc, unsigned long size)
{
	__sync_fetch_and_add(&malloc_bytes, size);
	return 0;
}

// Attached by whoever runs it, to a function of their choice.
SEC("uprobe")
int BPF_UPROBE(anything)
{
	bpf_printk("called by %d", (__u32)bpf_get_current_pid_tgid());
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
