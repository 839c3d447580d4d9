// SPDX-License-Identifier: GPL-2.0 OR MIT
// Logs file operations in a compact form: a typed head, then arguments one after the other, as many bytes as were used.
// expect: file_events=struct data
// options: max_path
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

#define BUFFER_SIZE 4096

struct data {
	u64 time_ns;
	u32 pid;
	u16 call;
	u16 used;
	u8 bytes[BUFFER_SIZE];
};

struct simple_buf {
	u8 buf[sizeof(struct data)];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 2);
	__type(key, u32);
	__type(value, struct simple_buf);
} bufs SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
	__uint(max_entries, 1024);
	__type(key, int);
	__type(value, u32);
} file_events SEC(".maps");

const volatile u32 max_path = 256;

static __always_inline struct data *get_buf(int index)
{
	struct simple_buf *room = bpf_map_lookup_elem(&bufs, &index);

	return (struct data *)room;
}

static __always_inline void save_string(struct data *data, const char *text)
{
	u32 at = data->used & (BUFFER_SIZE / 2 - 1), size = max_path & 1023;
	long len = bpf_probe_read_user_str(&data->bytes[at + 2], size, text);

	if (len < 0)
		len = 0;
	*(u16 *)&data->bytes[at] = len;
	data->used = at + 2 + len;
}

static __always_inline int events_submit(void *ctx, struct data *data)
{
	int size = (sizeof(*data) - BUFFER_SIZE + data->used) & (BUFFER_SIZE - 1);

	return bpf_perf_event_output(ctx, &file_events, BPF_F_CURRENT_CPU, data, size);
}

static __always_inline int log_paths(struct trace_event_raw_sys_enter *ctx, const char *one, const char *two)
{
	struct data *data = get_buf(0);

	if (!data)
		return 0;
	data->time_ns = bpf_ktime_get_ns();
	data->pid = bpf_get_current_pid_tgid() >> 32;
	data->call = ctx->id;
	data->used = 0;
	save_string(data, one);
	if (two)
		save_string(data, two);
	events_submit(ctx, data);
	return 0;
}

SEC("tp/syscalls/sys_enter_rename")
int on_rename(struct trace_event_raw_sys_enter *ctx)
{
	return log_paths(ctx, (const char *)ctx->args[0], (const char *)ctx->args[1]);
}

SEC("tp/syscalls/sys_enter_mkdir")
int on_mkdir(struct trace_event_raw_sys_enter *ctx)
{
	return log_paths(ctx, (const char *)ctx->args[0], NULL);
}

char LICENSE[] SEC("license") = "GPL";
