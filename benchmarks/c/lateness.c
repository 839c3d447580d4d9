// SPDX-License-Identifier: MIT
// Reads JSON lines that begin with {"ts":N, as soon as they can be read, and measures how late each is: from N, nanoseconds of
// CLOCK_MONOTONIC, to the end of the read. Prints "ready" when there is something to read, and at the end of its input how many
// lines name the DIRECTORY that is its argument, and of those the median and the 99th percentile in nanoseconds.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { MOST = 1 << 22 };

static long long late_ns[MOST];
static char text[(1 << 20) + 1];

static int compare(const void *one, const void *other)
{
	long long a = *(const long long *)one, b = *(const long long *)other;

	return (a > b) - (a < b);
}

int main(int argc, char **argv)
{
	size_t filled = 0, count = 0;
	ssize_t length;
	int ready = 0;

	if (argc != 2)
		return 2;
	while ((length = read(0, text + filled, sizeof(text) - 1 - filled)) > 0) {
		char *line = text, *end;
		struct timespec now;

		clock_gettime(CLOCK_MONOTONIC, &now);
		if (!ready) {
			puts("ready");
			fflush(stdout);
			ready = 1;
		}
		filled += length;
		text[filled] = 0;
		for (; (end = strchr(line, '\n')); line = end + 1) {
			*end = 0;
			if (count < MOST && !strncmp(line, "{\"ts\":", 6) && strstr(line, argv[1]))
				late_ns[count++] = now.tv_sec * 1000000000LL + now.tv_nsec - strtoll(line + 6, NULL, 10);
		}
		filled -= line - text;
		memmove(text, line, filled);
	}
	qsort(late_ns, count, sizeof(*late_ns), compare);
	printf("%zu %lld %lld\n", count, count ? late_ns[count / 2] : 0, count ? late_ns[count * 99 / 100] : 0);
	return 0;
}
