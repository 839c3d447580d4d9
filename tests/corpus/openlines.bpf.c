// SPDX-License-Identifier: GPL-2.0 OR MIT
// Names of files that are opened, as bare text, and how long each took, as a bare number; headers of C beside vmlinux.h.
// expect: lines=char[256], delays=uint64_t
// options:
#include "vmlinux.h"
#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <stdbool.h>
#include <bpf/bpf_helpers.h>

#define LINE_SIZE 256

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 64 * 1024);
} lines SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
	__uint(key_size, sizeof(uint32_t));
	__uint(value_size, sizeof(uint32_t));
} delays SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, uint64_t);
	__type(value, uint64_t);
} begun SEC(".maps");

static __always_inline int show(const char *name)
{
	char *line = bpf_ringbuf_reserve(&lines, LINE_SIZE, 0);

	if (line == NULL)
		return -ENOMEM;
	if (bpf_probe_read_user_str(line, LINE_SIZE, name) < 0)
		line[0] = '\0';
	bpf_ringbuf_submit(line, 0);
	return 0;
}

SEC("tp/syscalls/sys_enter_openat")
int on_open(struct trace_event_raw_sys_enter *ctx)
{
	uint64_t id = bpf_get_current_pid_tgid(), now = bpf_ktime_get_ns();
	bool shown = show((const char *)ctx->args[1]) == 0;

	if (shown)
		bpf_map_update_elem(&begun, &id, &now, BPF_ANY);
	return 0;
}

SEC("tp/syscalls/sys_exit_openat")
int on_opened(struct trace_event_raw_sys_exit *ctx)
{
	uint64_t id = bpf_get_current_pid_tgid(), *since = bpf_map_lookup_elem(&begun, &id), delay_ns;

	if (since == NULL)
		return 0;
	delay_ns = bpf_ktime_get_ns() - *since;
	bpf_map_delete_elem(&begun, &id);
	bpf_perf_event_output(ctx, &delays, BPF_F_CURRENT_CPU, &delay_ns, sizeof(delay_ns));
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
