/*
 * Print records with printf, as a program that is written for one type of event does. decode.py fills in the type.
 *
 *     render json|escaped|text RECORDS SPAN_NS
 *
 * "escaped" is JSON whatever the strings hold, as long as it is UTF-8; "json" trusts them.
 * With a span of 0 prints the records once to standard output, else again and again to /dev/null for about that long, and then
 * the nanoseconds of CPU time per event.
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

typedef uint64_t u64;
typedef uint32_t u32;
typedef int32_t s32;
typedef uint8_t bool;

struct event {
@STRUCT@
} __attribute__((packed));

#define STRIDE ((sizeof(struct event) + 8 + 7) / 8 * 8)

static const char *kind_name(u32 kind)
{
	static const char *const names[] = { @KINDS@ };

	return kind < sizeof(names) / sizeof(*names) ? names[kind] : "?";
}

static void print_json(const struct event *event)
{
	printf("@JSON@", @ARGUMENTS@);
}

/* As one would write it by hand: a byte at a time, into a buffer. */
static const char *escape(char *buffer, const char *text)
{
	char *out = buffer;

	for (; *text; text++) {
		unsigned char byte = *text;

		if (byte == '"' || byte == '\\') {
			*out++ = '\\';
			*out++ = byte;
		} else if (byte < 0x20) {
			out += sprintf(out, "\\u%04x", byte);
		} else {
			*out++ = byte;
		}
	}
	*out = 0;
	return buffer;
}

static void print_escaped(const struct event *event)
{
	static char buffers[@STRINGS@][6 * 64 + 1];

	printf("@JSON@", @ESCAPED@);
}

static void print_text(const struct event *event)
{
	printf("@TEXT@", @ARGUMENTS@);
}

static u64 cpu_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
	return (u64)now.tv_sec * 1000000000 + now.tv_nsec;
}

int main(int argc, char **argv)
{
	struct stat status;
	int file = argc == 4 ? open(argv[2], O_RDONLY) : -1;

	if (file < 0 || fstat(file, &status))
		return 2;
	size_t size = status.st_size, events = 0;
	char *records = malloc(size);
	if (!records || read(file, records, size) != (ssize_t)size)
		return 2;
	void (*print)(const struct event *) = !strcmp(argv[1], "text") ? print_text : !strcmp(argv[1], "json") ? print_json : print_escaped;
	u64 span_ns = strtoull(argv[3], NULL, 10);
	FILE *figures = fdopen(dup(1), "w");
	if (!figures || (span_ns && !freopen("/dev/null", "w", stdout)))
		return 2;
	u64 begin = cpu_ns(), spent_ns = 0;
	int is_warm = 0;
	do {
		for (size_t at = 0; at < size; at += STRIDE)
			print((const struct event *)(records + at + 8));
		if (is_warm)
			events += size / STRIDE;
		spent_ns = cpu_ns() - begin;
		if (!is_warm && spent_ns > span_ns / 4) {
			begin = cpu_ns();
			spent_ns = 0;
			is_warm = 1;
		}
	} while (spent_ns < span_ns);
	if (span_ns)
		fprintf(figures, "%f\n", (double)spent_ns / events);
	fclose(figures);
	return 0;
}
