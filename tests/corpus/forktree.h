/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/* Shared by the program and by what reads its events. */
#ifndef __FORKTREE_H
#define __FORKTREE_H

#define NAME_LEN 16

typedef struct process {
	unsigned int pid;
	unsigned int tid;
	char name[NAME_LEN];
} process_t;

typedef struct {
	unsigned long long time_ns;
	process_t parent;
	process_t child;
} fork_event_t;

#endif /* __FORKTREE_H */
