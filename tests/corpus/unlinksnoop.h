/* SPDX-License-Identifier: GPL-2.0 OR MIT */
#ifndef __UNLINKSNOOP_H
#define __UNLINKSNOOP_H

#define TASK_COMM_LEN 16
#define MAX_FILENAME_LEN 127

struct event {
	int pid;
	int ppid;
	int ret;
	unsigned long long duration_ns;
	char comm[TASK_COMM_LEN];
	char filename[MAX_FILENAME_LEN];
	_Bool slow;
};

#endif /* __UNLINKSNOOP_H */
