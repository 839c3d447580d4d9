// SPDX-License-Identifier: GPL-2.0 OR MIT
// Globals in every kind of section, and values of the kernel's configuration; its event counts them together.
// expect: settings=struct settings
// options: plain ratio label quota hot_limit hits calls level
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

enum level { QUIET, NORMAL = 5, LOUD = 10 };

struct settings {
	u64 sum;
	u32 hz;
	u32 version;
	bool preempt;
	char label[12];
};

extern int LINUX_KERNEL_VERSION __kconfig;
extern unsigned long CONFIG_HZ __kconfig;
extern bool CONFIG_PREEMPT __kconfig __weak;
extern char CONFIG_LOCALVERSION[64] __kconfig __weak;

const volatile s16 plain = -7;
const volatile char label[12] = "none";
const volatile u64 quota SEC(".rodata.limits") = 1ULL << 40;
u32 hot_limit SEC(".data.hot") = 3;
u64 hits SEC(".bss.hot");
int ratio = 50;
u64 calls;
enum level level = NORMAL;

// None of these is for users.
static volatile u32 internal;
const u32 folded = 42; // the compiler knows it
const char format[] = "%d calls";
const volatile struct {
	u32 a, b;
} pair = { 1, 2 };
const volatile u32 table[4] = { 1, 2, 3, 4 };

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} settings SEC(".maps");

SEC("tp/syscalls/sys_enter_getpgid")
int on_call(void *ctx)
{
	struct settings *s;

	calls++;
	if (calls % (hot_limit ?: 1))
		return 0;
	hits++;
	internal++;
	bpf_trace_printk(format, sizeof(format), internal);
	s = bpf_ringbuf_reserve(&settings, sizeof(*s), 0);
	if (!s)
		return 0;
	s->sum = plain + quota + ratio + level + pair.a + pair.b + folded + table[calls & 3] + CONFIG_LOCALVERSION[0];
	s->hz = CONFIG_HZ;
	s->version = LINUX_KERNEL_VERSION;
	s->preempt = CONFIG_PREEMPT;
	for (int i = 0; i < sizeof(s->label); i++)
		s->label[i] = label[i];
	bpf_ringbuf_submit(s, 0);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
