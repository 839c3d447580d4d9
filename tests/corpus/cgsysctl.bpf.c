// SPDX-License-Identifier: GPL-2.0 OR MIT
// Reports reads and writes of sysctl files in a control group, and forbids writes of one prefix.
// expect: accesses=struct access
// options: forbidden
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#define NAME_SIZE 64
#define VALUE_SIZE 32

struct access {
	char name[NAME_SIZE];
	char value[VALUE_SIZE];
	__u8 write : 1;
	__u8 denied : 1;
	__u8 : 6;
	__u8 pad[3];
	__u32 pos;
};

const volatile char forbidden[16] = "kernel/";

struct {
	__uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
	__uint(key_size, sizeof(int));
	__uint(value_size, sizeof(int));
} accesses SEC(".maps");

static __always_inline int is_forbidden(const char *name)
{
	for (int i = 0; i < sizeof(forbidden); i++) {
		if (!forbidden[i])
			return i > 0;
		if (name[i] != forbidden[i])
			return 0;
	}
	return 1;
}

SEC("cgroup/sysctl")
int sysctl(struct bpf_sysctl *ctx)
{
	struct access access;

	__builtin_memset(&access, 0, sizeof(access));
	if (bpf_sysctl_get_name(ctx, access.name, sizeof(access.name), 0) < 0)
		return 1;
	bpf_sysctl_get_current_value(ctx, access.value, sizeof(access.value));
	access.write = !!ctx->write;
	access.pos = ctx->file_pos;
	access.denied = access.write && is_forbidden(access.name);
	bpf_perf_event_output(ctx, &accesses, BPF_F_CURRENT_CPU, &access, sizeof(access));
	return !access.denied;
}

char LICENSE[] SEC("license") = "GPL";
