// SPDX-License-Identifier: GPL-2.0 OR MIT
// Sends as much of a record as is filled: through a ring buffer, or from a per-CPU buffer without a type, whichever there is.
// expect: events=struct exec_path
// options: with_path
#include "vmlinux.h"
#include "compat.bpf.h"

#define PATH_BYTES 256

struct exec_path {
	__u64 at;
	__u32 pid;
	__u32 path_bytes;
	char path[PATH_BYTES];
};

const volatile bool with_path = true;

SEC("tp/sched/sched_process_exec")
int on_exec(struct trace_event_raw_sched_process_exec *ctx)
{
	const char *path = (const char *)ctx + (ctx->__data_loc_filename & 0xffff);
	struct exec_path *record = reserve_buf(sizeof(*record));
	long bytes = 0;

	if (!record)
		return 0;
	record->at = bpf_ktime_get_ns();
	record->pid = bpf_get_current_pid_tgid() >> 32;
	if (with_path)
		bytes = bpf_probe_read_kernel_str(record->path, PATH_BYTES, path);
	if (bytes < 0 || bytes > PATH_BYTES)
		bytes = 0;
	record->path_bytes = bytes;
	submit_buf(ctx, record, offsetof(struct exec_path, path) + bytes);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
