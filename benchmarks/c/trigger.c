// SPDX-License-Identifier: MIT
// Makes events for execsnoop: a process that ends at once, every so many microseconds, until it is killed.
//
// execsnoop reports the end of each process, so nothing is executed: that makes an event cost a tenth of what starting
// /bin/true does, and the machine stays free for what is measured.
#define _GNU_SOURCE
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	useconds_t pause_us = argc > 1 ? atoi(argv[1]) : 500;
	pid_t parent = getppid();

	prctl(PR_SET_PDEATHSIG, SIGKILL); // it must not outlive the benchmark
	while (getppid() == parent) {
		pid_t child = vfork();

		if (child == 0)
			_exit(0);
		if (child > 0)
			waitpid(child, NULL, 0);
		usleep(pause_us);
	}
	return 0;
}
