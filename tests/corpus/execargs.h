/* SPDX-License-Identifier: GPL-2.0 OR MIT */
#ifndef __EXECARGS_H
#define __EXECARGS_H

#define ARGSIZE 128
#define TOTAL_MAX_ARGS 20
#define FULL_MAX_ARGS_ARR (TOTAL_MAX_ARGS * ARGSIZE)
#define BASE_EVENT_SIZE (size_t)(&((struct event *)0)->args)
#define EVENT_SIZE(e) (BASE_EVENT_SIZE + (e)->args_size)
#define LAST_ARG (FULL_MAX_ARGS_ARR - ARGSIZE)

struct event {
	int pid;
	unsigned int uid;
	int args_count;
	unsigned int args_size;
	char comm[16];
	char args[FULL_MAX_ARGS_ARR];
};

#endif /* __EXECARGS_H */
