// SPDX-License-Identifier: GPL-2.0 OR MIT
// Shows each program that is executed.
//
// Build it with `ecli-py build NAME.bpf.c`, run it with `sudo ecli-py run NAME.json`.
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

// What user space is shown, one column for each member. The struct is found by itself.
struct event {
	__u32 pid;
	__u32 uid;
	char comm[16];
	char filename[128];
};

// A global becomes an option of the package, its initialiser the default, its comment the help text.
// Only report this user; -1 for all.
const volatile int only_uid = -1;

// Events that found the ring buffer full; the name says for which map. Shown as "lost" at the end.
__u64 events_lost = 0;

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20); // bytes
} events SEC(".maps");

// Formats of tracepoints are in /sys/kernel/tracing/events/*/*/format, their C types in vmlinux.h.
SEC("tp/sched/sched_process_exec")
int on_exec(struct trace_event_raw_sched_process_exec *ctx)
{
	__u32 uid = bpf_get_current_uid_gid();
	struct event *event;

	if (only_uid >= 0 && uid != only_uid)
		return 0;
	event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
	if (!event) {
		__sync_fetch_and_add(&events_lost, 1);
		return 0;
	}
	event->pid = bpf_get_current_pid_tgid() >> 32;
	event->uid = uid;
	bpf_get_current_comm(event->comm, sizeof(event->comm));
	// A string of a tracepoint lies behind the record; the low half of __data_loc_… says how far.
	bpf_probe_read_str(event->filename, sizeof(event->filename), (void *)ctx + (ctx->__data_loc_filename & 0xffff));
	bpf_ringbuf_submit(event, 0);
	return 0;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
