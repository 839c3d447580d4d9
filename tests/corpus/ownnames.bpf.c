// SPDX-License-Identifier: GPL-2.0 OR MIT
// Uses names for itself that the kernel has, too: a struct, enumerators, a typedef and a function; records are copied to a dynptr.
// expect: events=struct key
// options: mode
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

enum work_bits { WORK_STRUCT_PENDING_BIT = 40, PIDTYPE_PID, PIDTYPE_TGID };

struct key {
	__u64 at;
	__u32 kind;
	__u32 id;
};

struct same_size {
	__u32 count[4];
} total;

typedef struct key pte_t;

const volatile enum work_bits mode = PIDTYPE_TGID;

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 64 * 1024);
} events SEC(".maps");

static __noinline int bpf_task_acquire(int kind)
{
	return total.count[kind & 3]++;
}

SEC("tp/sched/sched_process_exec")
int on_exec(void *ctx)
{
	pte_t key = { .at = bpf_ktime_get_ns(), .kind = mode };
	struct bpf_dynptr record;
	__u64 ids = bpf_get_current_pid_tgid();

	key.id = mode == PIDTYPE_TGID ? ids >> 32 : ids;
	bpf_task_acquire(mode);
	bpf_ringbuf_reserve_dynptr(&events, sizeof(key), 0, &record);
	bpf_dynptr_write(&record, 0, &key, sizeof(key), 0);
	bpf_ringbuf_submit_dynptr(&record, 0);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
