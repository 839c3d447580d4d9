// SPDX-License-Identifier: GPL-2.0 OR MIT
// Marks the sockets of a control group, and refuses raw ones with EPERM.
// expect:
// options: mark allow_raw
// results: refused released
#include <linux/bpf.h>
#include <asm/errno.h>
#include <bpf/bpf_helpers.h>

#define SOCK_RAW 3

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, __u64);
} born SEC(".maps");

const volatile __u32 mark = 0;
const volatile _Bool allow_raw = 0;
static volatile const char hello[] = "cgsocket";
__u64 refused = 0;
__u64 released = 0;

SEC("cgroup/sock_create")
int sock_create(struct bpf_sock *sk)
{
	__u64 *since;

	if (sk->type == SOCK_RAW && !allow_raw) {
		__sync_fetch_and_add(&refused, 1);
		bpf_set_retval(-EPERM);
		return 0;
	}
	if (mark)
		sk->mark = mark;
	since = bpf_sk_storage_get(&born, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (since)
		*since = hello[0] ? bpf_ktime_get_ns() : 0;
	return 1;
}

SEC("cgroup/sock_release")
int sock_release(struct bpf_sock *sk)
{
	__sync_fetch_and_add(&released, 1);
	return 1;
}

char LICENSE[] SEC("license") = "GPL";
