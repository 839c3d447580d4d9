"""What ``benchmarks/bpf/live.bpf.c`` shows, with bcc; Debian's Python runs it.

Usage: live_bcc.py RING_PAGES OFFSET_OF_REAL_PARENT OFFSET_OF_TGID

The offsets in ``struct task_struct`` come from the kernel's BTF, so that headers of a kernel that is not quite this one do.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import Any

from bcc import BPF  # type: ignore[import-not-found,unused-ignore]

PROGRAM = r"""
enum kind { READ, WRITE };

struct event {
	u64 ts;
	u32 pid, ppid;
	char comm[16];
	s32 ret;
	enum kind kind;
	u8 flag;
	char path[32];
};

BPF_RINGBUF_OUTPUT(events, RING_PAGES);

TRACEPOINT_PROBE(syscalls, sys_enter_faccessat)
{
	void *task = (void *)bpf_get_current_task(), *parent = NULL;
	u32 mode = args->mode;
	struct event *event;

	if (mode >> 16 != 0x6563)
		return 0;
	event = events.ringbuf_reserve(sizeof(*event));
	if (!event)
		return 0;
	event->ts = bpf_ktime_get_ns();
	event->pid = bpf_get_current_pid_tgid() >> 32;
	bpf_probe_read_kernel(&parent, sizeof(parent), task + REAL_PARENT);
	bpf_probe_read_kernel(&event->ppid, sizeof(event->ppid), parent + TGID);
	bpf_get_current_comm(event->comm, sizeof(event->comm));
	event->kind = mode & 1;
	event->flag = mode >> 8;
	event->ret = -(s32)event->flag;
	bpf_probe_read_user_str(event->path, sizeof(event->path), (void *)args->filename);
	events.ringbuf_submit(event, 0);
	return 0;
}
"""
KINDS = ("READ", "WRITE")


def main() -> None:
    names = ("RING_PAGES", "REAL_PARENT", "TGID")
    flags = [f"-D{name}={int(value)}" for name, value in zip(names, sys.argv[1:], strict=True)]
    bpf = BPF(text=PROGRAM, cflags=flags)
    events = bpf["events"]

    def show(_context: Any, data: Any, _size: int) -> None:
        event = events.event(data)
        comm, path = event.comm.decode("utf-8", "replace"), event.path.decode("utf-8", "replace")
        print(
            f'{{"ts":{event.ts},"pid":{event.pid},"ppid":{event.ppid},"comm":"{comm}","ret":{event.ret},'
            f'"kind":"{KINDS[event.kind]}","flag":{event.flag},"path":"{path}"}}'
        )

    events.open_ring_buffer(show)
    with suppress(KeyboardInterrupt):
        while True:
            bpf.ring_buffer_poll()
            sys.stdout.flush()


if __name__ == "__main__":
    main()
