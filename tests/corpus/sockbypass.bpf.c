// SPDX-License-Identifier: GPL-2.0 OR MIT
// Short-cuts TCP between local sockets: sockops keeps them in a sockhash, sk_msg sends past the network stack.
// expect: established=struct established
// options: local_only
#include "vmlinux.h"
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define AF_INET 2
#define LOCALHOST bpf_htonl(0x7f000001)

struct sock_key {
	__u32 sip4;
	__u32 dip4;
	__u32 sport;
	__u32 dport;
} __attribute__((packed));

struct established {
	struct sock_key key;
	__u32 op;
	__u32 srtt_us;
};

const volatile bool local_only = true;

struct {
	__uint(type, BPF_MAP_TYPE_SOCKHASH);
	__uint(max_entries, 65535);
	__type(key, struct sock_key);
	__type(value, int);
} sockets SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
	__uint(key_size, sizeof(int));
	__uint(value_size, sizeof(int));
} established SEC(".maps");

SEC("sockops")
int on_sockops(struct bpf_sock_ops *skops)
{
	struct established event = {};

	if (skops->family != AF_INET || (local_only && skops->local_ip4 != LOCALHOST))
		return 1;
	switch (skops->op) {
	case BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB:
	case BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB:
		event.key.sip4 = skops->local_ip4;
		event.key.dip4 = skops->remote_ip4;
		event.key.sport = bpf_htonl(skops->local_port);
		event.key.dport = skops->remote_port;
		event.op = skops->op;
		event.srtt_us = skops->srtt_us;
		bpf_sock_hash_update(skops, &sockets, &event.key, BPF_NOEXIST);
		bpf_perf_event_output(skops, &established, BPF_F_CURRENT_CPU, &event, sizeof(event));
		break;
	default:
		break;
	}
	return 1;
}

SEC("sk_msg")
int on_message(struct sk_msg_md *msg)
{
	struct sock_key key = {
		.sip4 = msg->remote_ip4,
		.dip4 = msg->local_ip4,
		.sport = msg->remote_port,
		.dport = bpf_htonl(msg->local_port),
	};

	if (msg->family == AF_INET)
		bpf_msg_redirect_hash(msg, &sockets, &key, BPF_F_INGRESS);
	return SK_PASS;
}

char ____license[] SEC("license") = "GPL";
