// SPDX-License-Identifier: MIT
// Makes the system calls that benchmarks/bpf/live.bpf.c shows, and measures how long they take.
//
// calls DIRECTORY RATE MILLISECONDS: so many calls a second for so long, at least one; RATE 0 is as many as go. Prints how many
// calls that were, the nanoseconds that one took on average, reading the clock included, and the nanoseconds that all took.
//
// The call is faccessat(2) with a mode that there is not, which the kernel refuses before it looks at the path.
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { PATHS = 4096, LONGEST_SPIN_NS = 20000 };

static char paths[PATHS][32];

static long long now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000LL + now.tv_nsec;
}

// Returns the time when it has come. A wait that is too short for a sleep burns, for the processor is this program's own.
static long long wait_until(long long due_ns)
{
	long long now = now_ns();

	if (due_ns - now > LONGEST_SPIN_NS) {
		struct timespec due = {.tv_sec = due_ns / 1000000000, .tv_nsec = due_ns % 1000000000};

		clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &due, NULL);
	}
	while (now < due_ns)
		now = now_ns();
	return now;
}

int main(int argc, char **argv)
{
	long long begin, end, before, spent = 0, made = 0, period;

	if (argc != 4)
		return 2;
	prctl(PR_SET_PDEATHSIG, SIGKILL); // it must not outlive the benchmark
	prctl(PR_SET_TIMERSLACK, 1);
	for (int i = 0; i < PATHS; i++)
		snprintf(paths[i], sizeof(paths[i]), "%s/file-%04d.txt", argv[1], i);
	period = atoi(argv[2]) ? 1000000000LL / atoi(argv[2]) : 0;
	begin = before = now_ns();
	end = begin + atoi(argv[3]) * 1000000LL;
	do {
		if (period)
			before = wait_until(begin + made * period);
		syscall(SYS_faccessat, AT_FDCWD, paths[made % PATHS], 0x65630300 | (made & 1));
		made++;
		spent -= before;
		before = now_ns();
		spent += before;
	} while (before < end);
	printf("%lld %lld %lld\n", made, spent / made, before - begin);
	return 0;
}
