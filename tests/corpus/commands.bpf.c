// SPDX-License-Identifier: GPL-2.0 OR MIT
// Takes commands from user space through a user ring buffer, and answers each through a ring buffer.
// expect: answers=struct answer
// options: handled
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

struct command {
	u32 code;
	u32 argument;
};

struct answer {
	u32 code;
	int error;
	u64 result;
};

struct session {
	u32 pid;
	u32 count;
};

struct {
	__uint(type, BPF_MAP_TYPE_USER_RINGBUF);
	__uint(max_entries, 4096);
} commands SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} answers SEC(".maps");

u64 handled;

static long handle(struct bpf_dynptr *dynptr, void *context)
{
	struct session *state = context;
	struct command command;
	struct answer *answer;

	if (bpf_dynptr_read(&command, sizeof(command), dynptr, 0, 0))
		return 1;
	answer = bpf_ringbuf_reserve(&answers, sizeof(*answer), 0);
	if (!answer)
		return 1;
	answer->code = command.code;
	answer->error = 0;
	switch (command.code) {
	case 0:
		answer->result = state->pid;
		break;
	case 1:
		answer->result = command.argument * 2ULL;
		break;
	default:
		answer->error = -1;
		answer->result = 0;
	}
	state->count++;
	bpf_ringbuf_submit(answer, 0);
	return 0;
}

SEC("tp/syscalls/sys_enter_getpgid")
int drain(void *ctx)
{
	struct session session = { .pid = bpf_get_current_pid_tgid() >> 32 };

	bpf_user_ringbuf_drain(&commands, handle, &session, 0);
	handled += session.count;
	return 0;
}

char _license[] SEC("license") = "GPL";
