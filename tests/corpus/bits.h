/* SPDX-License-Identifier: GPL-2.0 OR MIT */
#ifndef BITS_H
#define BITS_H

#ifndef __bpf__
#include <linux/types.h>
#endif

enum wide {
	WIDE_NONE = 0,
	WIDE_BIT_40 = 1ULL << 40,
	WIDE_BIT_63 = 1ULL << 63,
};

enum access { ACCESS_NONE = -1, ACCESS_READ, ACCESS_WRITE };

union address {
	__u32 v4;
	__u8 v6[16];
	struct {
		__u64 high;
		__u64 low;
	};
};

struct bits {
	__u64 time_ns : 48;
	__u64 cpu : 12;
	__u64 : 4;
	__u32 exiting : 1, kernel_thread : 1, nice : 6;
	__s32 signed_field : 5;
	enum access access : 8;
	enum wide wide;
	union address addresses[2];
	float ratio;
	const char *pointer;
	_Bool flag;
	__u16 matrix[2][3];
	struct {
		short x, y;
	} points[2];
} __attribute__((aligned(16)));

#endif /* BITS_H */
