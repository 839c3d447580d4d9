/* SPDX-License-Identifier: MIT */
/*
 * Event handlers of ecli-py in C: a module that a package's events pass through, to be filtered, changed or added up.
 *
 *	#include "ecli_handler.h"
 *	#include "ecli_events.h"     // of the package: `ecli-py build --wasm` makes it, and `ecli-py schema PACKAGE --as c`
 *
 *	ECLI_HANDLER(sizeof(struct event))
 *
 *	int ecli_event(int type, void *data, ecli_u32 size)
 *	{
 *		struct event *event = data;
 *
 *		return event->uid == 0 ? ECLI_DROP : ECLI_KEEP;
 *	}
 *
 * Build it into a package with `ecli-py build tool.bpf.c --wasm handler.c`; or alone, with `ecli-py build --wasm handler.c`, for
 * `ecli-py run tool.json --handler handler.wasm`. docs/handlers.md says more.
 */
#ifndef ECLI_HANDLER_H
#define ECLI_HANDLER_H

typedef __UINT8_TYPE__ ecli_u8;
typedef __UINT16_TYPE__ ecli_u16;
typedef __UINT32_TYPE__ ecli_u32;
typedef __UINT64_TYPE__ ecli_u64;
typedef __INT8_TYPE__ ecli_s8;
typedef __INT16_TYPE__ ecli_s16;
typedef __INT32_TYPE__ ecli_s32;
typedef __INT64_TYPE__ ecli_s64;

#define ECLI_EXPORT(name) __attribute__((export_name(#name)))
#define ECLI_IMPORT(module, name) __attribute__((import_module(module), import_name(name)))

/* What a handler does; ecli_event is there in each, the others in those that want them. */

/* Look at an event, of a type as ecli_events.h numbers them, and change it in place if need be; not its size. */
ECLI_EXPORT(ecli_event) int ecli_event(int type, void *data, ecli_u32 size);
enum { ECLI_KEEP = 0, ECLI_DROP = 1 }; /* a negative number ends the run */

/*
 * Start. What is told is JSON: options, and the types with their members; NULL if ecli_buffer has no room for it. Return 0, or a
 * negative number for an error.
 */
ECLI_EXPORT(ecli_init) int ecli_init(const char *told, ecli_u32 size);
/* Some time has passed: a second, or what --interval says. */
ECLI_EXPORT(ecli_tick) int ecli_tick(ecli_u64 now_ns);
/* Nothing comes any more. */
ECLI_EXPORT(ecli_finish) int ecli_finish(void);

/* Comes once in each handler: its version, and where the host puts an event. SIZE is that of the largest. */
ECLI_EXPORT(ecli_abi) int ecli_abi(void);
ECLI_EXPORT(ecli_buffer) void *ecli_buffer(ecli_u32 size);
#define ECLI_HANDLER(SIZE)                                                                                             \
	static ecli_u8 ecli_buffer_bytes[(SIZE) > 4096 ? (SIZE) : 4096] __attribute__((aligned(16)));                  \
	int ecli_abi(void)                                                                                             \
	{                                                                                                              \
		return 1;                                                                                              \
	}                                                                                                              \
	void *ecli_buffer(ecli_u32 size)                                                                               \
	{                                                                                                              \
		return size <= sizeof(ecli_buffer_bytes) ? ecli_buffer_bytes : 0;                                      \
	}

/* What a handler may call. */

/* Add an event of a type, of the size of that type; or lines of text. 0, ECLI_INVALID or ECLI_FULL. */
ECLI_IMPORT("ecli", "emit") int ecli_emit(int type, const void *data, ecli_u32 size);
enum { ECLI_TEXT = -1, ECLI_INVALID = -1, ECLI_FULL = -2 };

/* Write a line to the user's standard error; at most 20 a second are shown. */
ECLI_IMPORT("ecli", "log") void ecli_log(int level, const char *text, ecli_u32 size);
enum { ECLI_ERROR, ECLI_WARNING, ECLI_INFO, ECLI_DEBUG };

/* When this batch was read: CLOCK_MONOTONIC, as bpf_ktime_get_ns() has it, or since 1970. In nanoseconds; it costs nothing. */
ECLI_IMPORT("ecli", "now") ecli_u64 ecli_now(int clock);
enum { ECLI_MONOTONIC, ECLI_REALTIME };

/* Copy what --handler-option NAME=VALUE says; return its length, which may be more than the capacity, or -1: not given. */
ECLI_IMPORT("ecli", "option")
int ecli_option(const char *name, ecli_u32 name_size, char *value, ecli_u32 capacity);

/* The number of a type, by "event", "map" or "map/event"; -1: there is none. For handlers of more than one package. */
ECLI_IMPORT("ecli", "type") int ecli_type(const char *name, ecli_u32 name_size);

/*
 * Maps by name: ECLI_MAP(started) declares started_lookup and so on. What is used of them is what the module asks for: looking is
 * free, and writing must be granted (in a package by being built into it, else with --grant started). They return the size of
 * what they found (of a per-CPU map one value for each CPU, padded to 8 bytes), or 0, or a negative error number of Linux
 * (-2: no such entry). A key of NULL is before the first.
 */
#define ECLI_MAP(map)                                                                                                  \
	ECLI_IMPORT("ecli.lookup", #map)                                                                               \
	int map##_lookup(const void *key, ecli_u32 key_size, void *value, ecli_u32 value_size);                        \
	ECLI_IMPORT("ecli.next", #map)                                                                                 \
	int map##_next(const void *key, ecli_u32 key_size, void *next, ecli_u32 next_size);                            \
	ECLI_IMPORT("ecli.update", #map)                                                                               \
	int map##_update(const void *key, ecli_u32 key_size, const void *value, ecli_u32 value_size, ecli_u64 flags);  \
	ECLI_IMPORT("ecli.delete", #map) int map##_delete(const void *key, ecli_u32 key_size);

/* Conveniences. There is no C library: __builtin_memcpy, __builtin_memset and the like are there. */

static inline ecli_u32 ecli_length(const char *text)
{
	ecli_u32 length = 0;

	while (text[length])
		length++;
	return length;
}

static inline void ecli_say(int level, const char *text)
{
	ecli_log(level, text, ecli_length(text));
}

/* Return the number that an option has, or another one if it is not given or no number. */
static inline ecli_u64 ecli_option_number(const char *name, ecli_u64 otherwise)
{
	char digits[21];
	int size = ecli_option(name, ecli_length(name), digits, sizeof(digits));
	ecli_u64 number = 0;

	if (size <= 0 || size > (int)sizeof(digits))
		return otherwise;
	for (int at = 0; at < size; at++) {
		if (digits[at] < '0' || digits[at] > '9')
			return otherwise;
		number = number * 10 + (ecli_u64)(digits[at] - '0');
	}
	return number;
}

/* A line of text that is put together: begin with an empty one, `struct ecli_line line = {0}`. */
struct ecli_line {
	char text[512];
	ecli_u32 size;
};

static inline void ecli_add(struct ecli_line *line, const char *text)
{
	while (*text && line->size < sizeof(line->text))
		line->text[line->size++] = *text++;
}

static inline void ecli_add_number(struct ecli_line *line, ecli_u64 number)
{
	char digits[21];
	ecli_u32 at = sizeof(digits) - 1;

	digits[at] = 0;
	do
		digits[--at] = (char)('0' + number % 10);
	while (number /= 10);
	ecli_add(line, digits + at);
}

/* Show a line among the events. */
static inline int ecli_print(const struct ecli_line *line)
{
	return ecli_emit(ECLI_TEXT, line->text, line->size);
}

#endif
