// SPDX-License-Identifier: GPL-2.0 OR MIT
// What a control group may do with devices and socket options; an event for each refusal, through a helper that takes any map.
// expect: device_refusals=struct device_refusal, option_refusals=struct option_refusal
// options: refuse_all
#include <stdbool.h>
#include <stdint.h>
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

typedef struct device_refusal {
	uint64_t cgroup;
	uint32_t major, minor;
	uint32_t access;
} device_refusal_t;

struct option_refusal {
	uint64_t cgroup;
	int32_t level;
	int32_t optname;
};

const volatile bool refuse_all = false;

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} device_refusals SEC(".maps"), option_refusals SEC(".maps");

static __always_inline void send(void *map, const void *data, uint64_t size)
{
	void *space = bpf_ringbuf_reserve(map, size, 0);

	if (!space)
		return;
	__builtin_memcpy(space, data, size);
	bpf_ringbuf_submit(space, 0);
}

SEC("cgroup/dev")
int on_device(struct bpf_cgroup_dev_ctx *ctx)
{
	device_refusal_t refusal = {
		.cgroup = bpf_get_current_cgroup_id(),
		.major = ctx->major,
		.minor = ctx->minor,
		.access = ctx->access_type >> 16,
	};

	if (!refuse_all)
		return 1;
	send(&device_refusals, &refusal, sizeof(refusal));
	return 0;
}

SEC("cgroup/setsockopt")
int on_setsockopt(struct bpf_sockopt *ctx)
{
	struct option_refusal refusal = {
		.cgroup = bpf_get_current_cgroup_id(),
		.level = ctx->level,
		.optname = ctx->optname,
	};

	if (!refuse_all) {
		ctx->optlen = -1;
		return 1;
	}
	send(&option_refusals, &refusal, sizeof(refusal));
	return 0;
}

SEC("cgroup/getsockopt")
int on_getsockopt(struct bpf_sockopt *ctx)
{
	ctx->optlen = 0;
	return 1;
}

char LICENSE[] SEC("license") = "GPL";
