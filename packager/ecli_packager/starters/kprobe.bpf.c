// SPDX-License-Identifier: GPL-2.0 OR MIT
// Shows each TCP connection that this machine begins.
//
// Build it with `ecli-py build NAME.bpf.c`, run it with `sudo ecli-py run NAME.json`.
#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

struct event {
	__u32 pid;
	__u16 family; // 2: IPv4, 10: IPv6
	__u16 port;
	__u8 address[16]; // IPv4 uses the first four bytes
	char comm[16];
};

// Only report this process; 0 for all.
const volatile __u32 only_pid = 0;

// Events that found the ring buffer full.
__u64 events_lost = 0;

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
} events SEC(".maps");

// A kprobe runs when a kernel function is entered; BPF_KPROBE gives it the arguments. Functions of the kernel come and go with its
// versions: prefer a tracepoint where there is one.
SEC("kprobe/tcp_connect")
int BPF_KPROBE(on_connect, struct sock *sock)
{
	__u32 pid = bpf_get_current_pid_tgid() >> 32;
	struct event *event;

	if (only_pid && pid != only_pid)
		return 0;
	event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
	if (!event) {
		__sync_fetch_and_add(&events_lost, 1);
		return 0;
	}
	__builtin_memset(event, 0, sizeof(*event));
	event->pid = pid;
	// BPF_CORE_READ finds members where the running kernel has them, whatever kernel vmlinux.h is of.
	event->family = BPF_CORE_READ(sock, __sk_common.skc_family);
	event->port = bpf_ntohs(BPF_CORE_READ(sock, __sk_common.skc_dport));
	if (event->family == 2)
		BPF_CORE_READ_INTO((__u32 *)event->address, sock, __sk_common.skc_daddr);
	else
		BPF_CORE_READ_INTO(&event->address, sock, __sk_common.skc_v6_daddr.in6_u.u6_addr8);
	bpf_get_current_comm(event->comm, sizeof(event->comm));
	bpf_ringbuf_submit(event, 0);
	return 0;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
