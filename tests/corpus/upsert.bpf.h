/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/* A value of a map, made from another one where there is none yet; and the power of two below a number. */
#ifndef UPSERT_BPF_H
#define UPSERT_BPF_H

#include <bpf/bpf_helpers.h>
#include <asm/errno.h>

static __always_inline void *upsert(void *map, const void *key, const void *fresh)
{
	void *value = bpf_map_lookup_elem(map, key);
	long error;

	if (value)
		return value;
	error = bpf_map_update_elem(map, key, fresh, BPF_NOEXIST);
	if (error && error != -EEXIST)
		return 0;
	return bpf_map_lookup_elem(map, key);
}

static __always_inline __u32 floor_log2(__u64 number)
{
	__u32 found = 0;

#pragma unroll
	for (int bits = 32; bits; bits /= 2) {
		if (number >> bits) {
			number >>= bits;
			found += bits;
		}
	}
	return found;
}

#endif
