// SPDX-License-Identifier: MIT
// Shows the events of benchmarks/bpf/live.bpf.c as a plain libbpf program in C does: a callback that prints each.
//
// live OBJECT json|text PAUSE_US: PAUSE_US is slept after each look at the ring buffer; 0 is the usual loop.
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <bpf/libbpf.h>

static const char *const KINDS[] = {"READ", "WRITE"};

struct event {
	unsigned long long ts;
	unsigned int pid, ppid;
	char comm[16];
	int ret;
	unsigned int kind;
	unsigned char flag;
	char path[32];
};

static volatile sig_atomic_t stopping;

static void stop(int number)
{
	(void)number;
	stopping = 1;
}

static int print_json(void *context, void *data, size_t size)
{
	const struct event *event = data;

	(void)context;
	if (size < sizeof(*event) || event->kind > 1)
		return 0;
	printf("{\"ts\":%llu,\"pid\":%u,\"ppid\":%u,\"comm\":\"%s\",\"ret\":%d,\"kind\":\"%s\",\"flag\":%u,\"path\":\"%s\"}\n",
	       event->ts, event->pid, event->ppid, event->comm, event->ret, KINDS[event->kind], event->flag, event->path);
	return 0;
}

static int print_text(void *context, void *data, size_t size)
{
	const struct event *event = data;
	time_t now = time(NULL);
	struct tm local;
	char clock[9];

	(void)context;
	if (size < sizeof(*event) || event->kind > 1)
		return 0;
	// Not localtime(), which looks at /etc/localtime each time.
	strftime(clock, sizeof(clock), "%H:%M:%S", localtime_r(&now, &local));
	printf("%s  %12llu  %7u  %7u  %-15s  %7d  %-5s  %4u  %s\n", clock, event->ts, event->pid, event->ppid, event->comm,
	       event->ret, KINDS[event->kind], event->flag, event->path);
	return 0;
}

static int fail(const char *what)
{
	fprintf(stderr, "error: %s: %s\n", what, strerror(errno));
	return 1;
}

int main(int argc, char **argv)
{
	struct sigaction on_stop = {.sa_handler = stop};
	struct bpf_program *program;
	struct bpf_object *object;
	struct ring_buffer *ring;
	useconds_t pause_us;

	if (argc != 4)
		return 2;
	pause_us = atoi(argv[3]);
	sigaction(SIGINT, &on_stop, NULL);
	object = bpf_object__open_file(argv[1], NULL);
	if (!object)
		return fail("open");
	if (bpf_object__load(object))
		return fail("load");
	bpf_object__for_each_program(program, object)
		if (!bpf_program__attach(program))
			return fail("attach");
	ring = ring_buffer__new(bpf_object__find_map_fd_by_name(object, "events"),
				strcmp(argv[2], "text") ? print_json : print_text, NULL, NULL);
	if (!ring)
		return fail("ring buffer");
	while (!stopping) {
		int count = ring_buffer__poll(ring, 100);

		if (count < 0 && count != -EINTR)
			return fail("poll");
		fflush(stdout);
		if (count > 0 && pause_us)
			usleep(pause_us);
	}
	return 0;
}
