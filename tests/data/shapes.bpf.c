// SPDX-License-Identifier: MIT
// Events of every shape that C has, for headers of event handlers.
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

enum colour { RED = 1, GREEN = -5 };
enum big : unsigned long long { HUGE_ONE = 0xffffffffffffffffULL };

struct point {
	short x;
	long y;
};

struct __attribute__((packed)) tight {
	char tag;
	__u64 number;
};

typedef struct {
	__u8 first;
	int second;
} nameless;

struct shapes {
	char letter;
	long word;
	void *pointer;
	struct point points[2][3];
	struct tight tight;
	nameless of_typedef;
	enum colour colour;
	enum big big;
	_Bool yes;
	__u32 three : 3, : 5, nine : 9;
	__u64 forty : 40;
	union {
		__u32 number;
		char text[6];
		struct {
			__u16 low, high;
		};
	} either;
	struct {
		char a;
		__u64 b;
	} inner[2];
	__s16 last;
	unsigned __int128 wide;
	char tail[];
};

struct second {
	__u64 auto_;
	char text[3];
};

struct value {
	__u32 count;
	__u8 flag;
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 16);
} events SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 16);
} numbers SEC(".maps");

// @sample {"interval": 100, "type": "default_kv"}
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 16);
	__type(key, char[5]);
	__type(value, struct value);
} counts SEC(".maps");

SEC("tp/sched/sched_process_exec")
int on_exec(void *ctx)
{
	struct shapes *shapes = bpf_ringbuf_reserve(&events, sizeof(*shapes), 0);
	struct second *second;
	__u64 number = 7;
	struct value *value;
	char key[5] = "four";

	if (shapes) {
		__builtin_memset(shapes, 0, sizeof(*shapes));
		shapes->letter = 'l';
		shapes->word = -2;
		shapes->points[1][2].y = 12;
		shapes->tight.number = 77;
		shapes->of_typedef.second = 3;
		shapes->colour = GREEN;
		shapes->big = HUGE_ONE;
		shapes->yes = 1;
		shapes->three = 5;
		shapes->nine = 300;
		shapes->forty = 1ULL << 39;
		shapes->either.high = 9;
		shapes->inner[1].b = 11;
		shapes->last = -1;
		shapes->wide = (unsigned __int128)1 << 100;
		bpf_ringbuf_submit(shapes, 0);
	}
	second = bpf_ringbuf_reserve(&events, sizeof(*second), 0);
	if (second) {
		second->auto_ = 1;
		__builtin_memcpy(second->text, "abc", 3);
		bpf_ringbuf_submit(second, 0);
	}
	bpf_ringbuf_output(&numbers, &number, sizeof(number), 0);
	value = bpf_map_lookup_elem(&counts, key);
	if (value) {
		value->count++;
	} else {
		struct value one = {.count = 1};

		bpf_map_update_elem(&counts, key, &one, BPF_ANY);
	}
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
