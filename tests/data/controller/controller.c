// SPDX-License-Identifier: MIT
// A controller that the tests drive by its first argument. The bytes of the object are in object.inc.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "wasm_bpf.h"

static unsigned char object[] __attribute__((aligned(8))) = {
#include "object.inc"
};

struct event {
	uint32_t pid;
	uint32_t is_exit;
	char comm[16];
};

static int on_event(void *context, void *data, uint32_t size)
{
	const struct event *event = data;

	printf("%s %u %.16s %u\n", (const char *)context, event->pid, event->comm, size);
	return 0;
}

static int die(const char *what, int error)
{
	fprintf(stderr, "%s: %s\n", what, strerror(error < 0 ? -error : errno));
	return 3;
}

static int attach(uint64_t handle, const char *name, const char *target)
{
	int error = wasm_attach_bpf_program(handle, name, target);

	if (error < 0)
		exit(die(name, error));
	return error;
}

// Polls until it is asked to end, which is no failure.
static int events(uint64_t handle, int count, char **names)
{
	char buffer[64];
	int fds[4], error = 0;

	for (int i = 0; i < count; i++)
		if ((fds[i] = wasm_bpf_map_fd_by_name(handle, names[i])) < 0)
			return die(names[i], fds[i]);
	attach(handle, "on_exec", NULL);
	attach(handle, "on_exit", "");
	while (error >= 0)
		for (int i = 0; i < count && error >= 0; i++)
			error = wasm_bpf_buffer_poll(handle, fds[i], on_event, names[i], buffer, sizeof(buffer), 20);
	if (error != -EINTR)
		return die("poll", error);
	printf("asked to end\n");
	return 0;
}

// Prints a map again and again, as tools do that show histograms.
static int counts(uint64_t handle, const char *program, const char *target)
{
	int fd = wasm_bpf_map_fd_by_name(handle, "counts");

	attach(handle, program, target);
	for (;;) {
		uint32_t key, next;
		uint64_t value;
		void *before = NULL;

		sleep(1);
		while (wasm_bpf_map_operate(fd, NEXT_KEY, before, NULL, &next, 0) == 0) {
			key = next;
			before = &key;
			if (wasm_bpf_map_operate(fd, LOOKUP, &key, &value, NULL, 0) == 0)
				printf("%u: %llu\n", key, value);
		}
	}
}

static int maps(uint64_t handle)
{
	int fd = wasm_bpf_map_fd_by_name(handle, "counts"), per_cpu = wasm_bpf_map_fd_by_name(handle, "per_cpu");
	int calls = wasm_bpf_map_fd_by_name(handle, "calls"), rodata = wasm_bpf_map_fd_by_name(handle, "anything.rodata");
	uint32_t key, next, zero = 0, program = 5;
	uint64_t value, values[256] = {};

	for (key = 10; key < 13; key++) {
		value = key * key;
		printf("update %d\n", wasm_bpf_map_operate(fd, UPDATE, &key, &value, NULL, 0));
	}
	key = 11;
	printf("again, if there is none: %d\n", wasm_bpf_map_operate(fd, UPDATE, &key, &value, NULL, 1));
	printf("delete %d\n", wasm_bpf_map_operate(fd, DELETE, &key, NULL, NULL, 0));
	printf("lookup %d\n", wasm_bpf_map_operate(fd, LOOKUP, &key, &value, NULL, 0));
	key = 12;
	printf("lookup %d", wasm_bpf_map_operate(fd, LOOKUP, &key, &value, NULL, 0));
	printf(" %llu\n", value);
	printf("rodata %d\n", rodata > 0);
	memset(values, 0xff, sizeof(values));
	printf("per CPU %d\n", wasm_bpf_map_operate(per_cpu, LOOKUP, &zero, values, NULL, 0));
	for (int cpu = 0; cpu < 256 && values[cpu] != -1ULL; cpu++)
		printf("cpu %d: %u\n", cpu, (uint32_t)values[cpu]);
	printf("at the end of memory %d\n",
	       wasm_bpf_map_operate(per_cpu, LOOKUP, &zero, (void *)(__builtin_wasm_memory_size(0) * 65536 - 4), NULL, 0));
	printf("a program's descriptor %d\n", wasm_bpf_map_operate(calls, UPDATE, &zero, &program, NULL, 0));
	printf("somebody's descriptor %d\n", wasm_bpf_map_operate(0, LOOKUP, &zero, &value, NULL, 0));
	printf("unknown command %d\n", wasm_bpf_map_operate(fd, 9, &zero, &value, NULL, 0));
	printf("unknown map %d\n", wasm_bpf_map_fd_by_name(handle, "nowhere"));
	printf("poll what is no buffer %d\n", wasm_bpf_buffer_poll(handle, fd, on_event, NULL, values, 8, 0));
	printf("close %d\n", wasm_close_bpf_object(handle));
	printf("afterwards %d %d\n", wasm_bpf_map_operate(fd, LOOKUP, &key, &value, NULL, 0), wasm_close_bpf_object(handle));
	return 0;
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";
	uint64_t handle;

	if (!strcmp(what, "arguments")) {
		for (int i = 0; i < argc; i++)
			puts(argv[i]);
		return getenv("HOME") != NULL || fopen("/etc/passwd", "r") != NULL;
	}
	if (!strcmp(what, "broken"))
		object[0] = 0;
	handle = wasm_load_bpf_object(object, sizeof(object));
	if (!handle)
		return die("load", 0);
	if (!strcmp(what, "events"))
		return events(handle, argc - 2, argv + 2);
	if (!strcmp(what, "counts") && argc > 2)
		return counts(handle, argv[2], argv[3]);
	if (!strcmp(what, "maps"))
		return maps(handle);
	if (!strcmp(what, "spin")) {
		attach(handle, "on_exec", NULL);
		usleep(1);
		puts("spinning");
		for (;;)
			__asm__ volatile("");
	}
	if (!strcmp(what, "lines")) {
		attach(handle, "on_exec", NULL);
		for (;;)
			puts("line");
	}
	fprintf(stderr, "usage: %s events MAP... | counts PROGRAM [TARGET] | maps | spin | lines | arguments\n", argv[0]);
	return 2;
}
