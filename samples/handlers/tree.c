// SPDX-License-Identifier: MIT
// Shows of execsnoop only one process and what descends from it:
//   sudo ecli-py run execsnoop.json --handler tree.wasm --handler-option pid=4711
// Descendants are known by the exec events of their parents, so the process is named before it starts any.
#include "ecli_handler.h"
#include "ecli_events.h"

#define SLOT_COUNT 65536 // a power of two; process ids below this have a slot of their own by default

static ecli_u32 members[SLOT_COUNT];
static ecli_u32 root;
static ecli_u64 seen, shown;

ECLI_HANDLER(sizeof(struct event))

static int is_member(ecli_u32 pid)
{
	return pid == root || members[pid % SLOT_COUNT] == pid;
}

int ecli_init(const char *told, ecli_u32 size)
{
	root = (ecli_u32)ecli_option_number("pid", 0);
	if (root)
		return 0;
	ecli_say(ECLI_ERROR, "say which process: --handler-option pid=4711");
	return -1;
}

int ecli_event(int type, void *data, ecli_u32 size)
{
	struct event *event = data;

	if (type != ECLI_TYPE_EVENT)
		return ECLI_KEEP;
	seen++;
	if (is_member(event->ppid))
		members[event->pid % SLOT_COUNT] = event->pid;
	if (!is_member(event->pid))
		return ECLI_DROP;
	if (event->kind == EXIT)
		members[event->pid % SLOT_COUNT] = 0;
	shown++;
	return ECLI_KEEP;
}

int ecli_finish(void)
{
	struct ecli_line line = {0};

	ecli_add(&line, "of process ");
	ecli_add_number(&line, root);
	ecli_add(&line, " and its descendants: ");
	ecli_add_number(&line, shown);
	ecli_add(&line, " of ");
	ecli_add_number(&line, seen);
	return ecli_print(&line);
}
