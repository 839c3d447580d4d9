// SPDX-License-Identifier: MIT
// Reads each member that shapes.bpf.c sets, and tells by text which one is not what it was set to.
#include "ecli_handler.h"
#include "ecli_events.h"

ECLI_HANDLER(65536)

static int wrong(const char *name)
{
	struct ecli_line line = {0};

	ecli_add(&line, "wrong: ");
	ecli_add(&line, name);
	return ecli_print(&line);
}

#define CHECK(condition)                                                                                               \
	do {                                                                                                           \
		if (!(condition))                                                                                      \
			wrong(#condition);                                                                             \
	} while (0)

int ecli_event(int type, void *data, ecli_u32 size)
{
	struct shapes *shapes = data;
	struct second *second = data;
	struct numbers_event *number = data;
	struct counts_entry *entry = data;

	switch (type) {
	case ECLI_TYPE_SHAPES:
		CHECK(size == sizeof(*shapes));
		CHECK(shapes->letter == 'l');
		CHECK(shapes->word == -2);
		CHECK(shapes->pointer == 0);
		CHECK(shapes->points[1][2].y == 12);
		CHECK(shapes->tight.number == 77);
		CHECK(shapes->of_typedef.second == 3);
		CHECK(shapes->colour == GREEN);
		CHECK(shapes->big == HUGE_ONE);
		CHECK(shapes->yes == 1);
		CHECK(shapes->three == 5);
		CHECK(shapes->nine == 300);
		CHECK(shapes->forty == 1ULL << 39);
		CHECK(shapes->either.text[2] == 9);
		CHECK(shapes->inner[1].b == 11);
		CHECK(shapes->last == -1);
		CHECK(shapes->wide[12] == 16);
		shapes->last = 5;
		return ECLI_KEEP;
	case ECLI_TYPE_SECOND:
		CHECK(second->auto_ == 1);
		CHECK(second->text[2] == 'c');
		return ECLI_DROP;
	case ECLI_TYPE_NUMBERS_EVENT:
		CHECK(number->value == 7);
		number->value = 8;
		return ECLI_KEEP;
	case ECLI_TYPE_COUNTS_ENTRY:
		CHECK(size >= sizeof(*entry) + sizeof(entry->cpus[0]));
		CHECK(entry->key[4] == 0 && entry->key[3] == 'r');
		entry->cpus[0].value.count += 1000000;
		return ECLI_KEEP;
	default:
		wrong("type");
		return ECLI_DROP;
	}
}
