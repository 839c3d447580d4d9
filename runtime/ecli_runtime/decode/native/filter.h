/* Predicates: which samples are shown. A postfix program without jumps, so it always ends. */
#pragma once

#include "program.h"
#include "strings.h"
#include "values.h"

struct item {
	bool is_double;
	s128 number;
	double real;
	const u8 *bytes;
	u32 size;
};

INLINE int sign_of(bool less, bool greater)
{
	return less ? -1 : greater;
}

/* Compare an integer of at most 66 bits with a double that is no NaN, exactly. */
static int compare_mixed(s128 number, double real)
{
	u64 bits;

	if (real >= 1e22 || real <= -1e22)
		return real > 0 ? -1 : 1;
	__builtin_memcpy(&bits, &real, 8);
	int exponent = (int)(bits >> 52 & 0x7ff) - 1075;
	s128 mantissa = (s128)((bits & 0xfffffffffffffull) | 1ull << 52);
	bool has_fraction = false;
	if (exponent < -60) { /* below 1; also zero and subnormals */
		has_fraction = bits << 1;
		mantissa = 0;
	} else if (exponent < 0) {
		has_fraction = (u64)mantissa & ((1ull << (-exponent < 53 ? -exponent : 53)) - 1);
		mantissa = -exponent > 52 ? 0 : (s128)((u64)mantissa >> -exponent);
	} else {
		for (; exponent; exponent--)
			mantissa += mantissa;
	}
	if (bits >> 63) {
		mantissa = -mantissa;
		return number != mantissa ? sign_of(number < mantissa, number > mantissa) : has_fraction;
	}
	return number != mantissa ? sign_of(number < mantissa, number > mantissa) : -has_fraction;
}

static int compare_bytes(const struct item *a, const struct item *b)
{
	u32 size = a->size < b->size ? a->size : b->size;

	for (u32 i = 0; i < size; i++)
		if (a->bytes[i] != b->bytes[i])
			return sign_of(a->bytes[i] < b->bytes[i], true);
	return sign_of(a->size < b->size, a->size > b->size);
}

static bool compare(const struct item *a, const struct item *b, enum comparison comparison)
{
	int sign;

	if (a->bytes) {
		sign = compare_bytes(a, b);
	} else if (!a->is_double && !b->is_double) {
		sign = sign_of(a->number < b->number, a->number > b->number);
	} else if ((a->is_double && a->real != a->real) || (b->is_double && b->real != b->real)) {
		return comparison == NOT_EQUAL;
	} else if (a->is_double && b->is_double) {
		sign = sign_of(a->real < b->real, a->real > b->real);
	} else {
		sign = a->is_double ? -compare_mixed(b->number, a->real) : compare_mixed(a->number, b->real);
	}
	switch (comparison) {
	case EQUAL:
		return sign == 0;
	case NOT_EQUAL:
		return sign != 0;
	case LESS:
		return sign < 0;
	case LESS_EQUAL:
		return sign <= 0;
	case GREATER:
		return sign > 0;
	default:
		return sign >= 0;
	}
}

INLINE bool is_same(const u8 *one, const u8 *other, u32 size)
{
	u32 i = 0;

	while (i < size && one[i] == other[i])
		i++;
	return i == size;
}

static bool contains(const struct item *text, const struct item *part)
{
	if (!part->size)
		return true;
	for (u32 at = 0; at + part->size <= text->size; at++)
		if (is_same(text->bytes + at, part->bytes, part->size))
			return true;
	return false;
}

/* Bytes of the UTF-8 character at a place, 1 for a stray byte. */
static u32 character_size(const u8 *at, const u8 *end)
{
	u32 size = 1;

	if (*at >= 0x80 && decode(at, end, &size) == 0xfffd && !(size == 3 && at[0] == 0xef && at[1] == 0xbf && at[2] == 0xbd))
		return 1;
	return size;
}

/* Match whole characters: a star never stops inside of one, and a stray byte is no part of one. */
static bool glob(const struct item *text, const struct item *pattern)
{
	const u8 *at = text->bytes, *end = at + text->size;
	const u8 *part = pattern->bytes, *part_end = part + pattern->size;
	const u8 *star = NULL, *retry = NULL;

	for (;;) {
		if (part < part_end && *part == '*') {
			star = ++part;
			retry = at;
			continue;
		}
		if (at == end && part == part_end)
			return true;
		if (at < end && part < part_end) {
			u32 size = character_size(at, end);
			const u8 *literal = *part == '\\' && part + 1 < part_end ? part + 1 : part;
			u32 literal_size = character_size(literal, part_end);
			if (*part == '?' || (literal_size == size && is_same(literal, at, size))) {
				part = literal + literal_size;
				at += size;
				continue;
			}
		}
		if (!star || retry == end)
			return false;
		part = star;
		at = retry += character_size(retry, end);
	}
}

static u32 string_size(const u8 *at, u32 size)
{
	u32 length = 0;

	while (length < size && at[length])
		length++;
	return length;
}

INLINE bool is_in_range(const struct predicate *step, const u8 *payload, bool is_big_endian)
{
	return read(payload, &step->place, is_big_endian) - step->low <= step->high;
}

/* Nearly all predicates compare integers with constants: results are then the bits of one word. */
static __attribute__((noinline)) bool are_in_ranges(const struct program *program, const u8 *payload)
{
	u64 results = 0;

	for (const struct predicate *step = program->where, *last = step + program->where_count; step < last; step++) {
		switch ((enum condition)step->condition) {
		case AND:
			results = results >> 1 & (results | ~1ull);
			break;
		case OR:
			results = results >> 1 | (results & 1);
			break;
		case NOT:
			results ^= 1;
			break;
		default:
			results = results << 1 | is_in_range(step, payload, program->is_big_endian);
		}
	}
	return results & 1;
}

COLD bool is_shown(const struct program *program, const u8 *payload, u32 length)
{
	struct item stack[MAX_STACK];
	struct item *top = stack; /* the free place; the host has counted how many are needed */

	for (const struct predicate *step = program->where, *last = step + program->where_count; step < last; step++) {
		struct item *a = top - 2, *b = top - 1;
		const struct place *place = &step->place;
		switch ((enum condition)step->condition) {
		case INT_VALUE:
			*top++ = (struct item){.number = (s128)read_any(payload, place, program->is_big_endian)};
			break;
		case RANGE:
			*top++ = (struct item){.number = is_in_range(step, payload, program->is_big_endian)};
			break;
		case DOUBLE_VALUE: {
			u64 value = read(payload, place, program->is_big_endian);
			*top++ = (struct item){.is_double = true, .real = as_double(value, place->bits)};
			break;
		}
		case STRING_VALUE: {
			const u8 *at = payload + place->offset;
			u32 size = place->size ? place->size : length > place->offset ? length - place->offset : 0;
			*top++ = (struct item){.bytes = at, .size = string_size(at, size)};
			break;
		}
		case INT_CONST:
			*top++ = (struct item){.number = (s128)((u128)step->high << 64 | step->low)};
			break;
		case DOUBLE_CONST:
			*top++ = (struct item){.is_double = true, .real = as_double(step->low, 64)};
			break;
		case BYTES_CONST:
			*top++ = (struct item){.bytes = step->bytes, .size = place->size};
			break;
		case COMPARE:
			*a = (struct item){.number = compare(a, b, (enum comparison)step->comparison)};
			top--;
			break;
		case BIT_AND:
			a->number &= b->number;
			top--;
			break;
		case GLOB:
			*a = (struct item){.number = glob(a, b)};
			top--;
			break;
		case CONTAINS:
			*a = (struct item){.number = contains(a, b)};
			top--;
			break;
		case AND:
			a->number = a->number && b->number;
			top--;
			break;
		case OR:
			a->number = a->number || b->number;
			top--;
			break;
		case NOT:
			b->number = !b->number;
			break;
		}
	}
	return top[-1].number != 0;
}
