// SPDX-License-Identifier: MIT
// Shows percentiles of runqlat in place of its histogram: one line each second, and one for the whole run at the end.
//   sudo ecli-py run runqlat.json --handler percentiles.wasm
#include "ecli_handler.h"
#include "ecli_events.h"

#define SLOT_COUNT (sizeof(((struct histogram *)0)->slots) / sizeof(ecli_u32))

static ecli_u32 last[SLOT_COUNT];
static int has_any;

ECLI_HANDLER(sizeof(struct waited_entry))

// The upper end of the slot that a share of the waits lies in or below, in microseconds.
static ecli_u64 percentile(const ecli_u32 *counts, ecli_u64 total, ecli_u32 per_mille)
{
	ecli_u64 wanted = (total * per_mille + 999) / 1000, sum = 0;

	for (ecli_u32 slot = 0; slot < SLOT_COUNT; slot++) {
		sum += counts[slot];
		if (sum >= wanted)
			return 1ULL << (slot + 1);
	}
	return 1ULL << SLOT_COUNT;
}

static int print(const char *title, const ecli_u32 *counts)
{
	static const struct {
		const char *name;
		ecli_u32 per_mille;
	} shown[] = {{"  p50 <", 500}, {"  p90 <", 900}, {"  p99 <", 990}, {"  p99.9 <", 999}};
	struct ecli_line line = {0};
	ecli_u64 total = 0;

	for (ecli_u32 slot = 0; slot < SLOT_COUNT; slot++)
		total += counts[slot];
	ecli_add(&line, title);
	ecli_add_number(&line, total);
	ecli_add(&line, " waits");
	for (ecli_u32 at = 0; total && at < sizeof(shown) / sizeof(shown[0]); at++) {
		ecli_add(&line, shown[at].name);
		ecli_add_number(&line, percentile(counts, total, shown[at].per_mille));
		ecli_add(&line, " us");
	}
	return ecli_print(&line);
}

int ecli_event(int type, void *data, ecli_u32 size)
{
	struct waited_entry *entry = data;
	ecli_u32 grown[SLOT_COUNT];

	if (type != ECLI_TYPE_WAITED_ENTRY)
		return ECLI_KEEP;
	for (ecli_u32 slot = 0; slot < SLOT_COUNT; slot++) {
		grown[slot] = entry->value.slots[slot] - last[slot];
		last[slot] = entry->value.slots[slot];
	}
	has_any = 1;
	print("", grown);
	return ECLI_DROP;
}

int ecli_finish(void)
{
	return has_any ? print("in all: ", last) : 0;
}
