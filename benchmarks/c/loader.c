// SPDX-License-Identifier: MIT
// The least that shows the events of execsnoop: a plain libbpf program in C, which ecli-py is measured against.
//
// loader FILE: opens the ELF object FILE, loads it, attaches all its programs, polls its ring buffer `events` and prints each
// event as a JSON line, with the members that `ecli-py run --json` prints.
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <bpf/libbpf.h>

static const char *const KINDS[] = {"EXEC", "EXIT"};

// As in samples/execsnoop/execsnoop.bpf.c.
struct event {
	unsigned long long duration_ns;
	unsigned int pid, ppid, uid, kind;
	int exit_code;
	char comm[16];
	char filename[128];
};

static int print_event(void *context, void *data, size_t size)
{
	const struct event *event = data;

	(void)context;
	if (size < sizeof(*event) || event->kind > 1)
		return 0;
	printf("{\"duration_ns\":%llu,\"pid\":%u,\"ppid\":%u,\"uid\":%u,\"kind\":\"%s\",\"exit_code\":%d,\"comm\":\"%s\","
	       "\"filename\":\"%s\"}\n",
	       event->duration_ns, event->pid, event->ppid, event->uid, KINDS[event->kind], event->exit_code, event->comm,
	       event->filename);
	return 0;
}

static int fail(const char *what)
{
	fprintf(stderr, "error: %s: %s\n", what, strerror(errno));
	return 1;
}

int main(int argc, char **argv)
{
	struct bpf_program *program;
	struct bpf_object *object;
	struct ring_buffer *ring;

	if (argc != 2)
		return 2;
	object = bpf_object__open_file(argv[1], NULL);
	if (!object)
		return fail("open");
	if (bpf_object__load(object))
		return fail("load");
	bpf_object__for_each_program(program, object)
		if (!bpf_program__attach(program))
			return fail("attach");
	ring = ring_buffer__new(bpf_object__find_map_fd_by_name(object, "events"), print_event, NULL, NULL);
	if (!ring)
		return fail("ring buffer");
	while (ring_buffer__poll(ring, -1) >= 0)
		fflush(stdout);
	return fail("poll");
}
