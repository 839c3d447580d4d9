// SPDX-License-Identifier: GPL-2.0 OR MIT
// Shows programs that are executed, in records that are just as long as the name, reserved as dynptr.
// expect: execs=struct exec_record
// options: max_name
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

struct exec_record {
	u32 pid;
	u32 len;
	char filename[];
};

const volatile u32 max_name = 127;

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 16);
} execs SEC(".maps");

SEC("tp/sched/sched_process_exec")
int on_exec(struct trace_event_raw_sched_process_exec *ctx)
{
	u32 location = ctx->__data_loc_filename;
	struct exec_record record = { .pid = ctx->pid };
	char name[128] = {};
	struct bpf_dynptr ptr;
	u32 len;

	len = location >> 16;
	if (len > max_name)
		len = max_name;
	len &= sizeof(name) - 1;
	record.len = len;
	bpf_probe_read_kernel_str(name, sizeof(name), (void *)ctx + (location & 0xffff));
	if (bpf_ringbuf_reserve_dynptr(&execs, sizeof(record) + len, 0, &ptr)) {
		bpf_ringbuf_discard_dynptr(&ptr, 0);
		return 0;
	}
	bpf_dynptr_write(&ptr, 0, &record, sizeof(record), 0);
	bpf_dynptr_write(&ptr, sizeof(record), name, len, 0);
	bpf_ringbuf_submit_dynptr(&ptr, 0);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
