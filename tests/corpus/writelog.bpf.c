// SPDX-License-Identifier: GPL-2.0 OR MIT
// What processes write to a descriptor: a head with room for the data behind it, reserved in one piece; or the head alone.
// expect: writes=struct write_event, closes=struct close_event
// options: only_fd
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

#define DATA_SIZE 256

struct write_event {
	__u32 pid;
	__u32 len;
	char comm[16];
	unsigned char data[];
};

struct close_event {
	__u32 pid;
	__s32 fd;
	__u8 named;
	char comm[16];
};

const volatile int only_fd = 1;

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 18);
} writes SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
	__uint(key_size, sizeof(int));
	__uint(value_size, sizeof(int));
} closes SEC(".maps");

SEC("tp/syscalls/sys_enter_write")
int on_write(struct trace_event_raw_sys_enter *ctx)
{
	struct write_event *event;
	__u32 len = ctx->args[2];

	if (ctx->args[0] != only_fd)
		return 0;
	event = bpf_ringbuf_reserve(&writes, sizeof(*event) + DATA_SIZE, 0);
	if (!event)
		return 0;
	event->pid = bpf_get_current_pid_tgid() >> 32;
	event->len = len;
	bpf_get_current_comm(event->comm, sizeof(event->comm));
	if (len > DATA_SIZE)
		len = DATA_SIZE;
	bpf_probe_read_user(event->data, len, (void *)ctx->args[1]);
	bpf_ringbuf_submit(event, 0);
	return 0;
}

SEC("tp/syscalls/sys_enter_close")
int on_close(struct trace_event_raw_sys_enter *ctx)
{
	struct close_event event = { .pid = bpf_get_current_pid_tgid() >> 32, .fd = ctx->args[0] };
	__u64 size = __builtin_offsetof(struct close_event, comm);

	if (event.fd == only_fd) {
		event.named = 1;
		bpf_get_current_comm(event.comm, sizeof(event.comm));
		size = sizeof(event);
	}
	bpf_perf_event_output(ctx, &closes, BPF_F_CURRENT_CPU, &event, size);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
